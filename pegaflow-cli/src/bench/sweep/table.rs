//! What a person reads at the end of a sweep.

use comfy_table::{CellAlignment, Table, presets};
use pegaflow_bench::Record;

use super::super::cells::{Cell, group, names, time};

/// A row for each cell, medians over its repeats.
pub(super) fn table(records: &[Record]) -> String {
    let cells = group(records);
    let (common, each) = names(&cells.iter().map(|cell| &cell.key).collect::<Vec<_>>());
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(HEADINGS);
    for (cell, name) in cells.iter().zip(each) {
        table.add_row([vec![name], figures(cell)].concat());
    }
    for column in 1..HEADINGS.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let errors: u64 = records.iter().map(|record| record.errors).sum();
    let errors = if errors > 0 { format!("\n{errors} transfers did not end done") } else { String::new() };
    format!("{common}\n{table}{errors}")
}

const HEADINGS: [&str; 8] = ["", "GB/s", "limit", "share", "p50", "p99", "p99.9", "CPU s/GB"];

fn figures(cell: &Cell) -> Vec<String> {
    let or_none = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| "-".to_owned(), show);
    let rate = |value: f64| format!("{value:.2}");
    // A rival's rate, or the latency that is compared instead.
    let limit = match cell.median(|record| record.limit_gb_per_s) {
        Some(limit) => rate(limit),
        None => or_none(cell.median(|record| record.limit_p50_us), time),
    };
    vec![
        or_none(cell.median(|record| record.gb_per_s), rate),
        limit,
        or_none(cell.median(|record| record.share_of_limit), |share| format!("{:.1} %", share * 100.0)),
        or_none(cell.median(|record| Some(record.p50_us)), time),
        or_none(cell.median(|record| Some(record.p99_us)), time),
        or_none(cell.median(|record| Some(record.p999_us)), time),
        or_none(cell.median(|record| record.cpu_seconds_per_gb), |seconds| format!("{seconds:.3}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::super::results::tests::record;
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_cell_and_says_what_failed() {
        let mut again = record(65536, 1);
        (again.p50_us, again.errors) = (156.0, 3);
        let text = table(&[record(4096, 1), record(65536, 1), again]);
        assert!(text.starts_with("write, shm, 1024 blocks, scattered, depth 1, "), "{text}");
        let row = text.lines().find(|line| line.contains("64 KiB")).unwrap();
        for part in ["12.80", "14.22", "90.0 %", "206 µs", "384 µs", "1024 µs", "0.200"] {
            assert!(row.contains(part), "`{part}` is missing in: {row}");
        }
        assert!(text.ends_with("3 transfers did not end done"), "{text}");
        let mut count = record(0, 1);
        (count.op, count.blocks, count.gb_per_s, count.limit_gb_per_s) = ("count".into(), 0, None, None);
        (count.limit_p50_us, count.share_of_limit) = (Some(1.5), None);
        let text = table(&[count]);
        assert!(text.contains("count") && text.contains("1.50 µs") && text.contains(" - "), "{text}");
    }
}
