//! One non-blocking connection: frames in, frames out, descriptors beside them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use super::frame::{Frame, HEADER, MAX_BODY, MAX_FILES};
use crate::backend::Parcel;

/// Most bytes that wait for a peer who does not read; past that the connection is given up.
const MAX_WAITING: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    received: Vec<u8>,
    files: VecDeque<OwnedFd>,
    waiting: VecDeque<Parcel>,
    /// Bytes of the first waiting parcel that are gone already.
    sent: usize,
    waiting_bytes: usize,
}

impl Stream {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            received: Vec::new(),
            files: VecDeque::new(),
            waiting: VecDeque::new(),
            sent: 0,
            waiting_bytes: 0,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something waits for the socket to become writable.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Queues a frame and sends what the socket takes.
    pub(crate) fn send(&mut self, frame: Frame) -> io::Result<()> {
        let parcel = frame.encode();
        self.waiting_bytes += parcel.bytes.len();
        if self.waiting_bytes > MAX_WAITING {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"));
        }
        self.waiting.push_back(parcel);
        self.flush()
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(parcel) = self.waiting.front_mut() {
            let files: Vec<BorrowedFd<'_>> = parcel.files.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&files)) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in a frame"));
            }
            let rest = [IoSlice::new(&parcel.bytes[self.sent..])];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(&self.socket, &rest, &mut beside, flags) {
                Ok(count) => {
                    // They went with the first byte.
                    parcel.files.clear();
                    self.sent += count;
                    if self.sent == parcel.bytes.len() {
                        self.waiting_bytes -= self.sent;
                        self.sent = 0;
                        self.waiting.pop_front();
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there. `Ok(false)` at the end of the stream.
    pub(crate) fn receive(&mut self) -> io::Result<bool> {
        let mut chunk = [0_u8; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(&mut chunk)], &mut beside, flags) {
            Ok(got) => {
                for message in beside.drain() {
                    if let RecvAncillaryMessage::ScmRights(files) = message {
                        self.files.extend(files);
                    }
                }
                if got.flags.contains(ReturnFlags::CTRUNC) || self.files.len() > 2 * MAX_FILES {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than a frame carries"));
                }
                self.received.extend(&chunk[..got.bytes]);
                Ok(got.bytes > 0)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next whole frame of what was read. An error is garbage: the connection is not to be used any more.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        let garbage = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let Some((header, rest)) = self.received.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [a, b, c, d, kind, files] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_BODY || usize::from(files) > MAX_FILES {
            return Err(garbage(format!("a frame of {length} bytes and {files} descriptors")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        if self.files.len() < usize::from(files) {
            return Err(garbage(format!("{files} descriptors said, {} came", self.files.len())));
        }
        let bytes = rest[..length].to_vec();
        self.received.drain(..HEADER + length);
        let files = self.files.drain(..usize::from(files)).collect();
        Frame::decode(kind, Parcel { bytes, files }).map(Some).map_err(|error| garbage(error.to_string()))
    }
}
