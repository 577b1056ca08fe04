//! Registrations of every node of this process. The table is looked at in set-up only; what the device needs of an
//! entry travels as a key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pegaflow_core::{
    BackendError,
    backend::{Imported, LocalKey, Memory, Parcel},
};

use crate::{
    error::{error, number_in},
    sys::Registration,
};

static REGISTRATIONS: Mutex<BTreeMap<u64, Arc<Registration>>> = Mutex::new(BTreeMap::new());

fn table() -> MutexGuard<'static, BTreeMap<u64, Arc<Registration>>> {
    REGISTRATIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn register(memory: &Memory<'_>) -> LocalKey {
    let entry = Arc::new(Registration::new(memory));
    let key = entry.key();
    table().insert(key, entry);
    LocalKey(key)
}

/// From here on nobody reaches the memory: peers' devices are turned away, and one that is at it is waited for.
pub(crate) fn deregister(key: LocalKey) {
    let entry = table().remove(&key.0);
    if let Some(entry) = entry {
        entry.shut();
    }
}

/// A peer's registration. What is imported stays a valid key even when the peer deregisters: the device then finds it
/// shut, and the link fails.
pub(crate) fn import(parcel: &Parcel, bytes: u64) -> Result<Imported, BackendError> {
    let number = number_in(parcel)?;
    let entry = table().get(&number).cloned();
    let entry = entry.ok_or_else(|| error(format!("no registration has the key {number:#x}")))?;
    if entry.bytes() < bytes {
        return Err(error(format!("the peer's registration has {} bytes: expected at least {bytes}", entry.bytes())));
    }
    Ok(Imported { base: entry.base(), key: entry.key(), keep: entry })
}
