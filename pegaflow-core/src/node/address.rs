//! A node's address: one-way bytes by which anybody may dial it.

use std::path::{Path, PathBuf};

use super::control::Identity;
use crate::{
    ConnectError,
    wire::{Reader, WireError, Writer},
};

const MAGIC: u32 = u32::from_le_bytes(*b"PGFa");
const VERSION: u16 = 1;
/// Meets by a Unix socket at the path that follows.
const UNIX: u8 = 1;

/// Who it is and where its control thread listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    pub(crate) backend: String,
    pub(crate) path: PathBuf,
}

impl Address {
    pub(crate) fn new(identity: &Identity, path: &Path) -> Self {
        Self {
            name: identity.name.clone(),
            incarnation: identity.incarnation,
            backend: identity.backend.to_owned(),
            path: path.to_owned(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(MAGIC).u16(VERSION).bytes(self.name.as_bytes()).u64(self.incarnation).bytes(self.backend.as_bytes());
        to.u8(UNIX).bytes(self.path.as_os_str().as_encoded_bytes());
        to.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ConnectError> {
        Self::read(bytes).map_err(|error| ConnectError::Malformed { what: "node address", why: error.to_string() })
    }

    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut from = Reader::new(bytes);
        if from.u32()? != MAGIC {
            return from.fail("no mark of a node address");
        }
        if from.u16()? != VERSION {
            return from.fail("a version of addresses that this build does not know");
        }
        let name = from.text()?.to_owned();
        let incarnation = from.u64()?;
        let backend = from.text()?.to_owned();
        if from.u8()? != UNIX {
            return from.fail("a way to meet that this build does not know");
        }
        let path = PathBuf::from(from.text()?);
        from.end()?;
        Ok(Self { name, incarnation, backend, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_and_a_part_of_it_is_not() {
        let address = Address {
            name: "decode".to_owned(),
            incarnation: 7,
            backend: "shm".to_owned(),
            path: PathBuf::from("/run/x.sock"),
        };
        let bytes = address.encode();
        assert_eq!(Address::decode(&bytes).unwrap(), address);
        for length in 0..bytes.len() {
            assert!(Address::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
