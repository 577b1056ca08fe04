//! One non-blocking connection: frames in, frames out, descriptors beside them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    event::epoll,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, Shutdown,
    },
};

use super::{
    GARBAGE_ON_CONTROL,
    frame::{Frame, HEADER, MAX_BODY, MAX_FILES},
};
use crate::{Cause, Meets, backend::Parcel, fork::Origin};

/// Most bytes that wait for a peer who does not read; past that the connection is given up.
const MAX_WAITING: usize = 4 << 20;
/// Most descriptors that wait with them. Each is one of this process's, which others need too.
const MAX_WAITING_FILES: usize = 4 * MAX_FILES;

/// Why a connection is not to be used any more; or, of an answer to an import, why that came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// `MAX_WAITING` or `MAX_WAITING_FILES` is reached.
    #[error("the peer does not read")]
    Unread,
    /// This side's own; parcels are checked before they come here.
    #[error("a frame with {files} descriptors to send: expected at most {max}")]
    TooManyFiles { files: usize, max: usize },
    /// This process had no room for the descriptors that came with a frame, which is lost. It may go on where that was the
    /// answer to this import.
    #[error("no room for the descriptors that came: {}; raise the limit (`ulimit -n`)", no_room())]
    NoRoom { request: Option<u32> },
    #[error("garbage: {0}")]
    Garbage(String),
}

/// The kernel says that some are missing, and not why.
pub(crate) fn no_room() -> io::Error {
    rustix::io::Errno::MFILE.into()
}

