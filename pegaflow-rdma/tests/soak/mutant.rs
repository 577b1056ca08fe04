//! Backends that are broken on purpose: a device that lies, or an engine that reports what is not so.

use std::{collections::VecDeque, os::fd::BorrowedFd, sync::Arc};

use pegaflow_core::{
    Armed, BackendError, Bounds, Capabilities, Class, CounterTable, DeviceEvent, Link,
    backend::{Domain, Engine, Imported, LocalKey, Memory, Parcel, Posted, Raw, Reaper, Run},
};

use crate::devices::{ALWAYS, Schedule};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    /// The device completes a write before it lands.
    LateLandings,
    /// The device reads a source after it said that it had.
    LateSources,
    /// The device loses an immediate now and then.
    LostImmediates,
    /// The device misplaces bytes of long writes.
    Displaced,
    /// The engine reports all of a run complete when it was posted.
    EarlyEnd,
    /// The engine forgets a completion now and then.
    LostEnd,
    /// The engine loses a credit now and then.
    LostCredit,
    /// The engine gives a credit twice.
    CreditTwice,
}

impl Mutant {
    pub(crate) const ALL: &[Self] = &[
        Self::LateLandings,
        Self::LateSources,
        Self::LostImmediates,
        Self::Displaced,
        Self::EarlyEnd,
        Self::LostEnd,
        Self::LostCredit,
        Self::CreditTwice,
    ];

    pub(crate) fn spoil(self, schedule: &mut Schedule) {
        match self {
            Self::LateLandings => (schedule.late_landings, schedule.lie_calls) = (ALWAYS / 2, 4096),
            Self::LateSources => (schedule.late_sources, schedule.lie_calls) = (ALWAYS / 2, 4096),
            Self::LostImmediates => schedule.lost_immediates = ALWAYS / 32,
            Self::Displaced => schedule.displaced_over = 700,
            // Early only where the device is late.
            Self::EarlyEnd => schedule.late_calls = 16,
            _ => {}
        }
    }

    pub(crate) fn wrap(self, inside: Arc<dyn Domain>) -> Arc<dyn Domain> {
        match self {
            Self::EarlyEnd | Self::LostEnd | Self::LostCredit | Self::CreditTwice => {
                Arc::new(Wrapped { inside, mutant: self })
            }
            _ => inside,
        }
    }
}

struct Wrapped {
    inside: Arc<dyn Domain>,
    mutant: Mutant,
}

impl Domain for Wrapped {
    fn capabilities(&self) -> &Capabilities {
        self.inside.capabilities()
    }

    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError> {
        // SAFETY: the caller's word.
        unsafe { self.inside.register(memory) }
    }

    fn deregister(&self, key: LocalKey) -> Result<(), BackendError> {
        self.inside.deregister(key)
    }

    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        self.inside.export(key)
    }

    fn import(&self, parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
        self.inside.import(parcel, bytes)
    }

    fn engine(&self, reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError> {
        let inside = self.inside.engine(reaper)?;
        Ok(Box::new(Broken { inside, mutant: self.mutant, extra: VecDeque::new(), seen: 0 }))
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        self.inside.events()
    }

    fn attend(&self, tell: &mut dyn FnMut(u8, DeviceEvent)) {
        self.inside.attend(tell);
    }
}

struct Broken {
    inside: Box<dyn Engine>,
    mutant: Mutant,
    extra: VecDeque<Raw>,
    seen: u64,
}

impl Engine for Broken {
    fn open(&mut self, link: Link, class: Class, bounds: &Bounds) -> Result<Parcel, BackendError> {
        self.inside.open(link, class, bounds)
    }

    fn join(&mut self, link: Link, parcel: Parcel, bounds: &Bounds) -> Result<(), BackendError> {
        self.inside.join(link, parcel, bounds)
    }

    fn counters(&self, link: Link) -> Option<CounterTable> {
        self.inside.counters(link)
    }

    unsafe fn post(&mut self, link: Link, run: &mut Run<'_>) -> Posted {
        let cookie = run.cookie();
        // SAFETY: the caller's word.
        let posted = unsafe { self.inside.post(link, run) };
        if self.mutant == Mutant::EarlyEnd && posted == Posted::All {
            self.extra.push_back(Raw::Completed { cookie, parts: 1 << 40 });
        }
        posted
    }

    fn poll(&mut self, raw: &mut [Raw]) -> usize {
        let mut made = 0;
        while made < raw.len()
            && let Some(one) = self.extra.pop_front()
        {
            raw[made] = one;
            made += 1;
        }
        let count = self.inside.poll(&mut raw[made..]);
        let mut kept = made;
        for at in made..made + count {
            let one = raw[at];
            self.seen += 1;
            let often = self.seen.is_multiple_of(16);
            match (self.mutant, one) {
                (Mutant::LostEnd, Raw::Completed { .. }) if often => continue,
                (Mutant::LostCredit, Raw::Credit { .. }) if often => continue,
                (Mutant::CreditTwice, Raw::Credit { .. }) => self.extra.push_back(one),
                _ => {}
            }
            raw[kept] = one;
            kept += 1;
        }
        kept
    }

    fn message(&self, link: Link, slot: u32, bytes: u32) -> &[u8] {
        self.inside.message(link, slot, bytes)
    }

    fn release(&mut self, link: Link, slot: u32) {
        self.inside.release(link, slot);
    }

    fn arm(&mut self) -> Armed {
        if self.extra.is_empty() { self.inside.arm() } else { Armed::Ready }
    }

    fn disarm(&mut self) {
        self.inside.disarm();
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.inside.fd()
    }

    fn close(&mut self, link: Link) {
        self.extra.clear();
        self.inside.close(link);
    }

    fn forget(&mut self, link: Link) {
        self.inside.forget(link);
    }
}
