//! What another process writes and this crate reads, as functions of bytes: each returns, whatever the bytes are, and
//! asserts what must hold of what it read. `fuzz` drives them, and the tests below do with its corpus.

use crate::{grant::GrantBlob, node::Address};

pub use crate::node::control::garbage::{frame, stream};

/// A grant: every window lies in its region, and what was read is written so that it is read again.
pub fn grant(data: &[u8]) {
    let Ok(blob) = GrantBlob::decode(data) else { return };
    for &(region, offset, bytes) in &blob.windows {
        let end = offset.checked_add(bytes).expect("a window that ends");
        assert!(end <= blob.regions[region as usize], "window {offset}+{bytes} of region {region}");
    }
    assert_eq!(GrantBlob::decode(&blob.encode()).expect("written by this build"), blob);
}

/// A node's address: no two texts of one address.
pub fn address(data: &[u8]) {
    let Ok(address) = Address::decode(data) else { return };
    assert_eq!(address.encode(), data);
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{replay::replay, *};
    use crate::node::{Way, control::garbage::examples};

    #[test]
    fn frames() {
        replay("control_frame", examples::frames(), 20_000, frame);
    }

    #[test]
    fn streams() {
        replay("control_stream", examples::streams(), 2000, stream);
    }

    #[test]
    fn grants() {
        let grant = |regions: &[u64], windows: &[(u32, u64, u64)]| {
            let (owner, access) = ("decode".to_owned(), (true, false));
            let (regions, windows) = (regions.to_vec(), windows.to_vec());
            GrantBlob { owner, incarnation: 1, epoch: 2, access, regions, windows }.encode()
        };
        let examples = vec![
            ("one", grant(&[4096], &[(0, 0, 4096)])),
            ("several", grant(&[4096, u64::MAX], &[(0, 1, 4095), (1, u64::MAX, 0), (1, 1 << 40, 1 << 41), (0, 0, 1)])),
        ];
        replay("grant", examples, 20_000, super::grant);
    }

    #[test]
    fn addresses() {
        let address =
            |way| Address { name: "decode".to_owned(), incarnation: 7, backend: "shm".to_owned(), way }.encode();
        let examples = vec![
            ("unix", address(Way::Unix("/run/pegaflow/decode.sock".into()))),
            ("ipv4", address(Way::Tcp("127.0.0.1:7300".parse().unwrap()))),
            ("ipv6", address(Way::Tcp("[2001:db8::1]:65535".parse().unwrap()))),
        ];
        replay("address", examples, 20_000, super::address);
    }
}
