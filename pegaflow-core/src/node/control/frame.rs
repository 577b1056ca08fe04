//! What control threads say to each other, in frames of bounded length.

use crate::{
    Bounds, Class, Refusal,
    backend::Parcel,
    node::{inbox::Met, is_name},
    wire::{Reader, WireError, Writer},
};

/// The protocol's versions that this build speaks: N talks to N − 1.
pub(crate) const VERSIONS: (u16, u16) = (1, 1);
/// Most bytes of a frame's body.
pub(crate) const MAX_BODY: usize = 128 << 10;
/// Bytes before a body: length, kind, descriptors.
pub(crate) const HEADER: usize = 6;
/// Most regions in one answer to an import.
pub(crate) const IMPORT_BATCH: usize = 16;
/// Most pieces of one check: 20 bytes each.
pub(crate) const MAX_PIECES: usize = 4096;
/// Most descriptors of a frame.
pub(crate) const MAX_FILES: usize = IMPORT_BATCH * Parcel::MAX_FILES;

/// Contiguous bytes of a granted region, and their sum (CRC-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Which of the grant's regions.
    pub(crate) region: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) sum: u32,
}

#[derive(Debug)]
pub(crate) enum Frame {
    /// Dialler: who I am, whom I mean, my end of the channel.
    Hello { versions: (u16, u16), backend: String, to: (String, u64), class: Class, met: Met },
    /// Dialled: my end, and the channel's epoch.
    Welcome { version: u16, epoch: u64, met: Met },
    /// Dialled: no.
    Refuse(Refusal),
    /// Dialler: joined.
    Ready,
    /// Either: no more will come, in order.
    Bye,
    /// Importer: regions `first..first + count` of the grant.
    Import { request: u32, epoch: u64, first: u32, count: u32 },
    /// Owner: here they are.
    Granted { request: u32, parcels: Vec<Parcel> },
    /// Owner: no, because.
    Denied { request: u32, why: String },
    /// Owner: use this grant no more, and say when nothing of it is in flight.
    Revoke { epoch: u64 },
    /// Importer: nothing is.
    Revoked { epoch: u64 },
    /// Either: the channel is fenced here.
    Fence,
    /// Whoever has moved bytes: these are the sums of what lies in the granted regions now.
    Check { request: u32, epoch: u64, pieces: Vec<Piece> },
    /// Owner: they are; or the first piece whose bytes have another sum, or that is not granted.
    Checked { request: u32, wrong: Option<u32> },
}

impl Frame {
    /// Header and body, and the descriptors that go with them.
    pub(crate) fn encode(self) -> Parcel {
        let mut files = Vec::new();
        let mut to = Writer(vec![0; HEADER]);
        let kind: u8 = match self {
            Self::Hello { versions, backend, to: (name, incarnation), class, met } => {
                to.u16(versions.0).u16(versions.1).bytes(backend.as_bytes());
                to.bytes(name.as_bytes()).u64(incarnation).u8(class as u8);
                write_met(&mut to, met, &mut files);
                1
            }
            Self::Welcome { version, epoch, met } => {
                to.u16(version).u64(epoch);
                write_met(&mut to, met, &mut files);
                2
            }
            Self::Refuse(why) => {
                to.u8(why.to_wire());
                3
            }
            Self::Ready => 4,
            Self::Bye => 5,
            Self::Import { request, epoch, first, count } => {
                to.u32(request).u64(epoch).u32(first).u32(count);
                6
            }
            Self::Granted { request, parcels } => {
                to.u32(request).u32(narrow(parcels.len()));
                for parcel in parcels {
                    to.bytes(&parcel.bytes).u32(narrow(parcel.files.len()));
                    files.extend(parcel.files);
                }
                7
            }
            Self::Denied { request, why } => {
                to.u32(request).bytes(why.as_bytes());
                8
            }
            Self::Revoke { epoch } => {
                to.u64(epoch);
                9
            }
            Self::Revoked { epoch } => {
                to.u64(epoch);
                10
            }
            Self::Fence => 11,
            Self::Check { request, epoch, pieces } => {
                to.u32(request).u64(epoch).u32(narrow(pieces.len()));
                for Piece { region, offset, bytes, sum } in pieces {
                    to.u32(region).u64(offset).u32(bytes).u32(sum);
                }
                12
            }
            Self::Checked { request, wrong } => {
                to.u32(request).u8(u8::from(wrong.is_some())).u32(wrong.unwrap_or(0));
                13
            }
        };
        let mut bytes = to.0;
        let body = narrow(bytes.len() - HEADER).to_le_bytes();
        bytes[..4].copy_from_slice(&body);
        bytes[4] = kind;
        bytes[5] = u8::try_from(files.len()).unwrap_or(u8::MAX);
        Parcel { bytes, files }
    }