impl Fault {
    pub(crate) fn cause(&self) -> Cause {
        use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
        match self {
            // The kernel's last word on a host that did not acknowledge: the time-out, or why it could not be reached.
            Self::Io(error) if matches!(error.kind(), TimedOut | HostUnreachable | NetworkUnreachable) => {
                Cause::PeerSilent
            }
            Self::Io(_) => Cause::PeerGone,
            Self::Unread => Cause::PeerSilent,
            Self::TooManyFiles { .. } => Cause::ClosedHere,
            Self::NoRoom { .. } => Cause::NotJoined,
            Self::Garbage(_) => GARBAGE_ON_CONTROL,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    /// Where it was entered, to be taken out of again.
    epoll: Option<Arc<OwnedFd>>,
    origin: Origin,
    /// Most descriptors of a frame: none over TCP.
    max_files: usize,
    received: Vec<u8>,
    files: VecDeque<OwnedFd>,
    /// For each frame some of whose descriptors were lost: how many are before and of it.
    cuts: VecDeque<usize>,
    waiting: VecDeque<Parcel>,
    /// Bytes of the first waiting parcel that are gone already.
    sent: usize,
    waiting_bytes: usize,
    waiting_files: usize,
}

impl Stream {
    pub(crate) fn new(socket: OwnedFd, meets: Meets) -> Self {
        Self {
            socket,
            epoll: None,
            origin: Origin::here(),
            max_files: if meets == Meets::OneHost { MAX_FILES } else { 0 },
            received: Vec::new(),
            files: VecDeque::new(),
            cuts: VecDeque::new(),
            waiting: VecDeque::new(),
            sent: 0,
            waiting_bytes: 0,
            waiting_files: 0,
        }
    }

    /// Says in which epoll it was entered.
    pub(crate) fn entered(mut self, epoll: &Arc<OwnedFd>) -> Self {
        self.epoll = Some(Arc::clone(epoll));
        self
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something waits for the socket to become writable.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Queues a frame and sends what the socket takes.
    pub(crate) fn send(&mut self, frame: Frame) -> Result<(), Fault> {
        let parcel = frame.encode();
        if parcel.files.len() > self.max_files {
            return Err(Fault::TooManyFiles { files: parcel.files.len(), max: self.max_files });
        }
        self.waiting_bytes += parcel.bytes.len();
        self.waiting_files += parcel.files.len();
        if self.waiting_bytes > MAX_WAITING || self.waiting_files > MAX_WAITING_FILES {
            return Err(Fault::Unread);
        }
        self.waiting.push_back(parcel);
        self.flush()
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        while let Some(parcel) = self.waiting.front_mut() {
            let files: Vec<BorrowedFd<'_>> = parcel.files.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&files)) {
                return Err(Fault::TooManyFiles { files: files.len(), max: MAX_FILES });
            }
            let rest = [IoSlice::new(&parcel.bytes[self.sent..])];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(&self.socket, &rest, &mut beside, flags) {
                Ok(count) => {
                    // They went with the first byte.
                    self.waiting_files -= parcel.files.len();
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
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
        Ok(())
    }

    /// Sends what the socket takes, then ends this side's half: what waits still is not worth waiting for.
    pub(crate) fn end(&mut self) {
        let _ = self.flush();
        self.waiting.clear();
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }

    /// Bytes and descriptors that were received and are not read.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.received.len(), self.files.len())
    }

    /// Reads what is there. `Ok(false)` at the end of the stream.
    pub(crate) fn receive(&mut self) -> Result<bool, Fault> {
        let mut chunk = [0_u8; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(&mut chunk)], &mut beside, flags) {
            Ok(got) => {
                let before = self.files.len();
                for message in beside.drain() {
                    if let RecvAncillaryMessage::ScmRights(files) = message {
                        self.files.extend(files);
                    }
                }
                let cut = got.flags.contains(ReturnFlags::CTRUNC);
                let full = self.files.len() - before >= MAX_FILES;
                if cut && !full {
                    self.cuts.push_back(self.files.len());
                }
                if cut && full || self.files.len().max(self.cuts.len()) > 2 * MAX_FILES {
                    return Err(Fault::Garbage("more descriptors than a frame carries".to_owned()));
                }
                self.received.extend(&chunk[..got.bytes]);
                Ok(got.bytes > 0)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    /// Reads what is there and forgets it. `false` at the end of the stream, whichever way it ends.
    pub(crate) fn discard(&mut self) -> bool {
        let read = self.receive();
        self.received.clear();
        self.files.clear();
        self.cuts.clear();
        !matches!(read, Ok(false) | Err(Fault::Io(_)))
    }

    /// The next whole frame of what was read. An error is garbage: the connection is not to be used any more.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, Fault> {
        let Some((header, rest)) = self.received.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [a, b, c, d, kind, files] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_BODY || usize::from(files) > self.max_files {
            return Err(Fault::Garbage(format!("a frame of {length} bytes and {files} descriptors")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let bytes = rest[..length].to_vec();
        let files = usize::from(files);
        if let Some(cut) = self.cuts.front().copied().filter(|cut| *cut < files) {
            self.received.drain(..HEADER + length);
            self.cuts.pop_front();
            drop(self.take_files(cut));
            return Err(Fault::NoRoom { request: Frame::answers(kind, &bytes) });
        }
        if self.files.len() < files {
            return Err(Fault::Garbage(format!("{files} descriptors said, {} came", self.files.len())));
        }
        self.received.drain(..HEADER + length);
        let files = self.take_files(files);
        Frame::decode(kind, Parcel { bytes, files }).map(Some).map_err(|error| Fault::Garbage(error.to_string()))
    }
}

impl Stream {
    fn take_files(&mut self, count: usize) -> Vec<OwnedFd> {
        self.cuts.iter_mut().for_each(|cut| *cut = cut.saturating_sub(count));
        self.files.drain(..count).collect()
    }
}

/// A child of a fork may have the socket too. So closing it here is not all: the peer is to see the end, and an epoll
/// forgets a socket by itself only once nobody has it any more.
impl Drop for Stream {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return;
        }
        if let Some(epoll) = &self.epoll {
            let _ = epoll::delete(&**epoll, &self.socket);
        }
        // Fails where it was never connected.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
        time::{Duration, Instant},
    };

    use super::{super::frame::IMPORT_BATCH, *};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (dialled, listener.accept().unwrap().0)
    }

    fn over_tcp(socket: TcpStream) -> Stream {
        Stream::new(socket.into(), Meets::AnyHost)
    }

    fn granted(parcels: usize, bytes: usize, files: usize) -> Frame {
        let files = || (0..files).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
        let parcel = || Parcel { bytes: vec![7; bytes], files: files() };
        Frame::Granted { request: 1, parcels: (0..parcels).map(|_| parcel()).collect() }
    }

    fn next(from: &mut Stream) -> Result<Option<Frame>, Fault> {
        let begin = Instant::now();
        loop {
            let more = from.receive()?;
            match from.next_frame() {
                Ok(None) if more => assert!(begin.elapsed() < Duration::from_secs(10), "no frame came"),
                read => return read,
            }
        }
    }

    /// Far more than a socket holds, so that both sides stop in the middle of frames.
    #[test]
    fn frames_go_over_tcp_in_order_and_whole() {
        let (from, to) = pair();
        let (mut from, mut to) = (over_tcp(from), over_tcp(to));
        let each = u32::try_from(MAX_WAITING / (80 << 10)).unwrap();
        for _ in 0..4 {
            for request in 0..each {
                from.send(granted(IMPORT_BATCH, Parcel::MAX_BYTES, 0)).unwrap();
                from.send(Frame::Denied { request, why: "no".to_owned() }).unwrap();
            }
            for request in 0..each {
                let parcels = match next(&mut to).unwrap() {
                    Some(Frame::Granted { parcels, .. }) => parcels,
                    other => panic!("{other:?}"),
                };
                assert_eq!(parcels.len(), IMPORT_BATCH);
                assert!(parcels.iter().all(|parcel| parcel.bytes == [7; Parcel::MAX_BYTES]));
                from.flush().unwrap();
                let denied = next(&mut to).unwrap();
                assert!(matches!(denied, Some(Frame::Denied { request: got, .. }) if got == request), "{denied:?}");
                from.flush().unwrap();
            }
        }
        assert!(!from.waits());
        drop(from);
        assert!(next(&mut to).unwrap().is_none(), "the end, and nothing before it");
    }

    #[test]
    fn descriptors_are_refused_over_tcp_where_they_are_sent_and_where_they_are_said_to_come() {
        let (from, mut raw) = pair();
        let mut stream = over_tcp(from);
        let fault = stream.send(granted(1, 8, 2)).unwrap_err();
        assert!(matches!(fault, Fault::TooManyFiles { files: 2, max: 0 }), "{fault}");
        assert!(!stream.waits(), "nothing of it was queued");

        let mut bytes = granted(1, 8, 1).encode().bytes;
        assert_eq!(bytes[5], 1, "the header says one descriptor");
        raw.write_all(&bytes).unwrap();
        let fault = next(&mut stream).unwrap_err();
        assert!(matches!(&fault, Fault::Garbage(what) if what.contains("1 descriptors")), "{fault}");
        assert_eq!(fault.cause(), GARBAGE_ON_CONTROL);

        // A header that denies what the body says.
        let (from, mut raw) = pair();
        let mut stream = over_tcp(from);
        bytes[5] = 0;
        raw.write_all(&bytes).unwrap();
        let fault = next(&mut stream).unwrap_err();
        assert!(matches!(&fault, Fault::Garbage(what) if what.contains("descriptors missing")), "{fault}");
    }

    /// Who asks for memory again and again, and reads no answer.
    #[test]
    fn descriptors_that_nobody_reads_are_bounded() {
        let (from, _unread) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut stream = Stream::new(from.into(), Meets::OneHost);
        let fault = (0..100_000).find_map(|_| stream.send(granted(IMPORT_BATCH, 8, Parcel::MAX_FILES)).err()).unwrap();
        assert!(matches!(fault, Fault::Unread), "{fault}");
        let waiting: usize = stream.waiting.iter().map(|parcel| parcel.files.len()).sum();
        assert!((MAX_FILES..=MAX_WAITING_FILES).contains(&waiting), "{waiting} descriptors wait");
        assert_eq!(fault.cause(), Cause::PeerSilent);
    }

    #[test]
    fn a_host_that_stopped_answering_is_told_apart_from_a_process_that_ended() {
        let cause = |errno: rustix::io::Errno| Fault::from(io::Error::from(errno)).cause();
        for errno in [rustix::io::Errno::TIMEDOUT, rustix::io::Errno::HOSTUNREACH, rustix::io::Errno::NETUNREACH] {
            assert_eq!(cause(errno), Cause::PeerSilent);
        }
        for errno in [rustix::io::Errno::CONNRESET, rustix::io::Errno::PIPE] {
            assert_eq!(cause(errno), Cause::PeerGone);
        }
    }
}
