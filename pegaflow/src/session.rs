//! A node as the config describes it: backend by name, board, channels.

use std::time::{Duration, Instant};

use pegaflow_core::{AllocateOptions, ChannelId, Class, Node, Port, Region, Remote, State};

#[cfg(not(feature = "metrics"))]
use crate::config::Listen;
#[cfg(feature = "metrics")]
use crate::figures;
use crate::{
    Error, Waiter,
    config::Config,
    rendezvous::{Published, TcpBoard},
    transport, wait,
};

/// Longest sleep while a channel comes up: its steps are few, and some happen in the control thread.
const STEP: Duration = Duration::from_millis(5);

/// One node of the config, up: its backend is open, and its board answers at its listen address.
#[derive(Debug)]
pub struct Session {
    name: String,
    config: Config,
    #[cfg(feature = "metrics")]
    metrics: pegaflow_metrics::Metrics,
    /// Ended before the node.
    #[cfg(feature = "metrics")]
    exporter: Option<pegaflow_metrics::Exporter>,
    node: Node,
    board: TcpBoard,
}

impl Session {
    /// Where a node's board has its address, for who dials it.
    pub const ADDRESS_KEY: &str = "pegaflow/address";
    /// Where a node's board has the address at which its figures are served.
    pub const METRICS_KEY: &str = "pegaflow/metrics";

