//! What a person reads at the end, and what a script does.

use comfy_table::{CellAlignment, Table, presets};
use pegaflow_bench::stats;
use serde::Serialize;

use super::{Job, decode::Decoded, prefill::Prefilled};
use crate::machine::human;

/// The figures of one demo; also the JSON object.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    backend: String,
    model: String,
    #[serde(skip)]
    shape: String,
    layers: u32,
    /// Planes of a layer: 2, K and V; or 1, MLA's latent.
    planes: u32,
    kv_heads: u32,
    head_dim: u32,
    dtype: String,
    tokens: u32,
    block_tokens: u32,
    /// Blocks of one round, in every plane of every layer.
    blocks: u64,
    block_bytes: u64,
    /// Bytes of one round.
    bytes: u64,
    rounds: u32,
    seed: u64,
    verified: bool,
    verified_blocks: u64,
    gb_per_s: f64,
    limit: Option<&'static str>,
    limit_gb_per_s: Option<f64>,
    /// Median over the rounds of ours ÷ limit, and the interval of that median.
    share_of_limit: Option<f64>,
    share_low: Option<f64>,
    share_high: Option<f64>,
    layer_time_us: Option<f64>,
    /// What part of the transfer was hidden behind compute: see [`hidden`]. Median over the rounds, and its interval.
    hidden_share: Option<f64>,
    hidden_low: Option<f64>,
    hidden_high: Option<f64>,
    first_layer_us: f64,
    last_layer_us: f64,
    layer_p50_us: f64,
    layer_p99_us: f64,
    prefill_cpu_seconds: f64,
    decode_cpu_seconds: f64,
}

impl Report {
    pub(crate) fn new(backend: &str, job: &Job, prefilled: &Prefilled, decoded: &Decoded) -> Self {
        let bytes = job.bytes();
        #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
        let rate = |seconds: &f64| bytes as f64 / seconds / 1e9;
        let ours: Vec<f64> = prefilled.seconds.iter().map(rate).collect();
        let limit: Vec<f64> = prefilled.copy_seconds.iter().map(rate).collect();
        let ratios: Vec<f64> = ours.iter().zip(&limit).map(|(ours, limit)| ours / limit).collect();
        let share = stats::median_interval(&ratios);
        let compute = job.layer_time.map(|time| time.as_secs_f64() * f64::from(job.model.layers));
        let hidden: Vec<f64> = compute.map_or_else(Vec::new, |compute| {
            prefilled
                .overlapped_seconds
                .iter()
                .zip(&prefilled.seconds)
                .map(|(&all, &alone)| hidden(all, compute, alone))
                .collect()
        });
        let hidden = stats::median_interval(&hidden);
        let median = |values: &[f64]| stats::median(values).unwrap_or(f64::NAN);
        Self {
            backend: backend.to_owned(),
            model: job.model.name.clone(),
            shape: job.model.shape(),
            layers: job.model.layers,
            planes: job.model.planes,
            kv_heads: job.model.kv_heads,
            head_dim: job.model.head_dim,
            dtype: job.model.dtype.clone(),
            tokens: job.tokens,
            block_tokens: job.block_tokens,
            blocks: u64::from(job.blocks()) * u64::from(job.model.planes) * u64::from(job.model.layers),
            block_bytes: job.block_bytes(),
            bytes,
            rounds: job.rounds,
            seed: job.seed,
            verified: decoded.wrong.is_none(),
            verified_blocks: decoded.verified_blocks,
            gb_per_s: median(&ours),
            limit: (!limit.is_empty()).then_some("memcpy"),
            limit_gb_per_s: stats::median(&limit),
            share_of_limit: share.map(|share| share.median),
            share_low: share.map(|share| share.low),
            share_high: share.map(|share| share.high),
            layer_time_us: job.layer_time.map(|time| time.as_secs_f64() * 1e6),
            hidden_share: hidden.map(|share| share.median),
            hidden_low: hidden.map(|share| share.low),
            hidden_high: hidden.map(|share| share.high),
            first_layer_us: median(&decoded.first_layer_us),
            last_layer_us: median(&decoded.last_layer_us),
            layer_p50_us: prefilled.layer_p50_us,
            layer_p99_us: prefilled.layer_p99_us,
            prefill_cpu_seconds: prefilled.cpu_seconds,
            decode_cpu_seconds: decoded.cpu_seconds,
        }
    }

    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        let mut row = |what: &str, value: String, remark: String| {
            table.add_row(vec![what.to_owned(), value, remark]);
        };
        row("model", self.model.clone(), self.shape.clone());
        let also = if self.layer_time_us.is_some() { ", alone and behind compute" } else { "" };
        row("moved", human(self.bytes), format!("a round, {} rounds{also}", self.rounds));
        row("blocks", self.blocks.to_string(), format!("of {}, scattered on both sides", human(self.block_bytes)));
        row("verified", self.verified_blocks.to_string(), "blocks, each where it landed".to_owned());
        row("first layer", millis(self.first_layer_us), "from decode's word until its count was seen there".to_owned());
        row("last layer", millis(self.last_layer_us), "likewise".to_owned());
        row("a layer, p50", millis(self.layer_p50_us), "first move to end, prefill side".to_owned());
        row("a layer, p99", millis(self.layer_p99_us), String::new());
        row("throughput", format!("{:.2} GB/s", self.gb_per_s), format!("over {}", self.backend));
        match (self.limit, self.limit_gb_per_s, self.share_of_limit) {
            (Some(limit), Some(rate), Some(share)) => {
                row("limit", format!("{rate:.2} GB/s"), format!("one thread's {limit}, same lists and mappings"));
                let interval = interval(self.share_low, self.share_high);
                row("share", format!("{:.1} %", share * 100.0), format!("of the limit{interval}"));
            }
            _ => row("limit", "-".to_owned(), "this backend does not map the peer's memory".to_owned()),
        }
        if let (Some(time), Some(share)) = (self.layer_time_us, self.hidden_share) {
            let interval = interval(self.hidden_low, self.hidden_high);
            let remark = format!("of the transfer, behind {} x {} of compute{interval}", self.layers, millis(time));
            row("hidden", format!("{:.1} %", share * 100.0), remark);
        }
        row(
            "processor time",
            format!("{:.3} s", self.prefill_cpu_seconds + self.decode_cpu_seconds),
            format!("prefill {:.3}, decode {:.3}, all rounds", self.prefill_cpu_seconds, self.decode_cpu_seconds),
        );
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

/// The share of a transfer that compute hides, from seconds: `all` from the begin of the first layer's compute to the last
/// layer's end, `compute` of all layers, `alone` what the same transfer takes without compute. 1: nothing was left to wait
/// for when compute had ended. 0: as long as without overlap. Less: they were in each other's way.
fn hidden(all: f64, compute: f64, alone: f64) -> f64 {
    1.0 - (all - compute) / alone
}

fn interval(low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("; {:.1} to {:.1} %", low * 100.0, high * 100.0),
        _ => String::new(),
    }
}

fn millis(micros: f64) -> String {
    format!("{:.3} ms", micros / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_after_compute_is_not_hidden() {
        // 4 s of compute, a transfer of 2 s.
        for (all, share) in [(4.0, 1.0), (5.0, 0.5), (6.0, 0.0), (8.0, -1.0)] {
            assert!((hidden(all, 4.0, 2.0) - share).abs() < 1e-9, "{all}");
        }
    }
}
