//! A node: the set-up half of the contract. Any thread may call it; nothing here is on the data path.

mod address;
pub(crate) mod control;
pub(crate) mod inbox;
pub(crate) mod life;
pub(crate) mod news;
mod registry;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    ops::{Range, RangeInclusive},
    os::fd::OwnedFd,
    path::PathBuf,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) use address::{Address, Way};
pub(crate) use registry::{Peer, Registry};

use crate::{
    Access, AllocateOptions, ApiMisuse, Audience, Bounds, Capabilities, ChannelId, Class, ConnectError, Grant, Kind,
    Meets, MemoryError, Op, Plan, Poller, Quarantined, Rail, Region, Remote, Shape, Subscriber, Window,
    backend::{Domain, Reaper},
    fork::Origin,
    grant::{GrantBlob, GrantInner, RemoteInner},
    node::{
        control::{Control, Identity},
        life::Life,
    },
    region::{Mapping, RegionInner},
    upkeep::{MemoryFigures, Upkeep},
};

/// What a node is made with.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The node's name: 1 to 64 characters of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Folder of the Unix sockets by which nodes of this host meet; made with mode 0700 where it does not exist. Used
    /// where the backend meets on [`Meets::OneHost`](crate::Meets::OneHost).
    pub runtime_dir: PathBuf,
    /// Where peers find this node over TCP: an address of this host that they reach it by, and a port, 0 for any free
    /// one. It goes to peers as it is, so one that stands for all addresses is refused. Used where the backend meets on
    /// [`Meets::AnyHost`](crate::Meets::AnyHost). Anybody who reaches it can dial, and import what is granted to
    /// [`Audience::Anyone`]: it belongs on a network that only the deployment is on.
    pub listen: SocketAddr,
    /// How long a peer's host may say nothing before it counts as gone, 1 s to 1 h: then its channels break, with
    /// [`Cause::PeerSilent`](crate::Cause::PeerSilent). What was sent is to be acknowledged within this; while nothing is
    /// sent, the host is asked. Shorter than a link takes that comes up again, or a route that changes, which is seconds,
    /// it breaks what would have gone on. Used where the backend meets on [`Meets::AnyHost`](crate::Meets::AnyHost).
    pub peer_silence: Duration,
    /// Bounds of the channels of each class, in the order of [`Class::ALL`].
    pub bounds: [Bounds; 3],
    /// For each class, in the order of [`Class::ALL`]: how long after its end a transfer may be not quiet before its channel
    /// is fenced, as by [`Port::fence`](crate::Port::fence). `None`, the default, for never: a late transfer then fails no
    /// neighbour.
    pub fence_after: [Option<Duration>; 3],
    /// For bring-up: once the bytes of a batch of this node's have landed, their sums are compared with what lies at the
    /// peer, by the peer, before what follows them is posted and the transfer ends. One that differs ends
    /// [`Cause::Corrupt`](crate::Cause::Corrupt), and both logs name the bytes. The peer needs no option. Off by default:
    /// it costs reading all bytes again on both sides, a round trip between the control threads, and allocations; and
    /// batches of a channel wait for each other. Memory that somebody changes meanwhile is taken for wrong.
    pub checksum: bool,
}

impl NodeOptions {
    /// The range of [`peer_silence`](Self::peer_silence).
    pub const PEER_SILENCE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

    /// Default bounds, and sockets in `$XDG_RUNTIME_DIR/pegaflow`, or `/tmp/pegaflow-UID` without that variable; over
    /// TCP any free port of 127.0.0.1, which peers of this host alone reach, and 15 s of silence.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            runtime_dir: default_runtime_dir(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            peer_silence: Duration::from_secs(15),
            bounds: Class::ALL.map(Bounds::of),
            fence_after: [None; 3],
            checksum: false,
        }
    }

    pub(crate) fn bounds(&self, class: Class) -> &Bounds {
        &self.bounds[class as usize]
    }
}

fn default_runtime_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir).join("pegaflow"),
        _ => PathBuf::from(format!("/tmp/pegaflow-{}", rustix::process::getuid().as_raw())),
    }
}

/// A named process on one backend: its memory, its grants, its control thread.
///
/// The node lives until it and all its ports are dropped; regions may outlive it.
#[derive(Clone)]
pub struct Node(Arc<NodeInner>);

/// What a node and its ports share.
pub(crate) struct NodeInner {
    pub(crate) options: NodeOptions,
    pub(crate) identity: Identity,
    pub(crate) origin: Origin,
    pub(crate) domain: Arc<dyn Domain>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) control: Control,
    pub(crate) upkeep: Arc<Upkeep>,
    /// Ended after the control thread: peers know of an end in order by their connections.
    life: Option<Life>,
    next_channel: AtomicU32,
}

