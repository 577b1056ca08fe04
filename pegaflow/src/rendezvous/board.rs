//! The values of one node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{MAX_BOARD_BYTES, MAX_KEY_BYTES, MAX_KEYS, MAX_VALUE_BYTES, Published, RendezvousError};

#[derive(Debug)]
pub(super) struct Board {
    entries: Mutex<Entries>,
    /// Changes with every value that is put.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    values: BTreeMap<String, Arc<Published>>,
    bytes: usize,
}

impl Default for Board {
    fn default() -> Self {
        Self { entries: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Board {
    /// Puts a value; gives its version.
    pub(super) fn put(&self, key: &str, bytes: Vec<u8>) -> Result<u64, RendezvousError> {
        within("bytes of a key", key.len(), MAX_KEY_BYTES)?;
        within("bytes of a value", bytes.len(), MAX_VALUE_BYTES)?;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let old = entries.values.get(key).map(|old| (old.version, old.bytes.len()));
        let (version, old_bytes) = old.unwrap_or((0, 0));
        let total = entries.bytes - old_bytes + bytes.len();
        within("bytes of all values on the board", total, MAX_BOARD_BYTES)?;
        if old.is_none() {
            within("keys on the board", entries.values.len() + 1, MAX_KEYS)?;
        }
        entries.bytes = total;
        entries.values.insert(key.to_owned(), Arc::new(Published { version: version + 1, bytes }));
        drop(entries);
        self.changed.send_modify(|count| *count += 1);
        Ok(version + 1)
    }

    /// Waits for a version above `newer_than`; `None` after `wait`.
    pub(super) async fn get(&self, key: &str, newer_than: u64, wait: Duration) -> Option<Arc<Published>> {
        let mut changed = self.changed.subscribe();
        let look = async {
            loop {
                let found = self.newer(key, newer_than);
                if found.is_some() || changed.changed().await.is_err() {
                    return found;
                }
            }
        };
        tokio::time::timeout(wait, look).await.ok().flatten()
    }

    fn newer(&self, key: &str, version: u64) -> Option<Arc<Published>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values.get(key).filter(|found| found.version > version).cloned()
    }
}

pub(super) fn within(what: &'static str, got: usize, max: usize) -> Result<(), RendezvousError> {
    if got <= max { Ok(()) } else { Err(RendezvousError::Bounds { what, got, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_bounded() {
        let board = Board::default();
        board.put(&"k".repeat(MAX_KEY_BYTES), Vec::new()).unwrap();
        board.put(&"k".repeat(MAX_KEY_BYTES + 1), Vec::new()).unwrap_err();
        for key in 1..MAX_KEYS {
            board.put(&key.to_string(), Vec::new()).unwrap();
        }
        let error = board.put("one more", Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "keys on the board: 4097, expected at most 4096");
        // What is there can still change.
        assert_eq!(board.put("1", vec![1]).unwrap(), 2);
    }

    #[test]
    fn values_are_bounded_one_by_one_and_together() {
        let board = Board::default();
        board.put("too long", vec![0; MAX_VALUE_BYTES + 1]).unwrap_err();
        for key in 0..MAX_BOARD_BYTES / MAX_VALUE_BYTES {
            board.put(&key.to_string(), vec![0; MAX_VALUE_BYTES]).unwrap();
        }
        let error = board.put("more", vec![0]).unwrap_err();
        assert!(error.to_string().starts_with("bytes of all values on the board"), "{error}");
        // A value that takes another's place takes its room too.
        board.put("0", vec![0; MAX_VALUE_BYTES]).unwrap();
        board.put("0", Vec::new()).unwrap();
        board.put("more", vec![0]).unwrap();
    }
}
