//! Cells of a grid: what was measured, whatever came out, so that repeats and files find each other.

use std::collections::HashMap;

use pegaflow_bench::{Record, stats};
use serde::Serialize;

use crate::machine::human;

/// What a record measured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Key {
    pub(super) op: String,
    pub(super) backend: String,
    pub(super) block_bytes: u64,
    pub(super) blocks: u64,
    pub(super) pattern: String,
    pub(super) depth: u64,
    pub(super) regions: String,
    pub(super) progress: String,
    pub(super) idle: String,
    /// A number that can be compared for being the same.
    pub(super) rate: Option<serde_json::Number>,
    pub(super) limit: Option<String>,
}

impl Key {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            op: record.op.clone(),
            backend: record.backend.clone(),
            block_bytes: record.block_bytes,
            blocks: record.blocks,
            pattern: record.pattern.clone(),
            depth: record.depth,
            regions: record.regions.clone(),
            progress: record.progress.clone(),
            idle: record.idle.clone(),
            rate: record.rate.and_then(serde_json::Number::from_f64),
            limit: record.limit.clone(),
        }
    }

    /// Its parts in words; what does not apply is empty. The size stands at [`SIZE`].
    fn parts(&self) -> [String; 11] {
        let some = |value: u64, text: String| if value == 0 { String::new() } else { text };
        [
            self.op.clone(),
            self.backend.clone(),
            some(self.block_bytes, human(self.block_bytes)),
            some(self.blocks, format!("{} block{}", self.blocks, if self.blocks == 1 { "" } else { "s" })),
            self.pattern.clone(),
            format!("depth {}", self.depth),
            format!("{} regions", self.regions),
            format!("progress by {}", self.progress),
            format!("idle {}", self.idle),
            self.rate.as_ref().map_or_else(String::new, |rate| format!("{rate} a second")),
            self.limit.as_ref().map_or_else(String::new, |limit| format!("beside {limit}")),
        ]
    }
}

/// Which of a key's parts is the size: never told once for all, for it is what one looks for.
const SIZE: usize = 2;

/// The records of a cell: its repeats.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) key: Key,
    pub(super) records: Vec<Record>,
}

impl Cell {
    /// A figure of each repeat that has it.
    pub(super) fn values(&self, figure: impl Fn(&Record) -> Option<f64>) -> Vec<f64> {
        self.records.iter().filter_map(figure).collect()
    }

    /// A figure's median over the repeats.
    pub(super) fn median(&self, figure: impl Fn(&Record) -> Option<f64>) -> Option<f64> {
        stats::median(&self.values(figure))
    }
}

/// Records by what they measured, in the order in which each cell was seen first.
pub(super) fn group(records: &[Record]) -> Vec<Cell> {
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut cells: Vec<Cell> = Vec::new();
    for record in records {
        let key = Key::of(record);
        let place = *places.entry(key.clone()).or_insert(cells.len());
        if place == cells.len() {
            cells.push(Cell { key, records: Vec::new() });
        }
        cells[place].records.push(record.clone());
    }
    cells
}

/// What all keys have in common, and what tells each from the others.
pub(super) fn names(keys: &[&Key]) -> (String, Vec<String>) {
    let parts: Vec<[String; 11]> = keys.iter().map(|key| key.parts()).collect();
    let Some(first) = parts.first() else { return (String::new(), Vec::new()) };
    let common: Vec<bool> = first
        .iter()
        .enumerate()
        .map(|(at, part)| (at != SIZE || part.is_empty()) && parts.iter().all(|other| other[at] == *part))
        .collect();
    let join = |parts: &[String; 11], shared: bool| {
        let chosen = parts.iter().zip(&common).filter(|(part, common)| **common == shared && !part.is_empty());
        chosen.map(|(part, _)| part.as_str()).collect::<Vec<_>>().join(", ")
    };
    let each = parts.iter().map(|parts| Some(join(parts, false)).filter(|name| !name.is_empty()));
    let each = each.zip(keys).map(|(name, key)| name.unwrap_or_else(|| key.op.clone()));
    (join(first, true), each.collect())
}

/// A time in the unit that fits.
pub(super) fn time(micros: f64) -> String {
    match micros {
        _ if micros < 100.0 => format!("{micros:.2} µs"),
        _ if micros < 1e5 => format!("{micros:.0} µs"),
        _ => format!("{:.0} ms", micros / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::record;
    use super::*;

    #[test]
    fn repeats_of_a_cell_come_together_and_nothing_else() {
        let base = record(4096, 1);
        let mut others = vec![base.clone(); 11];
        others[0].backend = "rdma".into();
        others[1].op = "read".into();
        others[2].block_bytes = 8192;
        others[3].blocks = 1;
        others[4].pattern = "contiguous".into();
        others[5].depth = 2;
        others[6].regions = "foreign".into();
        others[7].progress = "poller".into();
        others[8].idle = "sleep".into();
        others[9].rate = Some(10.0);
        others[10].limit = None;
        // What came out, for how long, and with which lists does not tell cells apart.
        let mut again = base.clone();
        (again.gb_per_s, again.p50_us, again.seconds, again.seed) = (Some(1.0), 7.0, 9.0, 3);
        let all = [vec![base.clone()], others, vec![again]].concat();
        let cells = group(&all);
        assert_eq!(cells.len(), 12);
        assert_eq!(cells[0].records.len(), 2);
        assert!(cells[1..].iter().all(|cell| cell.records.len() == 1));
        let half = (64.0 + 7.0) / 2.0;
        assert_eq!(cells[0].median(|record| Some(record.p50_us)), Some(half));
        assert_eq!(cells[0].median(|record| record.limit_p50_us), None);
    }

    #[test]
    fn names_tell_apart_and_say_the_rest_once() {
        let keys = [record(4096, 1), record(65536, 1), record(4096, 4)].map(|record| Key::of(&record));
        let (common, each) = names(&keys.iter().collect::<Vec<_>>());
        let rest = "owned regions, progress by caller, idle spin, beside memcpy";
        assert_eq!(common, format!("write, shm, 1024 blocks, scattered, {rest}"));
        assert_eq!(each, ["4 KiB, depth 1", "64 KiB, depth 1", "4 KiB, depth 4"]);
        let (common, each) = names(&[&keys[0]]);
        assert_eq!(each, ["4 KiB"]);
        assert!(common.contains("depth 1"), "{common}");
        let count = Key { block_bytes: 0, blocks: 0, op: "count".into(), ..keys[0].clone() };
        assert_eq!(names(&[&count]).1, ["count"]);
        let many = Key { blocks: 7, ..keys[0].clone() };
        assert_eq!(names(&[&keys[0], &many]).1, ["4 KiB, 1024 blocks", "4 KiB, 7 blocks"]);
    }
}
