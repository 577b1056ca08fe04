//! What two ends of a link tell each other before they are connected.

use pegaflow_core::{BackendError, backend::Parcel};

use crate::{error::NAME, sys::Address};

const VERSION: u8 = 1;

/// One end: where its queue pair is, and where its ring of messages lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) address: Address,
    /// Whether the port below is Ethernet.
    pub(crate) ethernet: bool,
    pub(crate) ring: u64,
    pub(crate) ring_key: u32,
}

impl End {
    pub(crate) fn encode(&self) -> Parcel {
        let Address { number, first_packet, lid, gid, mtu, reads } = self.address;
        let mut bytes = vec![VERSION, u8::from(self.ethernet), u8::try_from(mtu).unwrap_or(u8::MAX), reads];
        bytes.extend(number.to_le_bytes());
        bytes.extend(first_packet.to_le_bytes());
        bytes.extend(self.ring_key.to_le_bytes());
        bytes.extend(self.ring.to_le_bytes());
        bytes.extend(lid.to_le_bytes());
        bytes.extend(gid);
        Parcel { bytes, files: Vec::new() }
    }

    pub(crate) fn decode(parcel: &Parcel) -> Result<Self, BackendError> {
        let refused = |why: String| BackendError::new(NAME, format!("the peer's end can't be read: {why}"));
        let bytes: &[u8; 42] = parcel
            .bytes
            .as_slice()
            .try_into()
            .map_err(|_| refused(format!("{} bytes: expected 42", parcel.bytes.len())))?;
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let [version, ethernet, mtu, reads, ..] = *bytes;
        if version != VERSION {
            return Err(refused(format!("version {version}: expected {VERSION}")));
        }
        if !(1..=5).contains(&mtu) {
            return Err(refused(format!("path MTU {mtu}: expected 1 to 5")));
        }
        if reads == 0 {
            return Err(refused("0 reads at a time: expected at least 1".to_owned()));
        }
        let mut gid = [0; 16];
        gid.copy_from_slice(&bytes[26..]);
        let address = Address {
            number: four(4) & 0xff_ffff,
            first_packet: four(8) & 0xff_ffff,
            lid: u16::from_le_bytes([bytes[24], bytes[25]]),
            gid,
            mtu: mtu.into(),
            reads,
        };
        let ring = u64::from(four(16)) | u64::from(four(20)) << 32;
        Ok(Self { address, ethernet: ethernet != 0, ring, ring_key: four(12) })
    }

    /// Whether a port of this kind with this GID can send to the peer's.
    pub(crate) fn check_reach(&self, ethernet: bool, gid: &[u8; 16]) -> Result<(), BackendError> {
        if self.ethernet != ethernet {
            let kind = |ethernet: bool| if ethernet { "Ethernet (RoCE)" } else { "InfiniBand" };
            return Err(BackendError::new(
                NAME,
                format!(
                    "this port is on {} and the peer's on {}: they can't reach each other, name ports of one kind in \
                     transport.rdma.rail",
                    kind(ethernet),
                    kind(self.ethernet)
                ),
            ));
        }
        if !ethernet && gid[..8] != self.address.gid[..8] {
            // The LID to send to would be a router's, which a path record tells.
            let subnet = |gid: &[u8; 16]| gid[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            return Err(BackendError::new(
                NAME,
                format!(
                    "this port is in InfiniBand subnet {} and the peer's in {}: expected one subnet, routing between \
                     them is not built",
                    subnet(gid),
                    subnet(&self.address.gid)
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(ethernet: bool, gid: [u8; 16]) -> End {
        let address = Address { number: 0xab_cdef, first_packet: 0x12_3456, lid: 0x789a, gid, mtu: 5, reads: 16 };
        End { address, ethernet, ring: 0x1234_5678_9abc_def0, ring_key: 0xdead_beef }
    }

    #[test]
    fn only_ports_of_one_kind_and_one_subnet_of_infiniband_reach_each_other() {
        let (here, near, far) = ([1; 16], [[1; 8], [2; 8]].concat(), [[3; 8], [1; 8]].concat());
        let gid = |bytes: &[u8]| *bytes.first_chunk().unwrap();
        for (ethernet, peer, expected) in [
            (true, end(true, gid(&far)), None),
            (false, end(false, gid(&near)), None),
            (false, end(false, gid(&far)), Some("subnet 0101010101010101 and the peer's in 0303030303030303")),
            (false, end(true, gid(&near)), Some("on InfiniBand and the peer's on Ethernet")),
            (true, end(false, gid(&near)), Some("on Ethernet (RoCE) and the peer's on InfiniBand")),
        ] {
            let said = peer.check_reach(ethernet, &here).map_err(|error| error.message);
            match expected {
                None => assert_eq!(said, Ok(())),
                Some(part) => assert!(said.as_ref().is_err_and(|said| said.contains(part)), "{said:?}"),
            }
        }
    }

    #[test]
    fn an_end_is_read_back_and_a_part_of_it_is_not() {
        let gid = std::array::from_fn(|at| u8::try_from(at).unwrap() + 1);
        let end = end(true, gid);
        let parcel = end.encode();
        assert_eq!(End::decode(&parcel).unwrap(), end);
        for length in 0..parcel.bytes.len() {
            let part = Parcel { bytes: parcel.bytes[..length].to_vec(), files: Vec::new() };
            assert!(End::decode(&part).is_err(), "{length} bytes");
        }
        for (at, value) in [(0, 2), (2, 0), (2, 6), (3, 0)] {
            let mut wrong = end.encode();
            wrong.bytes[at] = value;
            assert!(End::decode(&wrong).is_err(), "byte {at} is {value}");
        }
    }
}
