//! Which lines a picture has, and through which points.

use pegaflow_bench::Record;

use super::super::cells::{Cell, Key, group, names};

/// As many as colours that can be told apart.
const MOST: usize = 8;

/// More ways are not even counted: a bound for files that hold anything.
const MOST_COUNTED: usize = 1000;

/// What is drawn: for each way of measuring, its cells by size.
#[derive(Debug)]
pub(super) struct Lines {
    /// What all have in common.
    pub(super) common: String,
    pub(super) ways: Vec<Way>,
    /// Ways for which no colour was left.
    pub(super) left_out: usize,
    /// All block sizes, ascending.
    pub(super) sizes: Vec<u64>,
    /// The rivals' names.
    pub(super) rivals: Vec<String>,
    /// By what a rival's latency was computed of its rate, where it was.
    pub(super) computed: Option<&'static str>,
}

/// A way of measuring: all of a key but the size. Points are (block size in bytes, figure), by size.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) name: String,
    pub(super) rate: Vec<(f64, f64)>,
    pub(super) rate_limit: Vec<(f64, f64)>,
    /// p50, p99, p99.9.
    pub(super) latency: [Vec<(f64, f64)>; 3],
    pub(super) latency_limit: Vec<(f64, f64)>,
}

impl Lines {
    /// `None` where nothing has a size.
    pub(super) fn of(records: &[Record]) -> Option<Self> {
        let mut cells = group(records);
        cells.retain(|cell| cell.key.block_bytes > 0);
        // In the order of the file, not by size.
        let mut keys: Vec<Key> = Vec::new();
        for cell in &cells {
            let key = Key { block_bytes: 0, ..cell.key.clone() };
            if keys.len() < MOST_COUNTED && !keys.contains(&key) {
                keys.push(key);
            }
        }
        cells.sort_by_key(|cell| cell.key.block_bytes);
        let left_out = keys.len().saturating_sub(MOST);
        keys.truncate(MOST);
        let (common, each) = names(&keys.iter().collect::<Vec<_>>());
        let (mut sizes, mut rivals, mut computed) = (Vec::new(), Vec::new(), None);
        let mut ways = Vec::new();
        for (key, name) in keys.iter().zip(each) {
            let mut way = Way { name, ..Way::default() };
            for cell in cells.iter().filter(|cell| Key { block_bytes: 0, ..cell.key.clone() } == *key) {
                computed = way.add(cell).or(computed);
                sizes.push(cell.key.block_bytes);
            }
            rivals.extend(key.limit.clone());
            ways.push(way);
        }
        sizes.sort_unstable();
        sizes.dedup();
        rivals.sort_unstable();
        rivals.dedup();
        (!ways.is_empty()).then_some(Self { common, ways, left_out, sizes, rivals, computed })
    }
}

impl Way {
    /// Adds a cell's points. Says by what the rival's latency was computed, where it was.
    fn add(&mut self, cell: &Cell) -> Option<&'static str> {
        #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
        let (size, blocks, depth) = (cell.key.block_bytes as f64, cell.key.blocks as f64, cell.key.depth as f64);
        let median = |figure: fn(&Record) -> Option<f64>| cell.median(figure);
        self.rate.extend(median(|record| record.gb_per_s).map(|rate| (size, rate)));
        let limit = median(|record| record.limit_gb_per_s);
        self.rate_limit.extend(limit.map(|rate| (size, rate)));
        // A logarithmic axis has no place for 0.
        let point = |value: Option<f64>| value.filter(|value| (1e-6..=1e15).contains(value)).map(|value| (size, value));
        self.latency[0].extend(point(median(|record| Some(record.p50_us))));
        self.latency[1].extend(point(median(|record| Some(record.p99_us))));
        self.latency[2].extend(point(median(|record| Some(record.p999_us))));
        if let Some(measured) = median(|record| record.limit_p50_us) {
            self.latency_limit.extend(point(Some(measured)));
            return None;
        }
        // Bytes by GB/s are ns. As many transfers as are in flight share the rate.
        let (sharing, told) = match cell.key.rate {
            None => (depth, "bytes / rate × depth"),
            Some(_) => (1.0, "bytes / rate"),
        };
        let computed = limit.filter(|_| blocks > 0.0).map(|rate| size * blocks * sharing / rate / 1e3);
        let computed = point(computed);
        self.latency_limit.extend(computed);
        computed.map(|_| told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::results::tests::record;
    use super::*;

    #[test]
    fn a_rivals_latency_is_measured_or_follows_of_its_rate() {
        let mut one = record(1000, 4);
        one.limit_gb_per_s = Some(2.0);
        // 4 transfers of 1024 blocks of 1000 bytes, at 2 bytes a nanosecond.
        let limit = |record: &Record| Lines::of(std::slice::from_ref(record)).unwrap().ways[0].latency_limit.clone();
        assert_eq!(limit(&one), [(1000.0, 2048.0)]);
        one.rate = Some(10.0);
        assert_eq!(limit(&one), [(1000.0, 512.0)]);
        one.limit_p50_us = Some(3.5);
        assert_eq!(limit(&one), [(1000.0, 3.5)]);
        (one.limit_p50_us, one.limit_gb_per_s) = (None, Some(0.0));
        assert_eq!(limit(&one), []);
    }

    #[test]
    fn a_line_goes_by_size_and_lines_by_the_files_order() {
        let records = [record(65536, 4), record(4096, 4), record(4096, 1), record(16384, 4)];
        let lines = Lines::of(&records).unwrap();
        let names: Vec<&str> = lines.ways.iter().map(|way| way.name.as_str()).collect();
        assert_eq!(names, ["depth 4", "depth 1"]);
        let sizes: Vec<f64> = lines.ways[0].rate.iter().map(|point| point.0).collect();
        assert_eq!(sizes, [4096.0, 16384.0, 65536.0]);
        assert_eq!(lines.sizes, [4096, 16384, 65536]);
    }
}
