//! Registrations of this side, a peer's keys, and how core's 64-bit key stands for either.
//!
//! Memory is registered in pieces of [`PIECE_BYTES`]: some NICs slow down beyond 4 GiB. A key of core's is the NIC's own
//! key where there is one piece, which is nearly always; else the address of a table of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pegaflow_core::{
    BackendError, Kind,
    backend::{Imported, LocalKey, Memory, Parcel},
};

use crate::{
    device::Rail,
    error::NAME,
    sys::{KeyTable, MemoryRegion, key_table},
};

/// A power of two, at most 3.5 GiB.
pub(crate) const PIECE_BYTES: u64 = 1 << PIECE_BITS;
const PIECE_BITS: u32 = 31;
/// As many as a parcel carries the keys of.
const MAX_PIECES: usize = (Parcel::MAX_BYTES - HEADER) / 4;
/// Longest memory that a peer can be told of.
pub(crate) const MAX_BYTES: u64 = MAX_PIECES as u64 * PIECE_BYTES;

/// A parcel: version, three bytes of nothing, pieces, address; then a key for each piece.
const HEADER: usize = 16;
const VERSION: u8 = 1;

/// What a 64-bit key says of an address: the NIC's key, and how many bytes from there on it is good for.
///
/// # Safety
/// - The key was made by this room, and its registration or import is alive.
#[inline]
pub(crate) unsafe fn resolve(key: u64, address: u64) -> (u32, u64) {
    if key & 1 == 1 {
        #[expect(clippy::cast_possible_truncation, reason = "a key of 32 bits, moved by one")]
        return ((key >> 1) as u32, u64::MAX);
    }
    // SAFETY: even keys are addresses of tables, alive by the caller's word.
    let table = unsafe { key_table(key) };
    let offset = address.wrapping_sub(table.base);
    let piece = (offset >> PIECE_BITS) as usize;
    (table.keys.get(piece).copied().unwrap_or(0), PIECE_BYTES - (offset & (PIECE_BYTES - 1)))
}

/// What the key of an import says of an address inside it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn resolve_of(imported: &Imported, address: u64) -> (u32, u64) {
    // SAFETY: the key was made beside `keep`, which is alive.
    unsafe { resolve(imported.key, address) }
}

fn one_key(key: u32) -> u64 {
    u64::from(key) << 1 | 1
}

/// The key for pieces, and the table that must live as long as it.
fn key_of(base: u64, keys: &[u32]) -> (u64, Option<Arc<KeyTable>>) {
    if let [only] = keys {
        return (one_key(*only), None);
    }
    let table = Arc::new(KeyTable { base, keys: keys.into() });
    (Arc::as_ptr(&table).addr() as u64, Some(table))
}

/// The registrations of a domain, by key.
#[derive(Debug, Default)]
pub(crate) struct Registrations(Mutex<HashMap<u64, Registration>>);

#[derive(Debug)]
struct Registration {
    base: u64,
    pieces: Vec<MemoryRegion>,
    _table: Option<Arc<KeyTable>>,
}

impl Registrations {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Registration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers memory with the rail's device.
    ///
    /// # Safety
    /// - The memory stays mapped until `remove` has returned.
    pub(crate) unsafe fn enter(
        &self,
        rail: &Rail,
        memory: &Memory<'_>,
        relaxed_ordering: bool,
    ) -> Result<LocalKey, BackendError> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < memory.bytes {
            let bytes = (memory.bytes - at).min(PIECE_BYTES);
            #[expect(clippy::cast_possible_truncation, reason = "at most PIECE_BYTES, and an offset inside memory")]
            let (length, offset) = (bytes as usize, at as usize);
            let piece = match (memory.kind, memory.file) {
                // SAFETY: the caller's word.
                (Kind::Host, _) => unsafe {
                    MemoryRegion::new(&rail.device, memory.base.wrapping_add(offset), length, relaxed_ordering)
                },
                (Kind::Device { .. }, Some(file)) => {
                    let base = memory.base.addr() as u64 + at;
                    MemoryRegion::of_dmabuf(
                        &rail.device,
                        file,
                        memory.file_offset + at,
                        (base, length),
                        relaxed_ordering,
                    )
                }
                (Kind::Device { ordinal }, None) => Err(BackendError::new(
                    NAME,
                    format!("memory of device {ordinal} came without its dmabuf: use Node::register_dmabuf"),
                )),
            };
            pieces.push(piece?);
            at += bytes;
        }
        let base = memory.base.addr() as u64;
        let keys: Vec<u32> = pieces.iter().map(MemoryRegion::local_key).collect();
        let (key, table) = key_of(base, &keys);
        self.lock().insert(key, Registration { base, pieces, _table: table });
        Ok(LocalKey(key))
    }

    /// Deregisters every piece.
    ///
    /// # Errors
    /// The first that the device keeps.
    pub(crate) fn remove(&self, key: LocalKey) -> Result<(), BackendError> {
        let gone = self.lock().remove(&key.0);
        // Outside the lock: deregistering takes long.
        let pieces = gone.map(|gone| gone.pieces).unwrap_or_default();
        pieces.into_iter().map(MemoryRegion::release).fold(Ok(()), Result::and)
    }

    pub(crate) fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        let table = self.lock();
        let known = table.get(&key.0);
        let known =
            known.ok_or_else(|| BackendError::new(NAME, format!("no registration has the key {:#x}", key.0)))?;
        let count = u32::try_from(known.pieces.len()).unwrap_or(u32::MAX);
        let mut bytes = vec![VERSION, 0, 0, 0];
        bytes.extend(count.to_le_bytes());
        bytes.extend(known.base.to_le_bytes());
        bytes.extend(known.pieces.iter().flat_map(|piece| piece.remote_key().to_le_bytes()));
        Ok(Parcel { bytes, files: Vec::new() })
    }
}

