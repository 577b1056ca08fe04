//! Grants: what a peer needs to reach windows, as opaque bytes with an epoch; and what it makes of them.

use std::{fmt, sync::Arc};

use crate::{
    ChannelId, ConnectError, Window,
    backend::{Domain, Imported},
    fork::Origin,
    plan::Base,
    region::RegionInner,
    upkeep::{Quarantined, Upkeep},
    usage::Usage,
    wire::{Reader, WireError, Writer},
};

/// What peers may do with granted windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Write them.
    pub write: bool,
    /// Read them.
    pub read: bool,
}

impl Access {
    /// Write only.
    pub const WRITE: Self = Self { write: true, read: false };
    /// Read only.
    pub const READ: Self = Self { write: false, read: true };
    /// Both.
    pub const READ_WRITE: Self = Self { write: true, read: true };

    pub(crate) fn name(self) -> &'static str {
        match (self.read, self.write) {
            (true, true) => "read and write",
            (true, false) => "read only",
            (false, true) => "write only",
            (false, false) => "nothing",
        }
    }
}

/// Who may import a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The peer of one channel of this node.
    Channel(ChannelId),
    /// Every peer with a channel to this node: one blob to publish for all.
    Anyone,
}

/// Leave for peers to reach windows of this node. Its bytes go to the peer by whatever means the caller has.
///
/// Dropping the handle ends the leave: later imports are refused as stale. What was imported before stays reachable
/// for that peer, and the memory stays registered, until its channel is closed or broken, or
/// [`Port::revoke`](crate::Port::revoke) has taken it back.
#[derive(Debug)]
pub struct Grant {
    pub(crate) inner: Arc<GrantInner>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) registry: std::sync::Weak<crate::node::Registry>,
    pub(crate) origin: Origin,
}

impl Grant {
    /// The opaque bytes for the peer's [`Node::import`](crate::Node::import): 20 bytes a window, 8 bytes a region, and
    /// about 64 more.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The epoch: grows with every grant of this node.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.origin.is_here()
            && let Some(registry) = self.registry.upgrade()
        {
            registry.withdraw(self.inner.epoch);
        }
    }
}

/// The owner's side of a grant.
pub(crate) struct GrantInner {
    pub(crate) epoch: u64,
    pub(crate) audience: Audience,
    pub(crate) regions: Vec<Arc<RegionInner>>,
}

impl GrantInner {
    /// What is kept while it can't be proven that nobody writes it.
    pub(crate) fn size(&self) -> Quarantined {
        Quarantined {
            regions: self.regions.len() as u64,
            bytes: self.regions.iter().map(|region| region.bytes()).sum(),
        }
    }
}

impl fmt::Debug for GrantInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantInner")
            .field("epoch", &self.epoch)
            .field("audience", &self.audience)
            .field("regions", &self.regions.len())
            .finish()
    }
}

const MAGIC: u32 = u32::from_le_bytes(*b"PGFg");
const VERSION: u16 = 1;
/// Most windows of one grant: 1.3 MiB of bytes.
const MAX_WINDOWS: usize = 65_536;

/// A grant taken apart, not yet believed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GrantBlob {
    pub(crate) owner: String,
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) access: (bool, bool),
    /// Length of each region.
    pub(crate) regions: Vec<u64>,
    /// (region, offset, bytes)
    pub(crate) windows: Vec<(u32, u64, u64)>,
}

impl GrantBlob {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(MAGIC).u16(VERSION).bytes(self.owner.as_bytes()).u64(self.incarnation).u64(self.epoch);
        to.u8(u8::from(self.access.0)).u8(u8::from(self.access.1));
        to.u32(count(self.regions.len()));
        for &bytes in &self.regions {
            to.u64(bytes);
        }
        to.u32(count(self.windows.len()));
        for &(region, offset, bytes) in &self.windows {
            to.u32(region).u64(offset).u64(bytes);
        }
        to.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ConnectError> {
        Self::read(bytes).map_err(|error| ConnectError::Malformed { what: "grant", why: error.to_string() })
    }

    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut from = Reader::new(bytes);
        if from.u32()? != MAGIC {
            return from.fail("no mark of a grant");
        }
        if from.u16()? != VERSION {
            return from.fail("a version of grants that this build does not know");
        }
        let owner = from.text()?.to_owned();
        let (incarnation, epoch) = (from.u64()?, from.u64()?);
        let access = (from.u8()? != 0, from.u8()? != 0);
        let regions = (0..length(&mut from)?).map(|_| from.u64()).collect::<Result<Vec<_>, _>>()?;
        let mut windows = Vec::new();
        for _ in 0..length(&mut from)? {
            let (region, offset, bytes) = (from.u32()?, from.u64()?, from.u64()?);
            let of = regions.get(region as usize).copied();
            if of.is_none_or(|of| offset.checked_add(bytes).is_none_or(|end| end > of)) {
                return from.fail("a window outside its region");
            }
            windows.push((region, offset, bytes));
        }
        from.end()?;
        Ok(Self { owner, incarnation, epoch, access, regions, windows })
    }

    /// Describes `windows`, each region once. The second value is the regions, in the order of the blob.
    pub(crate) fn describe(
        windows: &[Window],
        access: Access,
        owner: &str,
        incarnation: u64,
        epoch: u64,
    ) -> Option<(Self, Vec<Arc<RegionInner>>)> {
        if windows.len() > MAX_WINDOWS {
            return None;
        }
        let mut places = std::collections::HashMap::new();
        let mut regions: Vec<Arc<RegionInner>> = Vec::new();
        let ranges = windows
            .iter()
            .map(|window| {
                let inner = &window.region.0;
                let place = *places.entry(Arc::as_ptr(inner)).or_insert_with(|| {
                    regions.push(Arc::clone(inner));
                    count(regions.len() - 1)
                });
                (place, window.range.start, window.bytes())
            })
            .collect();
        let blob = Self {
            owner: owner.to_owned(),
            incarnation,
            epoch,
            access: (access.write, access.read),
            regions: regions.iter().map(|region| region.bytes()).collect(),
            windows: ranges,
        };
        Some((blob, regions))
    }
}

