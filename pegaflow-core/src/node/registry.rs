//! What a node has granted and whom it is connected to: written at set-up, read by the control thread.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::control::ConnectionId;
use crate::{Audience, ChannelId, grant::GrantInner, region::RegionInner};

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
    grants: Mutex<HashMap<u64, Arc<GrantInner>>>,
    channels: Mutex<HashMap<ChannelId, Peer>>,
}

impl Registry {
    pub(crate) fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn enter(&self, grant: &Arc<GrantInner>) {
        lock(&self.grants).insert(grant.epoch, Arc::clone(grant));
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
        let grant = grants.get(&epoch).ok_or_else(|| format!("stale grant: epoch {epoch} is no longer granted"))?;
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
        lock(&self.channels).remove(&channel);
    }

    pub(crate) fn peer(&self, channel: ChannelId) -> Option<Peer> {
        lock(&self.channels).get(&channel).cloned()
    }
}

/// Nothing is left half-done under these locks, so a panic elsewhere does not spoil what they guard.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
