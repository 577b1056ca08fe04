//! Registrations of this side, and a peer's memory mapped here.

use std::{
    collections::HashMap,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pegaflow_core::{
    BackendError,
    backend::{Imported, LocalKey, Parcel},
};

use crate::{
    error::{NAME, failed},
    sys::Mapped,
};

/// The files under this side's regions, by key. Memory without a file has an entry too: it can be copied from and to,
/// and not shown to a peer.
#[derive(Debug, Default)]
pub(crate) struct Registrations(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    files: HashMap<u64, Option<OwnedFd>>,
}

impl Registrations {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, file: Option<BorrowedFd<'_>>) -> Result<LocalKey, BackendError> {
        let file = file.map(|file| file.try_clone_to_owned()).transpose().map_err(failed("dup of a region's memfd"))?;
        let mut table = self.table();
        table.last += 1;
        let key = table.last;
        table.files.insert(key, file);
        Ok(LocalKey(key))
    }

    /// Peers are shown another file from now on; who has mapped the old one keeps it.
    pub(crate) fn swap(&self, key: LocalKey, file: Option<BorrowedFd<'_>>) -> Result<(), BackendError> {
        let file = file.map(|file| file.try_clone_to_owned()).transpose().map_err(failed("dup of a region's memfd"))?;
        match self.table().files.get_mut(&key.0) {
            Some(place) => {
                *place = file;
                Ok(())
            }
            None => Err(unknown(key)),
        }
    }

    pub(crate) fn remove(&self, key: LocalKey) {
        self.table().files.remove(&key.0);
    }

    pub(crate) fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        match self.table().files.get(&key.0) {
            Some(Some(file)) => {
                let file = file.try_clone().map_err(failed("dup of a region's memfd"))?;
                Ok(Parcel { bytes: Vec::new(), files: vec![file] })
            }
            Some(None) => Err(BackendError::new(
                NAME,
                "memory that the caller brought can't be granted: a peer can map only what Pegaflow allocated",
            )),
            None => Err(unknown(key)),
        }
    }
}

fn unknown(key: LocalKey) -> BackendError {
    BackendError::new(NAME, format!("no registration has the key {}", key.0))
}

/// Maps a peer's region of `bytes` bytes. The file comes from another process: its length and its seals are checked,
/// so that no later access can fail.
pub(crate) fn import(parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
    let Ok([file]) = <[OwnedFd; 1]>::try_from(parcel.files) else {
        return Err(BackendError::new(NAME, "a region came without its memfd"));
    };
    let mapped = Mapped::of_peer(file, bytes)?;
    Ok(Imported { base: mapped.base().as_ptr() as u64, key: 0, keep: Arc::new(mapped) })
}
