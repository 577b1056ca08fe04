//! A client that connects to a node's control thread and says what the test says.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
};

use pegaflow_core::{Class, Node, Poller, Port};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    Shutdown, sockopt::Timeout,
};

use crate::{
    PATIENCE,
    served::{Served, Way},
};

/// Bytes before a frame's body: length, kind, descriptors.
pub(crate) const HEADER: usize = 6;
pub(crate) const WELCOME: u8 = 2;
pub(crate) const REFUSE: u8 = 3;

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// A frame of this kind, with a header that is true.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &[kind, 0], body].concat()
}

pub(crate) struct Raw(OwnedFd);

impl Raw {
    pub(crate) fn connect(served: &Served) -> Self {
        Self::try_connect(served).unwrap()
    }

    pub(crate) fn try_connect(served: &Served) -> Option<Self> {
        let socket: OwnedFd = match served.way {
            Way::Unix => UnixStream::connect(path(served)).ok()?.into(),
            Way::Tcp => TcpStream::connect(own_port(&served.node)).ok()?.into(),
        };
        Some(Self::over(socket))
    }

    fn over(socket: OwnedFd) -> Self {
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Whoever has closed already does not hear it.
    pub(crate) fn say(&self, bytes: &[u8], files: &[OwnedFd]) {
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(beside.push(SendAncillaryMessage::ScmRights(&files)), "room for eight");
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok(sent) = rustix::net::sendmsg(&self.0, &[IoSlice::new(rest)], &mut beside, SendFlags::NOSIGNAL)
            else {
                return;
            };
            rest = &rest[sent..];
            beside.clear();
        }
    }

    pub(crate) fn says_no_more(&self) {
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    /// Reads `bytes` bytes and what comes beside them; `None` where the other side closes before.
    fn read(&self, bytes: usize, files: &mut Vec<OwnedFd>) -> Option<Vec<u8>> {
        let mut all = vec![0; bytes];
        let mut at = 0;
        while at < bytes {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let to = &mut [IoSliceMut::new(&mut all[at..])];
            match rustix::net::recvmsg(&self.0, to, &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) if got.bytes == 0 => return None,
                Ok(got) => at += got.bytes,
                Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE) => return None,
                Err(errno) => panic!("neither an answer nor an end within {PATIENCE:?}: {errno}"),
            }
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(came) = message {
                    files.extend(came);
                }
            }
        }
        Some(all)
    }

    fn frame_with_files(&self) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
        let mut files = Vec::new();
        let mut bytes = self.read(HEADER, &mut files)?;
        let length = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        bytes.extend(self.read(length as usize, &mut files)?);
        Some((bytes, files))
    }

    /// The next frame; `None` where the other side closes.
    pub(crate) fn hears(&self) -> Option<Frame> {
        let (bytes, _) = self.frame_with_files()?;
        Some(Frame { kind: bytes[4], body: bytes[HEADER..].to_vec() })
    }

    /// Waits until the other side has closed, whatever it says before.
    pub(crate) fn is_closed_on(&self) {
        while self.hears().is_some() {}
    }
}

/// A Hello as an honest node says it to the one that is served, and the node whose end it is about.
pub(crate) struct Hello {
    pub(crate) bytes: Vec<u8>,
    files: Vec<OwnedFd>,
    _dialler: (Node, Poller<()>),
}

impl Hello {
    /// Has a node dial a socket of ours, at an address that says it is the served one's.
    pub(crate) fn overheard(served: &Served) -> Self {
        let dialler = served.another("liar");
        let mut port = dialler.port(()).unwrap();
        let mut address = served.node.address();
        let raw = match served.way {
            Way::Unix => {
                // Of the same length as the real one, `.sock`.
                let ours = path(served).with_extension("ours");
                let listener = UnixListener::bind(&ours).unwrap();
                let at = address.len() - ours.as_os_str().len();
                address[at..].copy_from_slice(ours.as_os_str().as_encoded_bytes());
                port.dial(&address, Class::Kv, PATIENCE).unwrap();
                listener.accept().unwrap().0.into()
            }
            Way::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let at = address.len() - 2;
                address[at..].copy_from_slice(&listener.local_addr().unwrap().port().to_le_bytes());
                port.dial(&address, Class::Kv, PATIENCE).unwrap();
                listener.accept().unwrap().0.into()
            }
        };
        let (bytes, files) = Raw::over(raw).frame_with_files().unwrap();
        assert_eq!((bytes[4], usize::from(bytes[5])), (1, files.len()), "a Hello");
        Self { bytes, files, _dialler: (dialler, port) }
    }

    /// Descriptors as they came with it.
    pub(crate) fn files(&self) -> Vec<OwnedFd> {
        self.files.iter().map(|file| file.try_clone().unwrap()).collect()
    }

    /// Where its parts begin: the backend's name, the node it is for, that one's incarnation, the class.
    pub(crate) fn parts(&self) -> [usize; 4] {
        let text = |at: usize| at + 4 + u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap()) as usize;
        let backend = HEADER + 4;
        let to = text(backend);
        let incarnation = text(to);
        [backend, to, incarnation, incarnation + 8]
    }
}

/// An address ends with the path, which is in the runtime folder.
fn path(served: &Served) -> PathBuf {
    let (bytes, dir) = (served.node.address(), served.dir().as_os_str().as_encoded_bytes());
    let at = bytes.windows(dir.len()).position(|part| part == dir).unwrap();
    std::str::from_utf8(&bytes[at..]).unwrap().into()
}

fn own_port(node: &Node) -> SocketAddr {
    let bytes = node.address();
    (Ipv4Addr::LOCALHOST, u16::from_le_bytes(bytes[bytes.len() - 2..].try_into().unwrap())).into()
}
