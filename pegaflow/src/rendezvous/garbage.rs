//! Requests and answers that nobody wrote, for `fuzz`.

use tokio::sync::Semaphore;

use super::wire::{Answer, Request};

/// Where a request says how long its key and its value are.
const LENGTHS: usize = 21;

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// A request to a board: what was read is written so that it is read again, and lost nothing that was said.
pub fn request(data: &[u8]) {
    let room = Semaphore::new(16 << 10);
    let Ok(request) = block(Request::read(&mut &*data, &room)) else { return };
    let mut bytes = Vec::new();
    block(request.write(&mut bytes)).expect("to memory");
    assert_eq!(block(Request::read(&mut &*bytes, &room)).expect("written by this build"), request);
    assert_eq!(bytes[LENGTHS..], data[LENGTHS..bytes.len()], "lengths, key and value");
    assert_eq!(room.available_permits(), 16 << 10, "room was given back");
}

/// A board's answer, likewise.
pub fn answer(data: &[u8]) {
    let Ok(answer) = block(Answer::read(&mut &*data)) else { return };
    let mut bytes = Vec::new();
    block(answer.write(&mut bytes)).expect("to memory");
    assert_eq!(block(Answer::read(&mut &*bytes)).expect("written by this build"), answer);
    if matches!(answer, Answer::Value(_)) {
        assert_eq!(bytes, data[..bytes.len()]);
    }
}

/// Requests and answers as this build writes them.
#[cfg(test)]
pub(crate) mod examples {
    use std::sync::Arc;

    use super::{super::Published, Answer, Request, block};

    pub(crate) fn requests() -> Vec<(&'static str, Vec<u8>)> {
        let all = [
            ("fetch", Request::Fetch { key: "address".to_owned(), newer_than: 3, wait_ms: 500 }),
            ("post", Request::Post { key: "grant/kv".to_owned(), value: b"value".to_vec() }),
        ];
        all.into_iter().map(|(name, request)| (name, written(|bytes| block(request.write(bytes))))).collect()
    }

    pub(crate) fn answers() -> Vec<(&'static str, Vec<u8>)> {
        let all = [
            ("value", Answer::Value(Arc::new(Published { version: 7, bytes: b"value".to_vec() }))),
            ("nothing", Answer::Nothing),
            ("refused", Answer::Refused("no such key".to_owned())),
        ];
        all.into_iter().map(|(name, answer)| (name, written(|bytes| block(answer.write(bytes))))).collect()
    }

    fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes).expect("to memory");
        bytes
    }
}