impl NodeInner {
    /// A serial that no channel of this node has had.
    pub(crate) fn next_channel(&self) -> u32 {
        self.next_channel.fetch_add(1, Ordering::Relaxed)
    }

    /// What a peer on this host watches; `None` where it learns of a death by its socket.
    pub(crate) fn share_life(&self) -> Option<OwnedFd> {
        let shared = self.life.as_ref()?.share();
        shared
            .inspect_err(|error| tracing::warn!(node = %self.options.name, %error, "a peer can't watch this node"))
            .ok()
    }
}

/// A life for peers to watch, where they can be given it.
fn begin_life(name: &str, meets: Meets) -> Option<Life> {
    if meets != Meets::OneHost {
        return None;
    }
    let begun = Life::begin();
    begun
        .inspect_err(|error| {
            tracing::warn!(node = %name, %error, "peers can't watch this node: its death shows once its memory is gone");
        })
        .ok()
}

impl Node {
    /// Starts a node on a backend: opens its socket and its control thread, which accepts dials and answers imports.
    ///
    /// # Errors
    /// [`ConnectError::BadName`], [`ConnectError::Bounds`], [`ConnectError::BadListen`], [`ConnectError::BadSilence`],
    /// [`ApiMisuse::Forked`] where the backend was opened before a fork, or [`ConnectError::Io`] naming the socket.
    pub fn new(domain: Arc<dyn Domain>, options: NodeOptions) -> Result<Self, ConnectError> {
        if !is_name(&options.name) {
            return Err(ConnectError::BadName(options.name));
        }
        if !NodeOptions::PEER_SILENCE.contains(&options.peer_silence) {
            return Err(ConnectError::BadSilence { silence: options.peer_silence });
        }
        for class in Class::ALL {
            let bounds = options.bounds(class);
            let checked = bounds.check().and_then(|()| bounds.check_against(domain.capabilities()));
            checked.map_err(|source| ConnectError::Bounds { class, source })?;
        }
        if domain.origin().is_some_and(|origin| !origin.is_here()) {
            return Err(ApiMisuse::Forked.into());
        }
        let origin = Origin::here();
        let identity = Identity::new(&options.name, domain.capabilities().backend)?;
        let registry = Arc::new(Registry::default());
        let started = |source| ConnectError::Io { what: "starting the reaper's thread".to_owned(), source };
        let upkeep = Arc::new(Upkeep::new(Reaper::start().map_err(started)?));
        let shared = (Arc::clone(&domain), Arc::clone(&registry), Arc::clone(&upkeep));
        let control = Control::start(&identity, &options, shared)?;
        let life = begin_life(&options.name, domain.capabilities().meets);
        let next_channel = AtomicU32::new(1);
        let inner = NodeInner { options, identity, origin, domain, registry, control, upkeep, life, next_channel };
        Ok(Self(Arc::new(inner)))
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.options.name
    }

