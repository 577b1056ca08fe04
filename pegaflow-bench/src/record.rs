//! One result of `pegaflow bench`: a JSON object on a line.

use serde::{Deserialize, Serialize};

/// What a bench moved, how, and how fast; the keys are the contract with scripts. Rates are in GB/s of 10^9 bytes, times in
/// microseconds. A figure that does not apply is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The backend's name.
    pub backend: String,
    /// `write`, `read`, `count` or `message`.
    pub op: String,
    /// Bytes of one block; of a message, its length; 0 for a count.
    pub block_bytes: u64,
    /// Blocks of one transfer; 0 for a count and a message.
    pub blocks: u64,
    /// `scattered` (fresh random lists for each transfer) or `contiguous`.
    pub pattern: String,
    /// Transfers in flight at most.
    pub depth: u64,
    /// `owned` or `foreign`.
    pub regions: String,
    /// Who moves a port on: `caller` or `poller`.
    pub progress: String,
    /// What a side does that waits: `spin` or `sleep`.
    pub idle: String,
    /// Transfers started a second, where a rate was set.
    pub rate: Option<f64>,
    /// Seconds of measuring, all rounds together, the rival's not counted.
    pub seconds: f64,
    /// Bytes of each side's pool; null for a count and a message.
    #[serde(default)]
    pub pool_bytes: Option<u64>,
    /// Seed of lists and contents.
    pub seed: u64,
    /// Transfers that ended done.
    pub transfers: u64,
    /// Transfers that ended otherwise.
    pub errors: u64,
    /// Median over the rounds; null for a count and a message.
    pub gb_per_s: Option<f64>,
    /// Submit to end of a transfer; of a count and a message, half of the time there and back.
    pub p50_us: f64,
    /// Likewise.
    pub p99_us: f64,
    /// Likewise.
    pub p999_us: f64,
    /// Processor time of both sides for each GB; null where nothing is moved or the other side's is not known.
    pub cpu_seconds_per_gb: Option<f64>,
    /// The rival: `memcpy`, `socket`, `perftest` or `ucx_perftest`.
    pub limit: Option<String>,
    /// Its rate, the median over the rounds; null for a latency.
    pub limit_gb_per_s: Option<f64>,
    /// Its median latency in microseconds, where that is what is compared.
    pub limit_p50_us: Option<f64>,
    /// Median over the rounds of ours by the rival's, so that 1 is as good and less is worse: rate by rate, or the rival's
    /// latency by ours.
    pub share_of_limit: Option<f64>,
    /// The interval that covers that median with 95 %: low, high.
    pub share_interval: Option<[f64; 2]>,
    /// Blocks that were compared with what was sent, each where it landed; null where nobody asked.
    pub verified: Option<u64>,
}