    /// Which import a `Granted` answers, where it is one.
    pub(crate) fn answers(kind: u8, body: &[u8]) -> Option<u32> {
        if kind == 7 { Reader::new(body).u32().ok() } else { None }
    }

    /// Reads a body; `parcel.files` are the descriptors that came with it.
    pub(crate) fn decode(kind: u8, parcel: Parcel) -> Result<Self, WireError> {
        let mut files = parcel.files.into_iter();
        let mut from = Reader::new(&parcel.bytes);
        let frame = match kind {
            1 => Self::Hello {
                versions: (from.u16()?, from.u16()?),
                backend: from.text()?.to_owned(),
                to: (from.text()?.to_owned(), from.u64()?),
                class: match Class::ALL.get(usize::from(from.u8()?)) {
                    Some(&class) => class,
                    None => return from.fail("no class of traffic"),
                },
                met: read_met(&mut from, &mut files)?,
            },
            2 => Self::Welcome { version: from.u16()?, epoch: from.u64()?, met: read_met(&mut from, &mut files)? },
            3 => Self::Refuse(Refusal::from_wire(from.u8()?)),
            4 => Self::Ready,
            5 => Self::Bye,
            6 => Self::Import { request: from.u32()?, epoch: from.u64()?, first: from.u32()?, count: from.u32()? },
            7 => {
                let request = from.u32()?;
                let count = from.u32()? as usize;
                if count > IMPORT_BATCH {
                    return from.fail("more regions than are ever asked");
                }
                let parcels = (0..count).map(|_| read_parcel(&mut from, &mut files)).collect::<Result<_, _>>()?;
                Self::Granted { request, parcels }
            }
            8 => Self::Denied { request: from.u32()?, why: from.text()?.to_owned() },
            9 => Self::Revoke { epoch: from.u64()? },
            10 => Self::Revoked { epoch: from.u64()? },
            11 => Self::Fence,
            12 => {
                let (request, epoch, count) = (from.u32()?, from.u64()?, from.u32()? as usize);
                if count > MAX_PIECES {
                    return from.fail("more pieces than are ever checked");
                }
                let piece = |from: &mut Reader<'_>| {
                    Ok(Piece { region: from.u32()?, offset: from.u64()?, bytes: from.u32()?, sum: from.u32()? })
                };
                let pieces = (0..count).map(|_| piece(&mut from)).collect::<Result<_, WireError>>()?;
                Self::Check { request, epoch, pieces }
            }
            13 => {
                let (request, is_wrong, wrong) = (from.u32()?, from.u8()? != 0, from.u32()?);
                Self::Checked { request, wrong: is_wrong.then_some(wrong) }
            }
            _ => return from.fail("no kind of frame"),
        };
        from.end()?;
        if files.next().is_some() {
            return from.fail("descriptors left over");
        }
        Ok(frame)
    }
}

fn write_met(to: &mut Writer, met: Met, files: &mut Vec<std::os::fd::OwnedFd>) {
    to.bytes(met.name.as_bytes()).u64(met.incarnation);
    let Bounds { transfers, blocks, messages, message_bytes, counters } = met.bounds;
    to.u32(transfers).u32(blocks).u32(messages).u32(message_bytes).u32(counters);
    to.bytes(&met.parcel.bytes).u32(narrow(met.parcel.files.len()));
    to.u8(met.life.is_some().into());
    files.extend(met.parcel.files.into_iter().chain(met.life));
}