    /// Opens the backend that the config names, starts node `name` and its board. Where the backend meets over TCP, the
    /// node listens at the board's IP address, on a port that the system chooses.
    ///
    /// # Errors
    /// An unknown node, a backend that is not in this build or can't work here, an address that can't be listened at; over
    /// TCP also one that stands for all addresses of the host, such as 0.0.0.0.
    pub fn open(config: &Config, name: &str) -> Result<Self, Error> {
        #[cfg(not(feature = "metrics"))]
        if config.metrics.listen != Listen::Off {
            return Err(Error::NoMetrics { listen: config.metrics.listen.clone() });
        }
        let listen = config.node(name)?.listen.clone();
        let domain = transport::open(config)?;
        let board = TcpBoard::start(name, &listen, config.addresses())?;
        let node = Node::new(domain, transport::node_options(config, name, board.local_addr().ip()))?;
        board.publish_blocking(Self::ADDRESS_KEY, node.address())?;
        #[cfg(feature = "metrics")]
        let (metrics, exporter) = {
            let metrics = pegaflow_metrics::Metrics::new(&node);
            let exporter = figures::serve(&metrics, &config.metrics.listen)?;
            if let Some(exporter) = &exporter {
                board.publish_blocking(Self::METRICS_KEY, exporter.local_addr().to_string().into_bytes())?;
            }
            (metrics, exporter)
        };
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            #[cfg(feature = "metrics")]
            metrics,
            #[cfg(feature = "metrics")]
            exporter,
            node,
            board,
        })
    }

    /// The figures of this node, and recorders for its ports: `node().port(metrics().recorder())`.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(&self) -> &pegaflow_metrics::Metrics {
        &self.metrics
    }

    /// Where the figures are served; `None` where the config asks for no such thing.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics_addr(&self) -> Option<std::net::SocketAddr> {
        self.exporter.as_ref().map(pegaflow_metrics::Exporter::local_addr)
    }

    /// This node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The config it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The node: memory, grants, plans, ports.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node's board, to publish and fetch what goes before the first transfer: grants, counters, block ids.
    #[must_use]
    pub fn board(&self) -> &TcpBoard {
        &self.board
    }

    /// How a blocking wait waits, as `[wait]` says.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        Waiter { spin: Duration::from_micros(self.config.wait.spin_us) }
    }

    /// How long set-up waits for a peer, as `[rendezvous]` says.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.config.rendezvous.connect_timeout_ms)
    }

    /// Allocates and registers memory with the page size of the config, every page touched.
    ///
    /// # Errors
    /// As [`Node::allocate`].
    pub fn allocate(&self, bytes: u64) -> Result<Region, pegaflow_core::MemoryError> {
        self.node.allocate(bytes, &AllocateOptions { page: transport::page_size(&self.config), touch: true })
    }

    /// Publishes bytes on this node's board.
    ///
    /// # Errors
    /// A key or value beyond the board's bounds.
    pub fn publish(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<(), Error> {
        Ok(self.board.publish_blocking(key, value.into())?)
    }

    /// Fetches what `node` has published, waiting up to [`patience`](Self::patience) for the node and the key.
    ///
    /// # Errors
    /// No answer in time, with the last cause seen.
    pub fn fetch(&self, node: &str, key: &str) -> Result<Vec<u8>, Error> {
        let Published { bytes, .. } = self.board.fetch_blocking(node, key, None, self.patience())?;
        Ok(bytes)
    }

    /// Imports a grant that `channel`'s peer has published under `key`.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch) and [`Node::import`].
    pub fn import(&self, channel: ChannelId, peer: &str, key: &str) -> Result<Remote, Error> {
        let grant = self.fetch(peer, key)?;
        Ok(self.node.import(channel, &grant, self.patience())?)
    }

    /// Brings up the channel of `class` that the config has between this node and `peer`, and waits until it is up:
    /// the config's `from` dials, its `to` waits for the dial. No event of the port is taken: those of this channel
    /// and of others are there for the next `poll`.
    ///
    /// # Errors
    /// No such channel in the config, or what stood in the way within [`patience`](Self::patience).
    pub fn connect(&self, port: &mut dyn Port, peer: &str, class: Class) -> Result<ChannelId, Error> {
        let wanted = transport::class_name(class);
        let mine = |channel: &&crate::config::Channel| channel.from == self.name || channel.to == self.name;
        let between = |from: &str, to: &str| {
            self.config.channels.iter().any(|it| it.from == from && it.to == to && it.class == wanted)
        };
        if between(&self.name, peer) {
            if peer == self.name {
                port.listen(class)?;
            }
            self.dial(port, peer, class)
        } else if between(peer, &self.name) {
            self.await_dial(port, peer, class)
        } else {
            let name = |it: &crate::config::Channel| format!("{} -> {} ({})", it.from, it.to, it.class);
            let known = self.config.channels.iter().filter(mine).map(name).collect();
            Err(Error::NoSuchChannel { node: self.name.clone(), peer: peer.to_owned(), class, known })
        }
    }

    fn dial(&self, port: &mut dyn Port, peer: &str, class: Class) -> Result<ChannelId, Error> {
        let until = Instant::now() + self.patience();
        let address = self.fetch(peer, Self::ADDRESS_KEY)?;
        let left = until.saturating_duration_since(Instant::now());
        let channel = port.dial(&address, class, left)?;
        loop {
            port.poll(&mut []);
            match port.state(channel) {
                Some(State::Up { .. }) => return Ok(channel),
                Some(State::Broken(cause)) => {
                    return Err(Error::NotConnected { peer: peer.to_owned(), class, cause });
                }
                _ => pause(port),
            }
        }
    }

    fn await_dial(&self, port: &mut dyn Port, peer: &str, class: Class) -> Result<ChannelId, Error> {
        let until = Instant::now() + self.patience();
        port.listen(class)?;
        loop {
            port.poll(&mut []);
            if let Some(channel) = port.find(peer, class) {
                return Ok(channel);
            }
            if Instant::now() >= until {
                return Err(Error::NotDialled { peer: peer.to_owned(), class, waited: self.patience() });
            }
            pause(port);
        }
    }
}

/// A short sleep that ends early where the port has something; one that has events to hand out does not sleep on its
/// descriptor, so the thread just steps aside.
fn pause(port: &mut dyn Port) {
    if !wait::sleep(port, Instant::now() + STEP) {
        std::thread::sleep(Duration::from_millis(1));
    }
}
