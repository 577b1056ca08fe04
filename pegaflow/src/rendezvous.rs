//! Rendezvous: how nodes exchange the few bytes that go before the first transfer. Set-up only.
//!
//! Every node has a board: small values under keys, versioned from 1, which others fetch, waiting for them if need be,
//! and post to. [`TcpBoard`] serves it at the node's listen address. Whoever has another way to exchange bytes (etcd,
//! an orchestrator's store) implements [`Rendezvous`].
//!
//! There is no authentication, by design: listen on loopback or on a network where every host is trusted.

mod board;
mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod garbage;
mod server;
mod wire;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};

use pegaflow_core::{ApiMisuse, backend::Origin};

use crate::config::HostPort;
use board::Board;

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest value in bytes.
pub const MAX_VALUE_BYTES: usize = 16 << 20;
/// Most keys of a board.
pub const MAX_KEYS: usize = 4096;
/// Most bytes of all values of a board.
pub const MAX_BOARD_BYTES: usize = 256 << 20;

/// A value as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Counts the key's values from 1.
    pub version: u64,
    /// The value.
    pub bytes: Vec<u8>,
}

/// Exchange of small values between named nodes.
#[async_trait]
pub trait Rendezvous: Send + Sync {
    /// Puts a value on this node's board; a later one of the same key takes its place.
    ///
    /// # Errors
    /// [`RendezvousError::Bounds`].
    async fn publish(&self, key: &str, value: Vec<u8>) -> Result<(), RendezvousError>;

    /// Takes a value from the board of `node`, of a version above `newer_than` (any for `None`), waiting up to `wait`
    /// for the node to be up and the value to be there. However short `wait` is, the node is asked once and
    /// has a second to answer.
    ///
    /// A node that was started again counts its versions from 1 again: ask with `None` after its death was seen.
    ///
    /// # Errors
    /// [`RendezvousError::UnknownNode`], [`RendezvousError::NoAnswer`] after `wait`, [`RendezvousError::Refused`].
    async fn fetch(
        &self,
        node: &str,
        key: &str,
        newer_than: Option<u64>,
        wait: Duration,
    ) -> Result<Published, RendezvousError>;

    /// Puts a value on the board of `node`, waiting up to `wait` for the node to be up. When the connection breaks
    /// before the answer, it is put again: the key may then have two versions of the same bytes.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch), and [`RendezvousError::Bounds`].
    async fn post(&self, node: &str, key: &str, value: Vec<u8>, wait: Duration) -> Result<(), RendezvousError>;
}