fn read_met(from: &mut Reader<'_>, files: &mut impl Iterator<Item = std::os::fd::OwnedFd>) -> Result<Met, WireError> {
    let (name, incarnation) = (from.text()?.to_owned(), from.u64()?);
    if !is_name(&name) {
        return from.fail("a name that no node has");
    }
    let bounds = Bounds {
        transfers: from.u32()?,
        blocks: from.u32()?,
        messages: from.u32()?,
        message_bytes: from.u32()?,
        counters: from.u32()?,
    };
    if bounds.check().is_err() {
        return from.fail("bounds out of range");
    }
    let parcel = read_parcel(from, files)?;
    let life = match (from.u8()?, files) {
        (0, _) => None,
        (1, files) => Some(files.next().ok_or(()).or_else(|()| from.fail("descriptors missing"))?),
        _ => return from.fail("neither a life nor none"),
    };
    Ok(Met { name, incarnation, bounds, parcel, life })
}

fn read_parcel(
    from: &mut Reader<'_>,
    files: &mut impl Iterator<Item = std::os::fd::OwnedFd>,
) -> Result<Parcel, WireError> {
    let bytes = from.bytes()?;
    let count = from.u32()? as usize;
    if bytes.len() > Parcel::MAX_BYTES || count > Parcel::MAX_FILES {
        return from.fail("a parcel too large");
    }
    let files: Vec<_> = files.take(count).collect();
    if files.len() < count {
        return from.fail("descriptors missing");
    }
    Ok(Parcel { bytes: bytes.to_vec(), files })
}

fn narrow(length: usize) -> u32 {
    // Every length here is bounded by MAX_BODY.
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met() -> Met {
        let parcel = Parcel { bytes: vec![1, 2, 3], files: Vec::new() };
        Met { name: "a".to_owned(), incarnation: 3, bounds: Bounds::of(Class::Kv), parcel, life: None }
    }

    fn again(frame: Frame) -> Result<Frame, WireError> {
        let Parcel { bytes, files } = frame.encode();
        Frame::decode(bytes[4], Parcel { bytes: bytes[HEADER..].to_vec(), files })
    }

    #[test]
    fn frames_are_read_back() {
        let to = ("b".to_owned(), 9);
        let hello = Frame::Hello { versions: VERSIONS, backend: "shm".to_owned(), to, class: Class::Bulk, met: met() };
        let said = format!("{hello:?}");
        assert_eq!(format!("{:?}", again(hello).unwrap()), said);
        let life = std::fs::File::open("/dev/null").unwrap().into();
        let parcel = Parcel { bytes: vec![4], files: vec![std::fs::File::open("/dev/zero").unwrap().into()] };
        let watched = Met { parcel, life: Some(life), ..met() };
        let welcome = Frame::Welcome { version: 1, epoch: 2, met: watched };
        let said = format!("{welcome:?}");
        assert_eq!(format!("{:?}", again(welcome).unwrap()), said, "each descriptor in its own place");
        let denied = Frame::Denied { request: 4, why: "stale".to_owned() };
        assert!(matches!(again(denied), Ok(Frame::Denied { request: 4, why }) if why == "stale"));
    }

    #[test]
    fn a_life_that_is_said_and_does_not_come_is_refused() {
        let Parcel { bytes, .. } = Frame::Welcome { version: 1, epoch: 2, met: met() }.encode();
        for said in [1, 2] {
            let mut body = bytes[HEADER..].to_vec();
            *body.last_mut().unwrap() = said;
            assert!(Frame::decode(2, Parcel { bytes: body, files: Vec::new() }).is_err(), "{said}");
        }
    }

    #[test]
    fn a_peer_has_a_name_that_a_node_can_have() {
        for name in ["", "Node", "no node", "n\u{f6}de", "../node", &"n".repeat(65)] {
            let welcome = Frame::Welcome { version: 1, epoch: 2, met: Met { name: name.to_owned(), ..met() } };
            let error = again(welcome).unwrap_err();
            assert_eq!(error.what, "a name that no node has", "{name:?}");
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000_u32 {
            let length = (round % 97) as usize;
            let bytes = (0..length)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (random >> 56) as u8
                })
                .collect();
            let _ = Frame::decode((round % 16) as u8, Parcel { bytes, files: Vec::new() });
        }
    }
}