fn length(from: &mut Reader<'_>) -> Result<usize, WireError> {
    match from.u32()? as usize {
        count if count <= MAX_WINDOWS => Ok(count),
        _ => from.fail("more than 65536 entries"),
    }
}

fn count(length: usize) -> u32 {
    // At most MAX_WINDOWS everywhere.
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Windows of a peer, as this node reaches them over one channel.
#[derive(Clone)]
pub struct Remote(pub(crate) Arc<RemoteInner>);

pub(crate) struct RemoteInner {
    pub(crate) channel: ChannelId,
    pub(crate) domain: Arc<dyn Domain>,
    pub(crate) access: Access,
    pub(crate) regions: Vec<Imported>,
    /// Length of each region.
    pub(crate) lengths: Vec<u64>,
    pub(crate) windows: Vec<(u32, u64, u64)>,
    pub(crate) epoch: u64,
    pub(crate) usage: Arc<Usage>,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) origin: Origin,
}

impl RemoteInner {
    /// Which of the grant's regions an address lies in, and how many bytes into it.
    pub(crate) fn place(&self, address: u64, key: u64) -> Option<(u32, u64)> {
        let found = self.regions.iter().zip(&self.lengths).position(|(region, &bytes)| {
            region.key == key && address.checked_sub(region.base).is_some_and(|offset| offset < bytes)
        })?;
        Some((u32::try_from(found).ok()?, address - self.regions[found].base))
    }
}

impl Drop for RemoteInner {
    fn drop(&mut self) {
        let regions = std::mem::take(&mut self.regions);
        if !self.origin.is_here() {
            std::mem::forget(regions);
            return;
        }
        // Unmapping what a peer has granted takes long where there is much of it.
        self.upkeep.reaper.take(move || drop(regions));
    }
}

impl Remote {
    /// The channel that it was imported over: batches of its plans go over that one only.
    #[must_use]
    pub fn channel(&self) -> ChannelId {
        self.0.channel
    }

    /// The grant's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Whether its owner has taken the grant back: batches over it are refused
    /// ([`Submitted::Revoked`](crate::Submitted::Revoked)).
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.0.usage.is_revoked()
    }

    /// Windows of the grant.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.windows.len()
    }

    /// Never: a grant has at least one window.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.windows.is_empty()
    }

    /// Length of a window in bytes; `None` beyond the last.
    #[must_use]
    pub fn window_bytes(&self, window: u32) -> Option<u64> {
        self.0.windows.get(window as usize).map(|window| window.2)
    }

    /// What the owner allows.
    #[must_use]
    pub fn access(&self) -> Access {
        self.0.access
    }

    /// The window's first byte in this process, where [`Capabilities::maps_peer_memory`](crate::Capabilities) says
    /// that the backend maps it; valid while this `Remote` or a plan over it lives. For rivals and debugging: bytes
    /// touched through it follow no promise. `None` in a child of a fork, which does not have the memory.
    #[must_use]
    pub fn mapped(&self, window: u32) -> Option<*mut u8> {
        if !self.0.origin.is_here() || !self.0.domain.capabilities().maps_peer_memory {
            return None;
        }
        let &(region, offset, _) = self.0.windows.get(window as usize)?;
        let address = self.0.regions[region as usize].base + offset;
        Some(usize::try_from(address).ok()? as *mut u8)
    }

    pub(crate) fn windows(&self) -> impl Iterator<Item = Base> {
        self.0.windows.iter().map(|&(region, offset, bytes)| {
            let region = &self.0.regions[region as usize];
            Base { address: region.base + offset, key: region.key, bytes }
        })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("channel", &self.0.channel)
            .field("epoch", &self.0.epoch)
            .field("windows", &self.0.windows.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> GrantBlob {
        GrantBlob {
            owner: "decode".to_owned(),
            incarnation: 1,
            epoch: 2,
            access: (true, false),
            regions: vec![4096],
            windows: vec![(0, 0, 4096), (0, 4095, 1)],
        }
    }

    #[test]
    fn a_grant_is_read_back() {
        assert_eq!(GrantBlob::decode(&blob().encode()).unwrap(), blob());
    }

    #[test]
    fn every_shortened_or_lengthened_grant_is_refused() {
        let good = blob().encode();
        for length in 0..good.len() {
            assert!(GrantBlob::decode(&good[..length]).is_err(), "{length} bytes");
        }
        let mut long = good;
        long.push(0);
        assert!(GrantBlob::decode(&long).is_err());
    }

    #[test]
    fn a_window_outside_its_region_is_refused() {
        for window in [(0, 4096, 1), (1, 0, 1), (0, u64::MAX, 1)] {
            let bad = GrantBlob { windows: vec![window], ..blob() };
            assert!(GrantBlob::decode(&bad.encode()).is_err(), "{window:?}");
        }
    }
}
