//! Where a node's peers find it, and how it finds them: a Unix socket or TCP, as its backend meets.

mod tcp;
mod unix;

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::SocketFlags;

use super::Identity;
use crate::{
    ConnectError, Meets,
    node::{NodeOptions, Way},
};

/// Diallers that wait to be accepted.
const BACKLOG: i32 = 128;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

#[derive(Debug)]
pub(crate) enum Listener {
    Unix(unix::Listener),
    Tcp(tcp::Listener),
}

impl Listener {
    pub(crate) fn open(meets: Meets, identity: &Identity, options: &NodeOptions) -> Result<Self, ConnectError> {
        match meets {
            Meets::OneHost => {
                unix::Listener::open(&options.runtime_dir, &identity.name, identity.incarnation).map(Self::Unix)
            }
            Meets::AnyHost => tcp::Listener::open(options.listen, options.peer_silence).map(Self::Tcp),
        }
    }

    /// How a peer gets here.
    pub(crate) fn way(&self) -> Way {
        match self {
            Self::Unix(unix) => Way::Unix(unix.path().to_owned()),
            Self::Tcp(tcp) => Way::Tcp(tcp.address()),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(unix) => unix.fd(),
            Self::Tcp(tcp) => tcp.fd(),
        }
    }

    /// The next dialler; `None` if there is none now.
    pub(crate) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        let socket = match rustix::net::accept_with(self.fd(), FLAGS) {
            Ok(socket) => socket,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {
                return Ok(None);
            }
            Err(errno) => return Err(errno.into()),
        };
        if let Self::Tcp(tcp) = self {
            tcp.tune(&socket)?;
        }
        Ok(Some(socket))
    }

    /// Begins to connect; never blocks. Once the socket is writable, [`connected`] says what became of it. Nobody there, or
    /// too many at once, is an error to try again after a [`pause`].
    pub(crate) fn connect(&self, way: &Way) -> io::Result<OwnedFd> {
        match (self, way) {
            (Self::Unix(_), Way::Unix(path)) => unix::connect(path),
            (Self::Tcp(tcp), Way::Tcp(address)) => tcp.connect(*address),
            // Refused before it is dialled, see `Way::fits`.
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What became of a connection that was begun.
pub(crate) fn connected(way: &Way, socket: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::sockopt::socket_error(socket)??;
    if matches!(way, Way::Tcp(_)) { tcp::refuse_itself(socket) } else { Ok(()) }
}

/// How long after a dial came to nothing it is tried again.
pub(crate) fn pause(way: &Way) -> Duration {
    match way {
        Way::Unix(_) => Duration::from_millis(10),
        // Each try is packets to another host.
        Way::Tcp(_) => Duration::from_millis(100),
    }
}
