//! One request and one answer a connection, little-endian, every length checked before anything is allocated.
//!
//! | request | bytes | | answer | bytes |
//! | --- | --- | --- | --- | --- |
//! | magic `PGFr` | 4 | | magic `PGFr` | 4 |
//! | oldest, newest version spoken | 2 + 2 | | 0 value, 1 nothing, 2 refused | 1 |
//! | 0 fetch, 1 post | 1 | | version of the value | 8 |
//! | newer than (fetch; 0: any) | 8 | | length of what follows | 4 |
//! | wait in milliseconds (fetch) | 4 | | value, or the reason in UTF-8 | |
//! | length of key, of value | 4 + 4 | | | |
//! | key in UTF-8, value (post) | | | | |

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
};

use super::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Published};

const MAGIC: [u8; 4] = *b"PGFr";
/// The protocol's versions that this build speaks: N talks to N − 1.
const VERSIONS: (u16, u16) = (1, 1);

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The key's value, of a version above `newer_than`, waiting at most so long.
    Fetch { key: String, newer_than: u64, wait_ms: u32 },
    /// Put a value.
    Post { key: String, value: Vec<u8> },
}

/// What it gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The value, empty for a post. Shared, so that many fetches of a large value do not each copy it.
    Value(Arc<Published>),
    /// The time is up.
    Nothing,
    /// No, because.
    Refused(String),
}

impl Request {
    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let (kind, key, newer_than, wait_ms, value) = match self {
            Self::Fetch { key, newer_than, wait_ms } => (0_u8, key, *newer_than, *wait_ms, &[][..]),
            Self::Post { key, value } => (1, key, 0, 0, &value[..]),
        };
        let mut head = Vec::with_capacity(27 + key.len());
        head.extend(MAGIC);
        head.extend(VERSIONS.0.to_le_bytes());
        head.extend(VERSIONS.1.to_le_bytes());
        head.push(kind);
        head.extend(newer_than.to_le_bytes());
        head.extend(wait_ms.to_le_bytes());
        head.extend(narrow(key.len())?.to_le_bytes());
        head.extend(narrow(value.len())?.to_le_bytes());
        head.extend(key.as_bytes());
        to.write_all(&head).await?;
        to.write_all(value).await?;
        to.flush().await
    }

    /// Reads a request; a value waits for a share of `room`, in KiB, before memory is taken for it.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin), room: &Semaphore) -> io::Result<Self> {
        let mut magic = [0; 4];
        from.read_exact(&mut magic).await?;
        if magic != MAGIC {
            return Err(garbage("no Pegaflow rendezvous request"));
        }
        let (low, high) = (from.read_u16_le().await?, from.read_u16_le().await?);
        if low > VERSIONS.1 || high < VERSIONS.0 {
            return Err(garbage(&format!("protocol versions {low} to {high}: this node speaks {VERSIONS:?}")));
        }
        let kind = from.read_u8().await?;
        let (newer_than, wait_ms) = (from.read_u64_le().await?, from.read_u32_le().await?);
        let (key_bytes, value_bytes) = (from.read_u32_le().await? as usize, from.read_u32_le().await? as usize);
        if key_bytes > MAX_KEY_BYTES || value_bytes > MAX_VALUE_BYTES {
            return Err(garbage(&format!(
                "a key of {key_bytes} bytes and a value of {value_bytes}: expected at most {MAX_KEY_BYTES} and \
                 {MAX_VALUE_BYTES}"
            )));
        }
        let key = String::from_utf8(exact(from, key_bytes).await?).map_err(|_| garbage("a key that is not UTF-8"))?;
        let share = room.acquire_many(narrow(value_bytes.div_ceil(1024))?).await;
        let value = exact(from, value_bytes).await?;
        drop(share);
        match kind {
            0 if value.is_empty() => Ok(Self::Fetch { key, newer_than, wait_ms }),
            1 => Ok(Self::Post { key, value }),
            _ => Err(garbage("no kind of request")),
        }
    }
}

