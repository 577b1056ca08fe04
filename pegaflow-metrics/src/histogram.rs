//! Times as counts in buckets, written by one thread and read by any.
//!
//! 32 buckets for each power of two of nanoseconds, as HDR histograms have them: a time is known to 3.2 %, from 1 ns to
//! 68 s, in 8 KiB, and recording it is two additions.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Buckets of one power of two, as a power of two.
const FINE: u32 = 5;
const PER_OCTAVE: u64 = 1 << FINE;
/// What takes longer counts as this.
const LONGEST_NS: u64 = (1 << 36) - 1;
const BUCKETS: usize = bucket(LONGEST_NS) + 1;
/// The edges that are exported, as powers of two of nanoseconds: from 128 ns to 34 s.
const EDGES: std::ops::RangeInclusive<u32> = 7..=35;

/// Which bucket a time of so many nanoseconds, at most [`LONGEST_NS`], is in.
#[expect(clippy::cast_possible_truncation, reason = "below BUCKETS")]
const fn bucket(ns: u64) -> usize {
    if ns < PER_OCTAVE {
        return ns as usize;
    }
    let coarse = ns.ilog2() - FINE;
    ((coarse as u64 + 1) * PER_OCTAVE + (ns >> coarse) - PER_OCTAVE) as usize
}

/// The longest time of a bucket, in nanoseconds.
const fn upper_end(bucket: usize) -> u64 {
    let (octave, place) = (bucket as u64 / PER_OCTAVE, bucket as u64 % PER_OCTAVE);
    if octave == 0 { place } else { ((PER_OCTAVE + place + 1) << (octave - 1)) - 1 }
}

/// A count that one thread writes, and any reads.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// By the one thread that writes: without a locked instruction. A sum that no peer can have made stays at the most.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get().saturating_add(more), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn raise(&self, to: u64) {
        self.0.store(self.get().max(to), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Times of one kind.
pub(crate) struct Histogram {
    buckets: Box<[Count]>,
    sum_ns: Count,
}

impl Histogram {
    /// What its buckets take.
    #[cfg(test)]
    pub(crate) const BYTES: usize = BUCKETS * size_of::<Count>();

    pub(crate) fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Count::default()).collect(), sum_ns: Count::default() }
    }

    #[inline]
    pub(crate) fn record(&self, time: Duration) {
        self.record_many(time, 1);
    }

    /// The same time so many times.
    #[inline]
    pub(crate) fn record_many(&self, time: Duration, count: u64) {
        let ns = nanos(time).min(LONGEST_NS);
        if let Some(bucket) = self.buckets.get(bucket(ns)) {
            bucket.add(count);
        }
        self.sum_ns.add(ns.saturating_mul(count));
    }

    /// Adds what another has.
    pub(crate) fn add(&self, other: &Self) {
        for (mine, other) in self.buckets.iter().zip(&other.buckets) {
            mine.add(other.get());
        }
        self.sum_ns.add(other.sum_ns.get());
    }

    /// What it holds now. Written meanwhile, its parts may differ by what came in between.
    pub(crate) fn read(&self) -> Times {
        let counts: Vec<u64> = self.buckets.iter().map(Count::get).collect();
        let count = counts.iter().sum();
        let at = |share: f64| {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rank"
            )]
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut sum = 0;
            let found = counts.iter().position(|here| {
                sum += here;
                sum >= rank
            });
            micros(found.map_or(0, upper_end))
        };
        let edges = EDGES.map(|power| {
            let edge = 1_u64 << power;
            (seconds(edge), counts[..bucket(edge)].iter().sum())
        });
        let sum_ns = self.sum_ns.get();
        Times {
            count,
            sum_us: micros(sum_ns),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
            edges: edges.collect(),
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("sum_ns", &self.sum_ns).finish_non_exhaustive()
    }
}

/// A histogram as it was read. Percentiles are upper ends of buckets: at most 3.2 % above a time that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// All of them together, in microseconds.
    pub sum_us: f64,
    /// The median, in microseconds; 0 of nothing.
    pub p50_us: f64,
    /// 90 of 100 are no longer.
    pub p90_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1000.
    pub p999_us: f64,
    /// The longest; 68.7 s stands for all that took longer.
    pub max_us: f64,
    /// So many took less than so many seconds.
    #[serde(skip)]
    pub(crate) edges: Vec<(f64, u64)>,
}

#[inline]
pub(crate) fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
pub(crate) fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_none_is_wider_than_said() {
        let mut before = None;
        for at in 0..BUCKETS {
            let end = upper_end(at);
            assert_eq!(bucket(end), at);
            let start = before.map_or(0, |before: u64| before + 1);
            assert_eq!(bucket(start), at, "{start} begins bucket {at}");
            assert!(end as f64 <= start as f64 * 1.032, "{start}..={end}");
            before = Some(end);
        }
        assert_eq!(before, Some(LONGEST_NS));
    }

    #[test]
    fn percentiles_against_a_sorted_list() {
        let mut random = fastrand::Rng::with_seed(3);
        let histogram = Histogram::new();
        let mut all: Vec<u64> = (0..10_000).map(|_| 1 << random.u32(0..30) | random.u64(0..1000)).collect();
        all.iter().for_each(|&ns| histogram.record(Duration::from_nanos(ns)));
        all.sort_unstable();
        let times = histogram.read();
        assert_eq!(times.count, 10_000);
        assert_eq!(times.sum_us, micros(all.iter().sum()));
        for (got, rank) in [(times.p50_us, 5000), (times.p90_us, 9000), (times.p99_us, 9900), (times.p999_us, 9990)] {
            let exact = micros(all[rank - 1]);
            assert!(got >= exact && got <= exact * 1.033, "{got} for {exact}");
        }
        for &(edge, below) in &times.edges {
            assert_eq!(below, all.iter().filter(|&&ns| seconds(ns) < edge).count() as u64, "below {edge} s");
        }
    }

    #[test]
    fn what_no_clock_shows_is_counted_as_the_longest() {
        let histogram = Histogram::new();
        histogram.record(Duration::MAX);
        histogram.record_many(Duration::from_secs(3600), 2);
        let times = histogram.read();
        assert_eq!((times.count, times.max_us), (3, micros(LONGEST_NS)));
        assert_eq!(times.edges.last(), Some(&(seconds(1 << 35), 0)));
        assert_eq!(Histogram::new().read().p99_us, 0.0);
    }

    #[test]
    fn a_count_stays_at_the_most() {
        let count = Count::default();
        (0..3).for_each(|_| count.add(u64::MAX / 2));
        assert_eq!(count.get(), u64::MAX);
    }
}