/// Why an exchange came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RendezvousError {
    /// The board can't listen.
    #[error("node `{node}` can't listen at {address}: {source}{}", hint(source))]
    Listen {
        /// The node.
        node: String,
        /// Its listen address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A node that the config does not have.
    #[error("no address is known for node `{node}`; known: {}", known.join(", "))]
    UnknownNode {
        /// The node asked for.
        node: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// Nothing came in time.
    #[error("no `{key}` from node `{node}` at {address} within {waited:?}: {last}")]
    NoAnswer {
        /// The node asked.
        node: String,
        /// Where.
        address: String,
        /// The key.
        key: String,
        /// How long was waited.
        waited: Duration,
        /// What was seen last.
        last: String,
    },
    /// The node answered with a refusal.
    #[error("node `{node}` at {address} refused `{key}`: {why}")]
    Refused {
        /// The node asked.
        node: String,
        /// Where.
        address: String,
        /// The key.
        key: String,
        /// Its reason.
        why: String,
    },
    /// A key or value beyond a bound.
    #[error("{what}: {got}, expected at most {max}")]
    Bounds {
        /// What is too large.
        what: &'static str,
        /// How large.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// The board's thread has ended.
    #[error("the board's thread has ended")]
    Ended,
    /// The caller broke a rule.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
}

fn hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::AddrInUse { " (is the node running already?)" } else { "" }
}

/// A node's board, served over TCP by a thread of its own; dropping it ends both.
pub struct TcpBoard {
    inner: Arc<Inner>,
    runtime: Handle,
    local: SocketAddr,
    origin: Origin,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    name: String,
    board: Board,
    peers: BTreeMap<String, HostPort>,
}

impl TcpBoard {
    /// Serves the board of node `name` at `listen` (port 0: any); `peers` are the nodes that can be fetched from and
    /// posted to. The node itself always can be, without a connection.
    ///
    /// # Errors
    /// [`RendezvousError::Listen`].
    pub fn start(name: &str, listen: &HostPort, peers: BTreeMap<String, HostPort>) -> Result<Self, RendezvousError> {
        let failed = |source| RendezvousError::Listen { node: name.to_owned(), address: listen.to_string(), source };
        let (listener, local) = bind(listen).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let inner = Arc::new(Inner { name: name.to_owned(), board: Board::default(), peers });
        let (stop, stopped) = oneshot::channel();
        let (handle, served) = (runtime.handle().clone(), Arc::clone(&inner));
        let thread = std::thread::Builder::new()
            .name("pegaflow-board".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = server::serve(listener, served) => {}
                        _ = stopped => {}
                    }
                });
                // What is still running ends with the runtime.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        let origin = Origin::here();
        Ok(Self { inner, runtime: handle, local, origin, stop: Some(stop), thread: Some(thread) })
    }

    /// Refuses a board that was made before a fork: its thread is in the parent alone.
    fn check(&self) -> Result<(), RendezvousError> {
        if self.origin.is_here() { Ok(()) } else { Err(ApiMisuse::Forked.into()) }
    }

    /// The address that it listens at.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// [`publish`](Rendezvous::publish) without a runtime.
    ///
    /// # Errors
    /// As there.
    pub fn publish_blocking(&self, key: &str, value: Vec<u8>) -> Result<(), RendezvousError> {
        self.check()?;
        self.inner.board.put(key, value).map(|_| ())
    }

    /// [`fetch`](Rendezvous::fetch) without a runtime; blocks the thread.
    ///
    /// # Errors
    /// As there.
    pub fn fetch_blocking(
        &self,
        node: &str,
        key: &str,
        newer_than: Option<u64>,
        wait: Duration,
    ) -> Result<Published, RendezvousError> {
        let (inner, node, key) = (Arc::clone(&self.inner), node.to_owned(), key.to_owned());
        self.block(async move { inner.fetch(&node, &key, newer_than, wait).await })
    }

    /// [`post`](Rendezvous::post) without a runtime; blocks the thread.
    ///
    /// # Errors
    /// As there.
    pub fn post_blocking(&self, node: &str, key: &str, value: Vec<u8>, wait: Duration) -> Result<(), RendezvousError> {
        let (inner, node, key) = (Arc::clone(&self.inner), node.to_owned(), key.to_owned());
        self.block(async move { inner.post(&node, &key, value, wait).await })
    }

    /// Runs on the board's thread and waits here. Works in any thread, an executor's included, which it blocks.
    fn block<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, RendezvousError>> + Send + 'static,
    ) -> Result<T, RendezvousError> {
        self.check()?;
        let (answer, receiver) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Whoever asked is blocked on it.
            let _ = answer.send(work.await);
        });
        receiver.recv().unwrap_or(Err(RendezvousError::Ended))
    }

    /// Runs on the board's thread and is awaited here, by whichever executor; dropping the future ends the work.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, RendezvousError>> + Send + 'static,
    ) -> Result<T, RendezvousError> {
        struct EndWithMe(AbortHandle);

        impl Drop for EndWithMe {
            fn drop(&mut self) {
                self.0.abort();
            }
        }

        self.check()?;
        let task = self.runtime.spawn(work);
        let _end = EndWithMe(task.abort_handle());
        task.await.unwrap_or(Err(RendezvousError::Ended))
    }
}

#[async_trait]
impl Rendezvous for TcpBoard {
    async fn publish(&self, key: &str, value: Vec<u8>) -> Result<(), RendezvousError> {
        self.check()?;
        self.inner.board.put(key, value).map(|_| ())
    }

    async fn fetch(
        &self,
        node: &str,
        key: &str,
        newer_than: Option<u64>,
        wait: Duration,
    ) -> Result<Published, RendezvousError> {
        let (inner, node, key) = (Arc::clone(&self.inner), node.to_owned(), key.to_owned());
        self.run(async move { inner.fetch(&node, &key, newer_than, wait).await }).await
    }

    async fn post(&self, node: &str, key: &str, value: Vec<u8>, wait: Duration) -> Result<(), RendezvousError> {
        let (inner, node, key) = (Arc::clone(&self.inner), node.to_owned(), key.to_owned());
        self.run(async move { inner.post(&node, &key, value, wait).await }).await
    }
}

impl Inner {
    async fn fetch(
        &self,
        node: &str,
        key: &str,
        newer_than: Option<u64>,
        wait: Duration,
    ) -> Result<Published, RendezvousError> {
        if node != self.name {
            return client::fetch(&self.peers, node, key, newer_than, wait).await;
        }
        let found = self.board.get(key, newer_than.unwrap_or(0), wait).await;
        found.map(Arc::unwrap_or_clone).ok_or_else(|| RendezvousError::NoAnswer {
            node: node.to_owned(),
            address: "its own board".to_owned(),
            key: key.to_owned(),
            waited: wait,
            last: "this node has not published it".to_owned(),
        })
    }

    async fn post(&self, node: &str, key: &str, value: Vec<u8>, wait: Duration) -> Result<(), RendezvousError> {
        if node == self.name {
            return self.board.put(key, value).map(|_| ());
        }
        client::post(&self.peers, node, key, &value, wait).await
    }
}

impl Drop for TcpBoard {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // The thread is the parent's, and a word on the way to it would wake it there.
            std::mem::forget((self.stop.take(), self.thread.take()));
            return;
        }
        if let Some(stop) = self.stop.take() {
            // Fails only where the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for TcpBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpBoard").field("local", &self.local).finish_non_exhaustive()
    }
}

fn bind(listen: &HostPort) -> io::Result<(TcpListener, SocketAddr)> {
    let addresses: Vec<SocketAddr> = (listen.host(), listen.port()).to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    listener.set_nonblocking(true)?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}
