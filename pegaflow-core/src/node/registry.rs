//! What a node has granted and whom it is connected to: written at set-up, read by the control thread.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::control::ConnectionId;
use crate::{Audience, ChannelId, grant::GrantInner, region::RegionInner, usage::Usage};

/// The peer of a connected channel.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) connection: ConnectionId,
    pub(crate) name: String,
    pub(crate) incarnation: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    epoch: AtomicU64,
    grants: Mutex<HashMap<u64, Granted>>,
    channels: Mutex<HashMap<ChannelId, Peer>>,
    /// What this node has imported, by connection and the owner's epoch.
    usages: Mutex<HashMap<(ConnectionId, u64), Weak<Usage>>>,
}

#[derive(Debug)]
struct Granted {
    grant: Arc<GrantInner>,
    /// Connections that it was taken back from.
    revoked: Vec<ConnectionId>,
}

impl Registry {
    pub(crate) fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn enter(&self, grant: &Arc<GrantInner>) {
        let grant = Arc::clone(grant);
        lock(&self.grants).insert(grant.epoch, Granted { grant, revoked: Vec::new() });
    }

    /// The grant is not to be imported over `connection` any more.
    pub(crate) fn revoke(&self, epoch: u64, connection: ConnectionId) {
        if let Some(granted) = lock(&self.grants).get_mut(&epoch) {
            granted.revoked.push(connection);
        }
    }

    pub(crate) fn withdraw(&self, epoch: u64) {
        let grant = lock(&self.grants).remove(&epoch);
        // Outside the lock: the last owner of a region unmaps it.
        drop(grant);
    }

    /// The regions `first..first + count` of a live grant, for the peer at the end of `connection`.
    pub(crate) fn granted(
        &self,
        epoch: u64,
        connection: ConnectionId,
        first: usize,
        count: usize,
    ) -> Result<Vec<Arc<RegionInner>>, String> {
        let grants = lock(&self.grants);
        let stale = || format!("stale grant: epoch {epoch} is no longer granted");
        let Granted { grant, revoked } = grants.get(&epoch).ok_or_else(stale)?;
        if revoked.contains(&connection) {
            return Err(stale());
        }
        if let Audience::Channel(channel) = grant.audience {
            let peer = lock(&self.channels).get(&channel).map(|peer| peer.connection);
            if peer != Some(connection) {
                return Err("granted to another channel".to_owned());
            }
        }
        let end = first.saturating_add(count);
        let regions = grant.regions.get(first..end);
        regions.map(<[_]>::to_vec).ok_or_else(|| format!("regions {first}..{end} of {} asked", grant.regions.len()))
    }

    pub(crate) fn connected(&self, channel: ChannelId, peer: Peer) {
        lock(&self.channels).insert(channel, peer);
    }

    pub(crate) fn disconnected(&self, channel: ChannelId) {
        let peer = lock(&self.channels).remove(&channel);
        if let Some(Peer { connection, .. }) = peer {
            lock(&self.usages).retain(|(of, _), _| *of != connection);
            for granted in lock(&self.grants).values_mut() {
                granted.revoked.retain(|of| *of != connection);
            }
        }
    }

    /// Whether a grant of the peer's is in use, for all imports of it over this connection.
    pub(crate) fn usage(&self, connection: ConnectionId, epoch: u64) -> Arc<Usage> {
        let mut usages = lock(&self.usages);
        if let Some(known) = usages.get(&(connection, epoch)).and_then(Weak::upgrade) {
            return known;
        }
        // Now and then, so that those of dropped imports do not gather: at most as many as are alive.
        if usages.len().is_power_of_two() {
            usages.retain(|_, usage| usage.strong_count() > 0);
        }
        let made = Arc::new(Usage::default());
        usages.insert((connection, epoch), Arc::downgrade(&made));
        made
    }

    /// The same where somebody has imported it, or is about to.
    pub(crate) fn usage_if_any(&self, connection: ConnectionId, epoch: u64) -> Option<Arc<Usage>> {
        lock(&self.usages).get(&(connection, epoch)).and_then(Weak::upgrade)
    }

    pub(crate) fn peer(&self, channel: ChannelId) -> Option<Peer> {
        lock(&self.channels).get(&channel).cloned()
    }
}

/// Nothing is left half-done under these locks, so a panic elsewhere does not spoil what they guard.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
