//! Figures as plain data.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The figures of one port.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// By class of traffic, in the order of [`pegaflow_core::Class::ALL`].
    pub classes: [ClassFigures; 3],
}

/// The figures of one class on one port. Counts are since the recorder was made or reset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// The class's name.
    pub class: &'static str,
    /// Transfers that `submit` or `send` accepted, messages alone included.
    pub accepted: u64,
    /// Of those, ended done.
    pub done: u64,
    /// Ended cancelled.
    pub cancelled: u64,
    /// Ended by their deadline.
    pub deadline_passed: u64,
    /// Ended with a cause.
    pub failed: u64,
    /// Not ended.
    pub in_flight: u64,
    /// Payload bytes moved by ended transfers, whole or in part.
    pub bytes: u64,
    /// Blocks and spans of transfers that ended done.
    pub blocks: u64,
    /// Moves handed to the backend: fewer than blocks where neighbours were merged.
    pub moves: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages alone (not those that follow a batch) that ended done.
    pub messages_out: u64,
    /// Increments received.
    pub increments_in: u64,
    /// `Full` for want of transfers.
    pub full_transfers: u64,
    /// `Full` for want of room for block ids.
    pub full_blocks: u64,
    /// `Full` for want of the peer's credits.
    pub full_messages: u64,
    /// Channels that came up.
    pub channels_up: u64,
    /// Channels that broke.
    pub channels_broken: u64,
    /// Channels that closed.
    pub channels_closed: u64,
    /// From `submit` to the first move handed to the backend.
    pub queued_to_posted: Latency,
    /// From there to the end.
    pub posted_to_done: Latency,
}

/// Percentiles in microseconds, of transfers that ended done and had something to post; 0 where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The median.
    pub p50_us: f64,
    /// 99 of 100 are no longer.
    pub p99_us: f64,
    /// 999 of 1000 are no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "at most 60 s in nanoseconds: exact")]
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(histogram.max()),
        }
    }
}