/// A peer's registration. The parcel comes from another process: what does not fit is refused; a key that lies is
/// refused by the peer's own NIC.
pub(crate) fn import(parcel: &Parcel, bytes: u64) -> Result<Imported, BackendError> {
    let refused = |why: String| BackendError::new(NAME, format!("a peer's registration can't be read: {why}"));
    let Some((header, rest)) = parcel.bytes.split_first_chunk::<HEADER>() else {
        return Err(refused(format!("{} bytes", parcel.bytes.len())));
    };
    let &[version, _, _, _, c0, c1, c2, c3, b0, b1, b2, b3, b4, b5, b6, b7] = header;
    if version != VERSION {
        return Err(refused(format!("version {version}: expected {VERSION}")));
    }
    let (count, base) = (u32::from_le_bytes([c0, c1, c2, c3]), u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]));
    let keys: Vec<u32> = rest.chunks_exact(4).filter_map(|key| Some(u32::from_le_bytes(*key.first_chunk()?))).collect();
    let expected = bytes.div_ceil(PIECE_BYTES);
    if u64::from(count) != expected || keys.len() as u64 != expected || rest.len() as u64 != 4 * expected {
        return Err(refused(format!("{} keys for {bytes} bytes: expected {expected}", keys.len())));
    }
    if base.checked_add(bytes).is_none() {
        return Err(refused(format!("{bytes} bytes at {base:#x}")));
    }
    let (key, table) = key_of(base, &keys);
    Ok(Imported { base, key, keep: table.map_or_else(|| Arc::new(()) as Arc<_>, |table| table as Arc<_>) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(count: u32, base: u64, keys: &[u32]) -> Parcel {
        let mut bytes = vec![VERSION, 0, 0, 0];
        bytes.extend(count.to_le_bytes());
        bytes.extend(base.to_le_bytes());
        bytes.extend(keys.iter().flat_map(|key| key.to_le_bytes()));
        Parcel { bytes, files: Vec::new() }
    }

    #[test]
    fn one_piece_needs_no_table_and_several_end_where_the_next_begins() {
        let one = import(&parcel(1, 0x1000, &[u32::MAX]), PIECE_BYTES).unwrap();
        // SAFETY: made by `import`.
        assert_eq!(unsafe { resolve(one.key, 0x1234) }, (u32::MAX, u64::MAX));
        let three = import(&parcel(3, 0x1000, &[7, 8, 9]), 2 * PIECE_BYTES + 1).unwrap();
        for (offset, key, left) in [
            (0, 7, PIECE_BYTES),
            (PIECE_BYTES - 1, 7, 1),
            (PIECE_BYTES, 8, PIECE_BYTES),
            (2 * PIECE_BYTES, 9, PIECE_BYTES),
        ] {
            // SAFETY: made by `import`, and `three` is alive.
            assert_eq!(unsafe { resolve(three.key, 0x1000 + offset) }, (key, left), "offset {offset:#x}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let good = parcel(1, 0x1000, &[7]);
        for length in 0..good.bytes.len() {
            let short = Parcel { bytes: good.bytes[..length].to_vec(), files: Vec::new() };
            assert!(import(&short, 10).is_err(), "{length} bytes");
        }
        assert!(import(&parcel(1, 0x1000, &[7, 8]), 10).is_err());
        assert!(import(&parcel(2, 0x1000, &[7]), PIECE_BYTES + 1).is_err());
        assert!(import(&parcel(1, u64::MAX - 5, &[7]), 10).is_err());
        let mut other = parcel(1, 0x1000, &[7]);
        other.bytes[0] = 2;
        assert!(import(&other, 10).unwrap_err().message.contains("version 2"));
    }
}