    /// What the backend can do here.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        self.0.domain.capabilities()
    }

    /// The node's address: opaque bytes that any peer may [`dial`](crate::Port::dial), valid for the node's life.
    #[must_use]
    pub fn address(&self) -> Vec<u8> {
        self.0.control.address().encode()
    }

    /// Allocates and registers zeroed memory of `bytes` bytes.
    ///
    /// # Errors
    /// [`MemoryError::BadLength`], the kernel's refusal, or the backend's.
    pub fn allocate(&self, bytes: u64, how: &AllocateOptions) -> Result<Region, MemoryError> {
        self.check_length(bytes)?;
        // What was dropped before is free then: a limit that it was within is not met by what waits to be given back.
        self.0.upkeep.reaper.settle();
        RegionInner::register(&self.0.domain, &self.0.upkeep, Mapping::allocate(bytes, *how)?, Kind::Host)
    }

    /// Registers memory that the caller brings: an engine's own pool.
    ///
    /// # Errors
    /// [`MemoryError::Refused`] where the backend does not take it; see [`Capabilities::foreign_memory`]. `keep` is dropped
    /// at once then, as nothing was registered.
    ///
    /// # Safety
    /// - `base..base + bytes` stays mapped, readable and writable until `keep` is dropped, which happens once nothing
    ///   of the library's can touch it any more, whichever handles are gone.
    pub unsafe fn register(
        &self,
        base: NonNull<u8>,
        bytes: u64,
        kind: Kind,
        keep: Box<dyn Send + Sync>,
    ) -> Result<Region, MemoryError> {
        // SAFETY: the caller's word, passed on.
        unsafe { self.register_foreign((base, bytes), kind, None, keep) }
    }

    /// Registers memory of an accelerator by its dmabuf (for CUDA `cuMemGetHandleForAddressRange`): `bytes` bytes from
    /// `offset` bytes into it on. `base` is the memory's address on the device; it is never touched by this process.
    ///
    /// # Errors
    /// [`MemoryError::Refused`] where the backend can't reach device memory; see [`Capabilities::device_memory`].
    ///
    /// # Safety
    /// - The memory stays allocated until `keep` is dropped, as in [`Node::register`].
    pub unsafe fn register_dmabuf(
        &self,
        (base, bytes): (NonNull<u8>, u64),
        ordinal: u32,
        (dmabuf, offset): (OwnedFd, u64),
        keep: Box<dyn Send + Sync>,
    ) -> Result<Region, MemoryError> {
        // SAFETY: the caller's word, passed on.
        unsafe { self.register_foreign((base, bytes), Kind::Device { ordinal }, Some((dmabuf, offset)), keep) }
    }

    /// # Safety
    /// - As [`Node::register`].
    unsafe fn register_foreign(
        &self,
        (base, bytes): (NonNull<u8>, u64),
        kind: Kind,
        dmabuf: Option<(OwnedFd, u64)>,
        keep: Box<dyn Send + Sync>,
    ) -> Result<Region, MemoryError> {
        self.check_length(bytes)?;
        let capabilities = self.capabilities();
        let refused = |why: &str| MemoryError::Refused { backend: capabilities.backend, why: why.to_owned() };
        match kind {
            Kind::Host if capabilities.foreign_memory == crate::ForeignMemory::Refused => {
                return Err(refused("it takes only memory that Pegaflow allocated"));
            }
            Kind::Device { ordinal } if !capabilities.device_memory => {
                return Err(refused(&format!("memory of device {ordinal} can't be reached")));
            }
            _ => {}
        }
        // SAFETY: the caller's word, passed on.
        let mapping = unsafe { Mapping::lent(base, bytes, dmabuf, keep) };
        self.0.upkeep.reaper.settle();
        RegionInner::register(&self.0.domain, &self.0.upkeep, mapping, kind)
    }

    fn check_length(&self, bytes: u64) -> Result<(), MemoryError> {
        self.0.origin.check()?;
        let max = self.capabilities().max_region_bytes;
        if bytes == 0 || bytes > max { Err(MemoryError::BadLength { bytes, max }) } else { Ok(()) }
    }

    /// Gives peers leave to reach windows of this node's memory.
    ///
    /// # Errors
    /// [`MemoryError::NoWindow`], a window outside its region, a region of another node, or memory that this backend
    /// can't show to a peer.
    pub fn grant(&self, windows: &[Window], access: Access, to: Audience) -> Result<Grant, MemoryError> {
        self.0.origin.check()?;
        if windows.is_empty() {
            return Err(MemoryError::NoWindow);
        }
        for window in windows {
            if !window.region.same_node(&self.0.domain) {
                return Err(MemoryError::WrongNode);
            }
            crate::region::check_range(&window.range, window.region.bytes())?;
        }
        let epoch = self.0.registry.next_epoch();
        let (blob, regions) = GrantBlob::describe(windows, access, self.name(), self.0.identity.incarnation, epoch)
            .ok_or_else(|| MemoryError::Refused {
                backend: self.capabilities().backend,
                why: format!("{} windows in one grant: expected at most 65536", windows.len()),
            })?;
        for region in &regions {
            // Asked now, so that the refusal comes here and not at the peer.
            self.0.domain.export(region.key)?.check(self.capabilities())?;
        }
        let inner = Arc::new(GrantInner { epoch, audience: to, regions });
        self.0.registry.enter(&inner);
        let registry = Arc::downgrade(&self.0.registry);
        Ok(Grant { inner, bytes: blob.encode(), registry, origin: self.0.origin })
    }

    /// Makes a peer's grant usable over a connected channel. Blocks until the peer's control thread has answered; its
    /// application need not call anything.
    ///
    /// # Errors
    /// [`ConnectError::Malformed`], [`ConnectError::OtherIncarnation`] (the owner has restarted),
    /// [`ConnectError::Refused`] (no longer granted, or not to this channel), [`ConnectError::NotConnected`],
    /// [`ConnectError::NoAnswer`] after `wait`.
    pub fn import(&self, from: ChannelId, grant: &[u8], wait: Duration) -> Result<Remote, ConnectError> {
        self.0.origin.check()?;
        let blob = GrantBlob::decode(grant)?;
        let peer = self.0.registry.peer(from).ok_or(ConnectError::NotConnected(from))?;
        if (blob.owner.as_str(), blob.incarnation) != (peer.name.as_str(), peer.incarnation) {
            return Err(ConnectError::OtherIncarnation {
                maker: blob.owner,
                made: blob.incarnation,
                peer: peer.name,
                now: peer.incarnation,
            });
        }
        // Before the first question: should the owner take it back meanwhile, what comes of this import is revoked.
        let usage = self.0.registry.usage(peer.connection, blob.epoch);
        let until = after(wait);
        let mut regions = Vec::with_capacity(blob.regions.len());
        while regions.len() < blob.regions.len() {
            let rest = (blob.regions.len() - regions.len()).min(control::IMPORT_BATCH);
            let batch = regions.len()..regions.len() + rest;
            let parcels = self.fetch(&peer, blob.epoch, &batch, until, wait)?;
            for (parcel, &bytes) in parcels.into_iter().zip(&blob.regions[batch]) {
                regions.push(self.0.domain.import(parcel, bytes)?);
            }
        }
        Ok(Remote(Arc::new(RemoteInner {
            channel: from,
            domain: Arc::clone(&self.0.domain),
            access: Access { write: blob.access.0, read: blob.access.1 },
            regions,
            lengths: blob.regions,
            windows: blob.windows,
            epoch: blob.epoch,
            usage,
            upkeep: Arc::clone(&self.0.upkeep),
            origin: self.0.origin,
        })))
    }

    /// Memory of this node that is kept, registered, because it is not proven that nothing touches it any more: the device
    /// did not let go of it, or a revoke is unproven so far.
    #[must_use]
    pub fn quarantined(&self) -> Quarantined {
        self.0.upkeep.quarantined()
    }

    /// The figures of this node's memory, for whoever exports them.
    #[must_use]
    pub fn memory(&self) -> MemoryFigures {
        MemoryFigures(Arc::clone(&self.0.upkeep))
    }

    /// The rails that this node's backend moves data over; none where it needs no device.
    #[must_use]
    pub fn rails(&self) -> Vec<Rail> {
        self.0.domain.rails()
    }

    fn fetch(
        &self,
        peer: &Peer,
        epoch: u64,
        batch: &Range<usize>,
        until: Instant,
        waited: Duration,
    ) -> Result<Vec<crate::backend::Parcel>, ConnectError> {
        let answer = self.0.control.fetch(peer.connection, epoch, batch);
        let left = until.saturating_duration_since(Instant::now());
        let refused = |why: String| ConnectError::Refused { peer: peer.name.clone(), why };
        match answer.recv_timeout(left) {
            Ok(Ok(parcels)) if parcels.len() == batch.len() => Ok(parcels),
            Ok(Ok(parcels)) => Err(refused(format!("{} regions came, {} were asked", parcels.len(), batch.len()))),
            Ok(Err(control::Denial::Owner(why))) => Err(refused(why)),
            Ok(Err(control::Denial::Here(source))) => Err(ConnectError::Io {
                what: format!("receiving the descriptors of a grant of `{}`", peer.name),
                source,
            }),
            Err(_) => Err(ConnectError::NoAnswer { peer: peer.name.clone(), waited }),
        }
    }

    /// Makes a plan: what lies here, what lies there, how they are paired. All checks of offsets happen now.
    ///
    /// # Errors
    /// [`ApiMisuse`] naming the side and what does not fit.
    pub fn plan(&self, op: Op, here: (&[Window], Shape<'_>), there: (&Remote, Shape<'_>)) -> Result<Plan, ApiMisuse> {
        self.0.origin.check()?;
        if !here.0.iter().all(|window| window.region.same_node(&self.0.domain)) {
            return Err(ApiMisuse::WrongNode("a region here"));
        }
        if !Arc::ptr_eq(&there.0.0.domain, &self.0.domain) {
            return Err(ApiMisuse::WrongNode("the remote side"));
        }
        let capabilities = self.capabilities();
        if self.0.options.checksum && here.0.iter().any(|window| window.region.0.kind() != Kind::Host) {
            let what = "check the bytes of device memory: turn `checksum` off";
            return Err(ApiMisuse::Unsupported { backend: capabilities.backend, what });
        }
        let can = match op {
            Op::Write => capabilities.write,
            Op::Read => capabilities.read,
        };
        if !can {
            return Err(ApiMisuse::Unsupported { backend: capabilities.backend, what: op.name() });
        }
        Plan::new(op, (here.0, &here.1), (there.0, &there.1))
    }

    /// Opens a port: one thread's handle to channels. Facts go to `subscriber` (`()` for none).
    ///
    /// # Errors
    /// The backend's failure, or the port's own descriptors.
    pub fn port<S: Subscriber>(&self, subscriber: S) -> Result<Poller<S>, ConnectError> {
        self.0.origin.check()?;
        Poller::new(Arc::clone(&self.0), subscriber)
    }
}

/// Whether a node may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// So long from now; a time that no clock reaches is taken as a year.
pub(crate) fn after(wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + YEAR)
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("identity", &self.0.identity).finish_non_exhaustive()
    }
}
