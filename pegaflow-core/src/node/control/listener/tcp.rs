//! TCP, by which nodes of any two hosts meet.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::{BACKLOG, FLAGS};
use crate::ConnectError;

/// Silence after which the kernel asks whether the peer's host is still there, and how often it asks again. A few bytes
/// for each idle channel: little beside what a busy one moves.
const ASK_AFTER: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Silence after which the peer's host counts as gone, in milliseconds; it is for what was sent and not acknowledged, and
/// for the questions above (tcp(7), `TCP_USER_TIMEOUT`). Long enough for a link that comes up again or a route that
/// changes, which take seconds; a host that lost its power is noticed before callers with usual patience give up.
const GONE_AFTER_MS: u32 = 15_000;

#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    address: SocketAddr,
}

impl Listener {
    /// Listens at `address`, whose port 0 is any free one.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, ConnectError> {
        if let Some(why) = unreachable(address.ip()) {
            return Err(ConnectError::BadListen { address, why });
        }
        let bind = || -> io::Result<Self> {
            let socket = stream_socket(address)?;
            // Only where the port is the caller's choice: a node that starts again takes it over at once.
            sockopt::set_socket_reuseaddr(&socket, address.port() != 0)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, BACKLOG)?;
            let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
            Ok(Self { socket, address })
        };
        bind().map_err(|source| ConnectError::Io { what: format!("listening at {address} (listen)"), source })
    }

    /// Where it listens, with the port that the system chose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why no peer can reach this address, which goes to peers as it is.
fn unreachable(ip: IpAddr) -> Option<&'static str> {
    match ip {
        _ if ip.is_unspecified() => Some("it stands for all addresses of this host, and peers want one"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address means nothing on another host"),
        _ => None,
    }
}

fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?)
}

/// Frames are small and each is waited for, so none is held back; a host that vanished is noticed.
pub(super) fn tune(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, ASK_AGAIN)?;
    sockopt::set_tcp_user_timeout(socket, GONE_AFTER_MS)?;
    Ok(())
}

pub(super) fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream_socket(address)?;
    tune(&socket)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// Where nobody listens at a port of this host, the system may give the dialling socket that very port, and TCP connects
/// it with itself (RFC 9293, 3.5, simultaneous open).
pub(super) fn refuse_itself(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mine = rustix::net::getsockname(socket)?;
    if rustix::net::getpeername(socket)? == Some(mine) {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the socket was connected with itself"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_tells_the_port_it_was_given() {
        let listener = Listener::open("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(listener.address().ip().to_string(), "127.0.0.1");
        assert_ne!(listener.address().port(), 0);
        let error = Listener::open(listener.address()).unwrap_err();
        assert!(matches!(&error, ConnectError::Io { what, .. } if what.contains(&listener.address().to_string())));
    }

    #[test]
    fn an_address_that_no_peer_reaches_is_refused_by_name() {
        for text in ["0.0.0.0:0", "[::]:7300", "[fe80::1]:0"] {
            let error = Listener::open(text.parse().unwrap()).unwrap_err();
            assert!(matches!(error, ConnectError::BadListen { .. }), "{error:?}");
            let said = error.to_string();
            assert!(said.contains(text) && said.contains("expected"), "{said}");
        }
    }

    #[test]
    fn both_ends_are_tuned() {
        let listener = super::super::Listener::Tcp(Listener::open("127.0.0.1:0".parse().unwrap()).unwrap());
        let crate::node::Way::Tcp(address) = listener.way() else { panic!("{listener:?}") };
        let dialled = connect(address).unwrap();
        // Blocks until somebody has connected; the accept itself does not.
        rustix::event::poll(&mut [rustix::event::PollFd::new(&listener.fd(), rustix::event::PollFlags::IN)], None)
            .unwrap();
        let accepted = listener.accept().unwrap().unwrap();
        for socket in [&dialled, &accepted] {
            assert!(sockopt::tcp_nodelay(socket).unwrap());
            assert!(sockopt::socket_keepalive(socket).unwrap());
            assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), ASK_AFTER);
            assert_eq!(sockopt::tcp_user_timeout(socket).unwrap(), GONE_AFTER_MS);
        }
        assert!(listener.accept().unwrap().is_none());
        refuse_itself(dialled.as_fd()).unwrap();
    }

    #[test]
    fn a_socket_that_is_connected_with_itself_is_no_peer() {
        let socket = stream_socket("127.0.0.1:0".parse().unwrap()).unwrap();
        rustix::net::bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        let itself = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        let _ = rustix::net::connect(&socket, &itself);
        let error = refuse_itself(socket.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
