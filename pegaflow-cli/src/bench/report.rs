//! What a person reads at the end of a run.

use comfy_table::{CellAlignment, Table, presets};
use pegaflow_bench::Record;

use super::run::last_cache_bytes;
use crate::machine::human;

pub(super) fn table(record: &Record) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let mut row = |what: &str, value: String, remark: String| {
        table.add_row(vec![what.to_owned(), value, remark]);
    };
    let moves = record.blocks > 0;
    row(&record.op, format!("{} times", record.transfers), {
        let over = format!("over {}, {:.2} s measured", record.backend, record.seconds);
        if moves { over } else { format!("there and back {over}") }
    });
    if record.errors > 0 {
        row("not done", record.errors.to_string(), "transfers".to_owned());
    }
    if moves {
        let blocks = format!("of {} a transfer, {} on both sides", human(record.block_bytes), record.pattern);
        row("blocks", record.blocks.to_string(), blocks);
        row("in flight", record.depth.to_string(), "transfers at most".to_owned());
    } else if record.op == "message" {
        row("message", human(record.block_bytes), String::new());
    }
    if let Some(pool) = record.pool_bytes {
        #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
        let times = pool as f64 / last_cache_bytes() as f64;
        row("pool", human(pool), format!("on each side, {times:.1} times the last-level cache"));
    }
    if let Some(rate) = record.rate {
        row("rate", format!("{rate} /s"), "latency counts from when each should have started".to_owned());
    }
    if let Some(rate) = record.gb_per_s {
        row("throughput", format!("{rate:.2} GB/s"), "median of the slices".to_owned());
    }
    let what = if moves { "submit to end of a transfer" } else { "half of the time there and back" };
    for (name, value, remark) in
        [("p50", record.p50_us, what), ("p99", record.p99_us, ""), ("p99.9", record.p999_us, "")]
    {
        row(name, format!("{value:.2} us"), remark.to_owned());
    }
    if let Some(limit) = &record.limit {
        let of = |value: Option<f64>, unit: &str| value.map(|value| format!("{value:.2} {unit}"));
        let value = of(record.limit_gb_per_s, "GB/s").or(of(record.limit_p50_us, "us, p50"));
        row("limit", value.unwrap_or_else(|| "-".to_owned()), format!("{limit}, in turn with ours"));
        if let Some(share) = record.share_of_limit {
            let interval = record.share_interval.map_or_else(String::new, |[low, high]| {
                format!("of the limit; 95 % interval of the median {:.1} to {:.1} %", low * 100.0, high * 100.0)
            });
            row("share", format!("{:.1} %", share * 100.0), interval);
        }
    }
    if let Some(cpu) = record.cpu_seconds_per_gb {
        row("processor time", format!("{cpu:.3} s/GB"), format!("both sides, which {} while they wait", record.idle));
    }
    if let Some(verified) = record.verified {
        let what = if moves { "blocks, each where it landed" } else { "each as it came" };
        row("verified", verified.to_string(), what.to_owned());
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
