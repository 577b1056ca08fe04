//! TCP, by which nodes of any two hosts meet.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{AddressFamily, Shutdown, SocketType, sockopt};

use super::{BACKLOG, FLAGS};
use crate::{ConnectError, fork::Origin};

/// How a connection finds out that the peer's host is gone, from [`NodeOptions::peer_silence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    /// Silence after which the kernel asks whether the host is still there, and how often it asks again, in the whole
    /// seconds that it counts in. A few bytes for each idle channel: little beside what a busy one moves.
    ask_after: Duration,
    ask_again: Duration,
    /// Silence after which the host counts as gone, in milliseconds; it is for what was sent and not acknowledged, and for
    /// the questions above, of which the first after it decides (tcp(7), `TCP_USER_TIMEOUT`).
    gone_after_ms: u32,
}

impl Silence {
    /// Asks after a third of it, and then at every tenth: a few questions may get lost.
    fn of(peer_silence: Duration) -> Self {
        let ms = u32::try_from(peer_silence.as_millis()).unwrap_or(u32::MAX);
        let seconds = |part: u32| Duration::from_secs(ms.div_ceil(1000 * part).into());
        Self { ask_after: seconds(3), ask_again: seconds(10), gone_after_ms: ms }
    }
}

#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    address: SocketAddr,
    silence: Silence,
    origin: Origin,
}

impl Listener {
    /// Listens at `address`, whose port 0 is any free one. Its connections, either way, bear so much silence.
    pub(crate) fn open(address: SocketAddr, peer_silence: Duration) -> Result<Self, ConnectError> {
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
            Ok(Self { socket, address, silence: Silence::of(peer_silence), origin: Origin::here() })
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

    pub(super) fn connect(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        let socket = stream_socket(address)?;
        self.tune(&socket)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => Ok(socket),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Frames are small and each is waited for, so none is held back; a host that vanished is noticed.
    pub(super) fn tune(&self, socket: &OwnedFd) -> io::Result<()> {
        sockopt::set_tcp_nodelay(socket, true)?;
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, self.silence.ask_after)?;
        sockopt::set_tcp_keepintvl(socket, self.silence.ask_again)?;
        sockopt::set_tcp_user_timeout(socket, self.silence.gone_after_ms)?;
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.origin.is_here() {
            // A child of a fork may have the socket too: it is not to be dialled through that.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        }
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
    use crate::NodeOptions;

    fn open(address: &str) -> Result<Listener, ConnectError> {
        Listener::open(address.parse().unwrap(), Duration::from_millis(7500))
    }

    #[test]
    fn a_listener_tells_the_port_it_was_given() {
        let listener = open("127.0.0.1:0").unwrap();
        assert_eq!(listener.address().ip().to_string(), "127.0.0.1");
        assert_ne!(listener.address().port(), 0);
        let error = open(&listener.address().to_string()).unwrap_err();
        assert!(matches!(&error, ConnectError::Io { what, .. } if what.contains(&listener.address().to_string())));
    }

    #[test]
    fn an_address_that_no_peer_reaches_is_refused_by_name() {
        for text in ["0.0.0.0:0", "[::]:7300", "[fe80::1]:0"] {
            let error = open(text).unwrap_err();
            assert!(matches!(error, ConnectError::BadListen { .. }), "{error:?}");
            let said = error.to_string();
            assert!(said.contains(text) && said.contains("expected"), "{said}");
        }
    }

    #[test]
    fn both_ends_are_tuned() {
        let listener = super::super::Listener::Tcp(open("127.0.0.1:0").unwrap());
        let dialled = listener.connect(&listener.way()).unwrap();
        // Blocks until somebody has connected; the accept itself does not.
        rustix::event::poll(&mut [rustix::event::PollFd::new(&listener.fd(), rustix::event::PollFlags::IN)], None)
            .unwrap();
        let accepted = listener.accept().unwrap().unwrap();
        for socket in [&dialled, &accepted] {
            assert!(sockopt::tcp_nodelay(socket).unwrap());
            assert!(sockopt::socket_keepalive(socket).unwrap());
            assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), Duration::from_secs(3));
            assert_eq!(sockopt::tcp_keepintvl(socket).unwrap(), Duration::from_secs(1));
            assert_eq!(sockopt::tcp_user_timeout(socket).unwrap(), 7500);
        }
        assert!(listener.accept().unwrap().is_none());
        refuse_itself(dialled.as_fd()).unwrap();
    }

    /// There are always some questions, and the first after the whole silence comes soon.
    #[test]
    fn silence_is_asked_about_in_good_time() {
        let (least, most) = NodeOptions::PEER_SILENCE.into_inner();
        for silence in [least, Duration::from_secs(2), Duration::from_secs(15), most] {
            let Silence { ask_after, ask_again, gone_after_ms } = Silence::of(silence);
            assert_eq!(u128::from(gone_after_ms), silence.as_millis());
            assert!(ask_after >= Duration::from_secs(1) && ask_again >= Duration::from_secs(1), "{silence:?}");
            assert!(ask_after <= silence && ask_again <= (silence / 10).max(Duration::from_secs(2)), "{silence:?}");
        }
        let usual =
            Silence { ask_after: Duration::from_secs(5), ask_again: Duration::from_secs(2), gone_after_ms: 15_000 };
        assert_eq!(Silence::of(Duration::from_secs(15)), usual);
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
