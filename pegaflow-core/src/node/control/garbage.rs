//! Frames that nobody wrote, for `fuzz`.

use std::os::fd::OwnedFd;

use rustix::{
    event::EventfdFlags,
    io::IoSlice,
    net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType},
};

use super::{
    frame::{Frame, HEADER, MAX_BODY, MAX_FILES},
    stream::Stream,
};
use crate::{Meets, backend::Parcel};

/// So many descriptors, as good as any others.
fn descriptors(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor")).collect()
}

/// `[kind, descriptors, body..]`: what can be read is written so that it is read again.
pub fn frame(data: &[u8]) {
    let [kind, files, body @ ..] = data else { return };
    let parcel = Parcel { bytes: body.to_vec(), files: descriptors(usize::from(files % 8)) };
    let came = parcel.files.len();
    let Ok(frame) = Frame::decode(*kind, parcel) else { return };
    let said = format!("{frame:?}");
    let Parcel { bytes, files } = frame.encode();
    let body = bytes.len() - HEADER;
    assert_eq!(bytes[..4], u32::try_from(body).expect("a short body").to_le_bytes());
    assert_eq!((bytes[4], usize::from(bytes[5]), files.len()), (*kind, came, came));
    let again = Frame::decode(*kind, Parcel { bytes: bytes[HEADER..].to_vec(), files });
    assert_eq!(format!("{:?}", again.expect("written by this build")), said);
}

/// `[way, (length, descriptors, bytes of that length)..]`, each sent by itself: however the bytes are cut, the frames
/// are those of the whole, nothing is read after the first that is garbage, and what is kept has a bound.
pub fn stream(data: &[u8]) {
    let [way, script @ ..] = data else { return };
    let meets = if way & 1 == 0 { Meets::OneHost } else { Meets::AnyHost };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (peer, socket) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("two sockets");
    let mut stream = Stream::new(socket, meets);
    let (mut sent, mut files_sent, mut frames, mut ended) = (Vec::new(), 0, Vec::new(), false);
    let mut script = script;
    while let [length, files, rest @ ..] = script
        && !ended
    {
        let (piece, rest) = rest.split_at(rest.len().min((*length).into()));
        script = rest;
        let files = if meets == Meets::OneHost && !piece.is_empty() { usize::from(files % 4) } else { 0 };
        send(&peer, piece, &descriptors(files));
        sent.extend(piece);
        files_sent += files;
        ended = stream.receive().is_err();
        while !ended {
            match stream.next_frame() {
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(_) => ended = true,
            }
        }
        let (bytes, files) = stream.kept();
        assert!(ended || bytes < HEADER + MAX_BODY, "{bytes} bytes are kept");
        assert!(files <= files_sent);
    }
    if files_sent == 0 {
        let max_files = if meets == Meets::OneHost { MAX_FILES } else { 0 };
        assert_eq!((frames, ended), whole(&sent, max_files));
    }
}

fn send(to: &OwnedFd, bytes: &[u8], files: &[OwnedFd]) {
    let files: Vec<_> = files.iter().map(std::os::fd::AsFd::as_fd).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        assert!(beside.push(SendAncillaryMessage::ScmRights(&files)), "room for four");
    }
    let sent = rustix::net::sendmsg(to, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(bytes.len()), "a short piece, and the last one was read");
}

/// The frames of bytes that came in one piece and without descriptors, and whether garbage came behind them.
fn whole(mut bytes: &[u8], max_files: usize) -> (Vec<String>, bool) {
    let mut frames = Vec::new();
    while let Some((&[a, b, c, d, kind, files], rest)) = bytes.split_first_chunk::<HEADER>() {
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_BODY || usize::from(files) > max_files {
            return (frames, true);
        }
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        match Frame::decode(kind, Parcel { bytes: body.to_vec(), files: Vec::new() }) {
            Ok(frame) if files == 0 => frames.push(format!("{frame:?}")),
            _ => return (frames, true),
        }
        bytes = rest;
    }
    (frames, false)
}

/// Frames as this build writes them, for both.
#[cfg(test)]
pub(crate) mod examples {
    use super::{Frame, HEADER, Parcel};
    use crate::{
        Bounds, Class, Refusal,
        node::{
            control::{Piece, VERSIONS},
            inbox::Met,
        },
    };

    fn all() -> Vec<(&'static str, Frame)> {
        let parcel = |bytes: &[u8]| Parcel { bytes: bytes.to_vec(), files: Vec::new() };
        let met = || Met {
            name: "prefill".to_owned(),
            incarnation: 3,
            bounds: Bounds::of(Class::Kv),
            parcel: parcel(&[1, 2, 3]),
            life: None,
        };
        let piece = Piece { region: 1, offset: 4096, bytes: 512, sum: 0x1234_5678 };
        let (backend, to) = ("shm".to_owned(), ("decode".to_owned(), 9));
        vec![
            ("hello", Frame::Hello { versions: VERSIONS, backend, to, class: Class::Bulk, met: met() }),
            ("welcome", Frame::Welcome { version: VERSIONS.1, epoch: 7, met: met() }),
            ("refuse", Frame::Refuse(Refusal::Full)),
            ("ready", Frame::Ready),
            ("bye", Frame::Bye),
            ("import", Frame::Import { request: 1, epoch: 2, first: 0, count: 3 }),
            ("granted", Frame::Granted { request: 1, parcels: vec![parcel(&[4; 8]), parcel(&[])] }),
            ("denied", Frame::Denied { request: 1, why: "stale grant".to_owned() }),
            ("revoke", Frame::Revoke { epoch: 5 }),
            ("revoked", Frame::Revoked { epoch: 5 }),
            ("fence", Frame::Fence),
            ("check", Frame::Check { request: 8, epoch: 2, pieces: vec![piece; 3] }),
            ("checked", Frame::Checked { request: 8, wrong: Some(1) }),
        ]
    }

    pub(crate) fn frames() -> Vec<(&'static str, Vec<u8>)> {
        let input = |frame: Frame| {
            let bytes = frame.encode().bytes;
            [&[bytes[4], 0], &bytes[HEADER..]].concat()
        };
        all().into_iter().map(|(name, frame)| (name, input(frame))).collect()
    }

    pub(crate) fn streams() -> Vec<(&'static str, Vec<u8>)> {
        let long = Frame::Denied { request: 2, why: "long".repeat(100) };
        let bytes: Vec<u8> =
            all().into_iter().flat_map(|(_, frame)| frame.encode().bytes).chain(long.encode().bytes).collect();
        let cut = |way: u8, length: usize, files: u8| {
            let pieces = bytes.chunks(length).flat_map(|piece| {
                let length = u8::try_from(piece.len()).expect("short");
                [&[length, files], piece].concat()
            });
            std::iter::once(way).chain(pieces).collect::<Vec<u8>>()
        };
        vec![("whole_over_tcp", cut(1, 200, 0)), ("bytewise", cut(0, 1, 0)), ("with_descriptors", cut(0, 9, 3))]
    }
}