impl Answer {
    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let (status, version, value) = match self {
            Self::Value(value) => (0_u8, value.version, &value.bytes[..]),
            Self::Nothing => (1, 0, &[][..]),
            Self::Refused(why) => (2, 0, why.as_bytes()),
        };
        let mut head = Vec::with_capacity(17);
        head.extend(MAGIC);
        head.push(status);
        head.extend(version.to_le_bytes());
        head.extend(narrow(value.len())?.to_le_bytes());
        to.write_all(&head).await?;
        to.write_all(value).await?;
        to.flush().await
    }

    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut magic = [0; 4];
        from.read_exact(&mut magic).await?;
        if magic != MAGIC {
            return Err(garbage("no Pegaflow rendezvous answer: does something else listen there?"));
        }
        let (status, version) = (from.read_u8().await?, from.read_u64_le().await?);
        let bytes = from.read_u32_le().await? as usize;
        if bytes > MAX_VALUE_BYTES {
            return Err(garbage(&format!("an answer of {bytes} bytes: expected at most {MAX_VALUE_BYTES}")));
        }
        let bytes = exact(from, bytes).await?;
        match status {
            0 => Ok(Self::Value(Arc::new(Published { version, bytes }))),
            1 => Ok(Self::Nothing),
            2 => Ok(Self::Refused(String::from_utf8_lossy(&bytes).into_owned())),
            _ => Err(garbage("no kind of answer")),
        }
    }
}

/// Reads `bytes` bytes; memory grows with what comes, not with what was announced.
async fn exact(from: &mut (impl AsyncRead + Unpin), bytes: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let got = from.take(bytes as u64).read_to_end(&mut all).await?;
    if got == bytes { Ok(all) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn narrow(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| garbage("longer than 4 GiB"))
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    fn read_request(mut bytes: &[u8]) -> io::Result<Request> {
        block(Request::read(&mut bytes, &Semaphore::new(64 << 10)))
    }

    fn post(key: &str, value: &[u8]) -> (Request, Vec<u8>) {
        let request = Request::Post { key: key.to_owned(), value: value.to_vec() };
        let mut bytes = Vec::new();
        block(request.write(&mut bytes)).unwrap();
        (request, bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let (request, bytes) = post("a/ü", b"value");
        assert_eq!(read_request(&bytes).unwrap(), request);

        let request = Request::Fetch { key: "k".repeat(MAX_KEY_BYTES), newer_than: u64::MAX, wait_ms: 7 };
        let mut bytes = Vec::new();
        block(request.write(&mut bytes)).unwrap();
        assert_eq!(read_request(&bytes).unwrap(), request);

        let value = Published { version: 3, bytes: vec![5; 70_000] };
        for answer in [Answer::Value(Arc::new(value)), Answer::Nothing, Answer::Refused("no".to_owned())] {
            let mut bytes = Vec::new();
            block(answer.write(&mut bytes)).unwrap();
            assert_eq!(block(Answer::read(&mut &bytes[..])).unwrap(), answer);
        }
    }

    #[test]
    fn a_request_that_is_cut_short_is_no_request() {
        let (_, bytes) = post("key", b"value");
        for length in 0..bytes.len() {
            assert_eq!(read_request(&bytes[..length]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
    }

    #[test]
    fn versions_are_a_range() {
        let (request, bytes) = post("key", b"value");
        let with_versions = |oldest: u16, newest: u16| {
            let mut bytes = bytes.clone();
            bytes[4..6].copy_from_slice(&oldest.to_le_bytes());
            bytes[6..8].copy_from_slice(&newest.to_le_bytes());
            read_request(&bytes)
        };
        // The next version talks to this one, and the one after that does not.
        assert_eq!(with_versions(1, 2).unwrap(), request);
        let error = with_versions(2, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("protocol versions 2 to 3"), "{error}");
        with_versions(0, 0).unwrap_err();
    }

    #[test]
    fn lengths_are_refused_before_memory_is_taken() {
        let (_, mut bytes) = post("key", b"value");
        // Length of the value, behind magic, versions, kind, newer_than, wait_ms and the key's length.
        bytes[25..29].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = read_request(&bytes[..29]).unwrap_err();
        assert!(error.to_string().contains("a value of 4294967295"), "{error}");
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (_, good) = post("key", &[1; 300]);
        for _ in 0..5000 {
            let mut bytes = good.clone();
            bytes.truncate(random.usize(..=bytes.len()));
            for _ in 0..random.usize(1..5) {
                if !bytes.is_empty() {
                    let at = random.usize(..bytes.len().min(40));
                    bytes[at] = random.u8(..);
                }
            }
            // Only that they come back: what they say depends on what was damaged.
            let _ = read_request(&bytes);
            let _ = block(Answer::read(&mut &bytes[..]));
        }
    }
}
