//! Figures as plain data.

use hdrhistogram::Histogram;
use pegaflow_core::Cause;
use serde::Serialize;

/// The figures of one port.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// By class of traffic, in the order of [`pegaflow_core::Class::ALL`].
    pub classes: [ClassFigures; 3],
}

/// The figures of one class on one port. Counts are since the recorder was made or reset, but for `in_flight`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// The class's name.
    pub class: &'static str,
    /// Transfers that `submit` or `send` accepted, messages alone included.
    pub accepted: u64,
    /// Transfers that ended done.
    pub done: u64,
    /// Ended cancelled.
    pub cancelled: u64,
    /// Ended by their deadline.
    pub deadline_passed: u64,
    /// Ended with a cause: the sum of `failures`.
    pub failed: u64,
    /// The same by cause.
    pub failures: Failures,
    /// Accepted and not ended, now: a reset leaves it as it is.
    pub in_flight: u64,
    /// Payload bytes moved by ended transfers, whole or in part.
    pub bytes: u64,
    /// Blocks and spans of transfers that ended done.
    pub blocks: u64,
    /// Moves handed to the backend by transfers that ended done.
    pub moves: u64,
    /// Moves saved by merging neighbours: `blocks` less `moves`, over those of them that had fewer moves than blocks.
    pub merged: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Bytes of messages received.
    pub message_bytes_in: u64,
    /// Messages alone that ended done. Those that follow a batch are not among them: core's facts don't name what
    /// follows.
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
    /// Channels that broke, those that never came up included.
    pub channels_broken: u64,
    /// Channels that closed.
    pub channels_closed: u64,
    /// From `submit` to the first move handed to the backend.
    pub queued_to_posted: Latency,
    /// From there to the end.
    pub posted_to_done: Latency,
}

/// Transfers that failed, by [`Cause::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Failures {
    /// The peer's process ended, or dropped the channel.
    pub peer_gone: u64,
    /// The peer's host or process has not answered for as long as it may be silent.
    pub peer_silent: u64,
    /// The peer closed the channel.
    pub peer_closed: u64,
    /// This side closed the channel.
    pub closed_here: u64,
    /// Nobody answered.
    pub unreachable: u64,
    /// The peer refused the channel.
    pub refused: u64,
    /// The peer wrote what no correct peer writes.
    pub garbage: u64,
    /// The transport reported an error.
    pub transport: u64,
    /// This side could not complete its end of a channel.
    pub not_joined: u64,
    /// A call to this side's device failed.
    pub device: u64,
    /// A cause that this version of the recorder does not know.
    pub other: u64,
}

impl Failures {
    /// Each count under the label of its cause.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 11] {
        [
            ("peer_gone", self.peer_gone),
            ("peer_silent", self.peer_silent),
            ("peer_closed", self.peer_closed),
            ("closed_here", self.closed_here),
            ("unreachable", self.unreachable),
            ("refused", self.refused),
            ("garbage", self.garbage),
            ("transport", self.transport),
            ("not_joined", self.not_joined),
            ("device", self.device),
            ("other", self.other),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn of(&mut self, cause: Cause) -> &mut u64 {
        match cause {
            Cause::PeerGone => &mut self.peer_gone,
            Cause::PeerSilent => &mut self.peer_silent,
            Cause::PeerClosed => &mut self.peer_closed,
            Cause::ClosedHere => &mut self.closed_here,
            Cause::Unreachable => &mut self.unreachable,
            Cause::Refused(_) => &mut self.refused,
            Cause::Garbage(_) => &mut self.garbage,
            Cause::Transport { .. } => &mut self.transport,
            Cause::NotJoined => &mut self.not_joined,
            Cause::Device { .. } => &mut self.device,
            _ => &mut self.other,
        }
    }
}

/// Percentiles in microseconds, of transfers of data that ended done; 0 where there are none.
///
/// A percentile is the upper end of its bucket, so at most 0.1 % (or 1 ns) above a time that was measured.
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
    /// The longest; 60 s stands for all that took longer.
    pub max_us: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "some 60 s in nanoseconds: exact")]
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

#[cfg(test)]
mod tests {
    use pegaflow_core::Refusal;

    use super::*;

    #[test]
    fn every_cause_is_counted_under_its_own_kind() {
        let causes = [
            Cause::PeerGone,
            Cause::PeerSilent,
            Cause::PeerClosed,
            Cause::ClosedHere,
            Cause::Unreachable,
            Cause::Refused(Refusal::Full),
            Cause::Garbage(3),
            Cause::Transport { status: 12, vendor: 1 },
            Cause::NotJoined,
            Cause::Device { errno: 22 },
        ];
        for cause in causes {
            let mut failures = Failures::default();
            *failures.of(cause) += 1;
            let counted = failures.by_kind().into_iter().filter(|(_, count)| *count > 0);
            assert_eq!(counted.collect::<Vec<_>>(), [(cause.kind(), 1)]);
            assert_eq!(failures.total(), 1);
        }
    }
}
