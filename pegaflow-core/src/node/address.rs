//! A node's address: one-way bytes by which anybody may dial it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::control::Identity;
use crate::{
    ConnectError, Meets,
    wire::{Reader, WireError, Writer},
};

const MAGIC: u32 = u32::from_le_bytes(*b"PGFa");
const VERSION: u16 = 1;
/// Meets by a Unix socket at the path that follows.
const UNIX: u8 = 1;
/// Meets over TCP: 4 or 16 bytes of address, and the port.
const TCP: u8 = 2;

/// How to get to a node's control thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Way {
    /// Whether nodes of a backend that meets like this go this way.
    pub(crate) fn fits(&self, meets: Meets) -> bool {
        matches!((self, meets), (Self::Unix(_), Meets::OneHost) | (Self::Tcp(_), Meets::AnyHost))
    }
}

/// Who it is and where its control thread listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    pub(crate) backend: String,
    pub(crate) way: Way,
}

impl Address {
    pub(crate) fn new(identity: &Identity, way: Way) -> Self {
        Self {
            name: identity.name.clone(),
            incarnation: identity.incarnation,
            backend: identity.backend.to_owned(),
            way,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(MAGIC).u16(VERSION).bytes(self.name.as_bytes()).u64(self.incarnation).bytes(self.backend.as_bytes());
        match &self.way {
            Way::Unix(path) => to.u8(UNIX).bytes(path.as_os_str().as_encoded_bytes()),
            Way::Tcp(at) => match at.ip() {
                IpAddr::V4(ip) => to.u8(TCP).bytes(&ip.octets()).u16(at.port()),
                IpAddr::V6(ip) => to.u8(TCP).bytes(&ip.octets()).u16(at.port()),
            },
        };
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
        let way = match from.u8()? {
            UNIX => Way::Unix(PathBuf::from(from.text()?)),
            TCP => Way::Tcp(read_tcp(&mut from)?),
            _ => return from.fail("a way to meet that this build does not know"),
        };
        from.end()?;
        Ok(Self { name, incarnation, backend, way })
    }
}

fn read_tcp(from: &mut Reader<'_>) -> Result<SocketAddr, WireError> {
    let octets = from.bytes()?;
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        IpAddr::from(v4)
    } else if let Ok(v6) = <[u8; 16]>::try_from(octets) {
        IpAddr::from(v6)
    } else {
        return from.fail("an IP address of neither 4 nor 16 bytes");
    };
    let at = SocketAddr::new(ip, from.u16()?);
    if ip.is_unspecified() || at.port() == 0 {
        return from.fail("an IP address and port that nobody listens at");
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(way: Way) -> Address {
        Address { name: "decode".to_owned(), incarnation: 7, backend: "shm".to_owned(), way }
    }

    fn tcp(at: &str) -> Address {
        address(Way::Tcp(at.parse().unwrap()))
    }

    #[test]
    fn an_address_is_read_back_and_a_part_of_it_is_not() {
        for address in [address(Way::Unix("/run/x.sock".into())), tcp("127.0.0.1:7300"), tcp("[2001:db8::1]:65535")] {
            let mut bytes = address.encode();
            assert_eq!(Address::decode(&bytes).unwrap(), address);
            for length in 0..bytes.len() {
                assert!(Address::decode(&bytes[..length]).is_err(), "{length} bytes");
            }
            bytes.push(0);
            assert!(Address::decode(&bytes).is_err(), "a byte too many");
        }
    }

    #[test]
    fn what_nobody_listens_at_is_no_address() {
        for at in ["0.0.0.0:7300", "[::]:7300", "127.0.0.1:0"] {
            let error = Address::decode(&tcp(at).encode()).unwrap_err();
            assert!(matches!(error, ConnectError::Malformed { .. }), "{at}: {error}");
        }
        let mut to = Writer::default();
        to.u32(MAGIC).u16(VERSION).bytes(b"a").u64(1).bytes(b"x").u8(TCP).bytes(&[127, 0, 0, 1, 0]).u16(1);
        assert!(Address::decode(&to.0).unwrap_err().to_string().contains("neither 4 nor 16"));
    }

    #[test]
    fn an_unknown_way_or_version_is_told_apart_from_garbage() {
        let good = tcp("127.0.0.1:7300").encode();
        let said = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Address::decode(&bytes).unwrap_err().to_string()
        };
        assert!(said(4, 9).contains("a version of addresses"));
        // Behind it: a length of 32 bits, 4 bytes, a port of 16.
        assert!(said(good.len() - 11, 9).contains("a way to meet"));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let good = tcp("[2001:db8::1]:7300").encode();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (mut bytes, at, byte) = (good.clone(), (random >> 32) as usize % good.len(), (random >> 56) as u8);
            bytes[at] = byte;
            let read = Address::decode(&bytes);
            assert!(read.is_err() || read.unwrap().encode() == bytes, "byte {at} as {byte}");
        }
    }
}
