//! The Unix socket by which the nodes of one host meet.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketType};

use super::{BACKLOG, FLAGS};
use crate::{ConnectError, fork::Origin};

#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    origin: Origin,
}

impl Listener {
    /// Listens in `dir` under a name that no other node has.
    pub(crate) fn open(dir: &Path, name: &str, incarnation: u64) -> Result<Self, ConnectError> {
        let failed = |what: String| move |source: io::Error| ConnectError::Io { what, source };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed(format!("making the folder {} (runtime_dir)", dir.display())))?;
        remove_abandoned(dir);
        let path = dir.join(format!("{name:.24}-{incarnation:016x}.sock"));
        // It gets its name only once it listens: a socket that refuses is abandoned, and any node may remove it.
        let fresh = path.with_extension("new");
        let socket = bind(&fresh).map_err(failed(format!("listening at {}", fresh.display())))?;
        fs::rename(&fresh, &path).map_err(failed(format!("naming the socket {}", path.display())))?;
        Ok(Self { socket, path, origin: Origin::here() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return;
        }
        // A child of a fork may have the socket too: it is not to be dialled through that.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        // Nothing is lost where it fails: the next node that starts here removes it.
        let _ = fs::remove_file(&self.path);
    }
}

fn bind(path: &Path) -> io::Result<OwnedFd> {
    let socket = stream_socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn stream_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?)
}

pub(super) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = stream_socket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Removes sockets of nodes that were killed. Best effort: what can't be removed hurts nobody.
fn remove_abandoned(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = path.extension().is_some_and(|extension| extension == "sock");
        if ours && connect(&path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            let _ = fs::remove_file(&path);
        }
    }
}
