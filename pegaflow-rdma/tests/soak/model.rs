//! What may be where: the owner's blocks, and what each transfer may still do to them.

use std::{collections::BTreeMap, fmt};

use pegaflow_core::Region;

/// Bytes of a block, and blocks of a pool.
pub(crate) const BLOCK: u64 = 256;
pub(crate) const BLOCKS: u32 = 128;
/// Bytes before and behind the granted window that nobody may touch.
pub(crate) const GUARD: u64 = 4096;
const GUARD_BYTE: u8 = 0xee;

/// Faults by kind, and how much was looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) lives: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) transfers: u64,
    pub(crate) blocks_checked: u64,
}

impl Tally {
    pub(crate) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.transfers += other.transfers;
        self.blocks_checked += other.blocks_checked;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10}  faults, in {} lives", self.faults(), self.lives)?;
        for (kind, count) in &self.faults {
            writeln!(f, "{count:>10}  {kind}")?;
        }
        write!(f, "{:>10}  transfers, {} blocks compared", self.transfers, self.blocks_checked)
    }
}

/// A pool of blocks, and what is known of each. A block is leased to a transfer as long as that may touch it.
pub(crate) struct Pool {
    pub(crate) region: Region,
    /// Bytes before its first block.
    from: u64,
    /// What each holds while nobody may touch it.
    known: Vec<u64>,
    free: Vec<u32>,
}

impl Pool {
    /// Over a region that has a guard on both sides.
    pub(crate) fn guarded(region: Region) -> Self {
        let bytes = usize::try_from(region.bytes()).expect("memory");
        region.write(0, &vec![GUARD_BYTE; bytes]).expect("its whole");
        Self::new(region, GUARD)
    }

    pub(crate) fn plain(region: Region) -> Self {
        Self::new(region, 0)
    }

    fn new(region: Region, from: u64) -> Self {
        let pool = Self { region, from, known: vec![0; BLOCKS as usize], free: (0..BLOCKS).collect() };
        (0..BLOCKS).for_each(|block| pool.fill(block, 0));
        pool
    }

    /// Takes blocks out, in an order of their own: adjacent ones where there are any.
    pub(crate) fn lease(&mut self, count: usize, random: &mut fastrand::Rng) -> Option<Vec<u32>> {
        if self.free.len() < count {
            return None;
        }
        if random.bool() {
            random.shuffle(&mut self.free);
        } else {
            self.free.sort_unstable_by(|a, b| b.cmp(a));
        }
        Some(self.free.split_off(self.free.len() - count).into_iter().rev().collect())
    }

    /// Gives a block back, as it is.
    pub(crate) fn give_back(&mut self, block: u32) {
        self.known[block as usize] = self.word(block);
        self.free.push(block);
    }

    /// What nobody may touch holds this word from here on.
    pub(crate) fn fill(&self, block: u32, word: u64) {
        let bytes: Vec<u8> = word.to_le_bytes().repeat(usize::try_from(BLOCK).expect("small") / 8);
        self.region.write(self.from + u64::from(block) * BLOCK, &bytes).expect("inside");
    }

    /// The word that a block is full of. One that is full of no one word was torn.
    pub(crate) fn word(&self, block: u32) -> u64 {
        let mut bytes = [0; 256];
        self.region.read(self.from + u64::from(block) * BLOCK, &mut bytes).expect("inside");
        let word = u64::from_le_bytes(bytes[..8].try_into().expect("eight"));
        let torn = bytes.chunks(8).position(|chunk| chunk != word.to_le_bytes());
        assert_eq!(torn, None, "block {block} is torn: it begins with {word:#x}");
        word
    }

    pub(crate) fn known(&self, block: u32) -> u64 {
        self.known[block as usize]
    }

    /// Nobody may touch what is not leased, nor what is not granted.
    pub(crate) fn check(&self, why: &str) -> u64 {
        for &block in &self.free {
            let (word, known) = (self.word(block), self.known(block));
            assert_eq!(word, known, "block {block}, which nobody may touch, changed ({why})");
        }
        if self.from > 0 {
            let mut guard = vec![0; usize::try_from(GUARD).expect("small")];
            for at in [0, self.region.bytes() - GUARD] {
                self.region.read(at, &mut guard).expect("inside");
                let touched = guard.iter().position(|byte| *byte != GUARD_BYTE);
                assert_eq!(touched, None, "a byte outside the grant changed, from {at} on ({why})");
            }
        }
        self.free.len() as u64
    }
}
