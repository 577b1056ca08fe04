//! `pegaflow bench compare`: what changed between two files of results.

mod change;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use self::change::{Change, Verdict, changes};
use super::{
    cells::{Cell, Key, group, names},
    results::{Header, Results, read},
};
use crate::Failure;

const HELP: &str = "\
Examples:
  pegaflow bench compare before.json after.json
  pegaflow bench compare --fail-on-worse --json before.json after.json

Cells are the same that have the same op, backend, block_bytes, blocks, pattern, depth, regions, progress, idle, rate and \
limit. Of each figure: the medians over the cell's repeats, the change in %, and a verdict:
  better, worse   the two intervals do not overlap
  noise           they do
  can't tell      one side has no interval
The interval is the one that covers the median over repeats with 95 % (`bench sweep --repeat 6`); of 4 or 5 repeats it is \
their whole range, and with fewer there is none, for whole ranges of 3 miss each other by chance once in ten times. A \
share of the limit brings an interval of its own, over the rounds of its run; how much runs differ it does not know. \
By chance alone a verdict is wrong now and then: at 4 repeats of the same once in 35 figures, at 6 once in 460. The first \
transfer that does not end done is worse without an interval.

Exit status: 0, whatever changed; with --fail-on-worse 1 where a figure is worse or where no cell is in both files.
JSON keys: old new (file, header), same_machine, cells (a cell's keys, and figures: figure old new old_interval \
new_interval change_percent verdict, which is better, worse, noise or unknown), only_old, only_new.";

#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct CompareArgs {
    /// Results of before: JSON lines of `bench sweep`, or of single runs with --json.
    #[arg(value_name = "A.json")]
    old: PathBuf,
    /// Results of now.
    #[arg(value_name = "B.json")]
    new: PathBuf,
    /// End with 1 where a figure got worse beyond the noise.
    #[arg(long)]
    fail_on_worse: bool,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &CompareArgs) -> Result<ExitCode, Failure> {
    let comparison = Comparison::of(read(&arguments.old)?, read(&arguments.new)?);
    if arguments.json {
        println!("{}", serde_json::to_string(&comparison)?);
    } else {
        println!("{}", comparison.text());
    }
    if arguments.fail_on_worse {
        let worse = comparison.count(Verdict::Worse);
        if worse > 0 {
            let figures = if worse == 1 { "figure is" } else { "figures are" };
            return Err(format!("{worse} {figures} worse than before, beyond the noise").into());
        }
        if comparison.cells.is_empty() {
            return Err("no cell is in both files: nothing was compared".into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What changed; also the JSON object.
#[derive(Debug, Serialize)]
struct Comparison {
    old: Source,
    new: Source,
    /// Null where a file does not say.
    same_machine: Option<bool>,
    cells: Vec<Compared>,
    only_old: Vec<Key>,
    only_new: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Source {
    file: PathBuf,
    header: Option<Header>,
}

#[derive(Debug, Serialize)]
struct Compared {
    #[serde(flatten)]
    key: Key,
    figures: Vec<Change>,
}

impl Comparison {
    fn of(old: Results, new: Results) -> Self {
        let (before, now) = (group(&old.records), group(&new.records));
        let find = |cells: &'_ [Cell], key: &Key| cells.iter().position(|cell| cell.key == *key);
        let cells = before.iter().filter_map(|cell| {
            let other = &now[find(&now, &cell.key)?];
            Some(Compared { key: cell.key.clone(), figures: changes(cell, other) })
        });
        let cells = cells.collect();
        let only = |cells: &[Cell], others: &[Cell]| {
            let missing = cells.iter().filter(|cell| find(others, &cell.key).is_none());
            missing.map(|cell| cell.key.clone()).collect()
        };
        let (only_old, only_new) = (only(&before, &now), only(&now, &before));
        let machine = |results: &Results| results.header.as_ref().map(|header| header.machine.clone());
        let same_machine = machine(&old).zip(machine(&new)).map(|(old, new)| old == new);
        let source = |results: Results| Source { file: results.file, header: results.header };
        Self { old: source(old), new: source(new), same_machine, cells, only_old, only_new }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.cells.iter().flat_map(|cell| &cell.figures).filter(|change| change.verdict == verdict).count()
    }

    fn text(&self) -> String {
        let mut text = Vec::new();
        if self.same_machine == Some(false) {
            text.push("The machines differ, and what differs below may be theirs:".to_owned());
            for (which, source) in [("A", &self.old), ("B", &self.new)] {
                text.extend(source.header.as_ref().map(|header| format!("  {which}: {}", header.machine.text())));
            }
        }
        let (common, each) = names(&self.cells.iter().map(|cell| &cell.key).collect::<Vec<_>>());
        if self.cells.is_empty() {
            text.push("No cell is in both files.".to_owned());
        } else {
            text.extend([common, self.table(&each)]);
            let count = |verdict| self.count(verdict);
            let (better, worse) = (count(Verdict::Better), count(Verdict::Worse));
            let (noise, unknown) = (count(Verdict::Noise), count(Verdict::Unknown));
            text.push(format!(
                "{better} better, {worse} worse, {noise} within the noise, {unknown} without an interval: can't tell"
            ));
        }
        for (keys, source) in [(&self.only_old, &self.old), (&self.only_new, &self.new)] {
            let (common, each) = names(&keys.iter().collect::<Vec<_>>());
            if !keys.is_empty() {
                text.push(format!("only in {}: {common}", source.file.display()));
                text.extend(each.iter().map(|name| format!("  {name}")));
            }
        }
        text.join("\n")
    }

    fn table(&self, each: &[String]) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["", "figure", "old", "new", "change", "verdict"]);
        for (cell, name) in self.cells.iter().zip(each) {
            let mut name = name.clone();
            for change in &cell.figures {
                table.add_row([vec![std::mem::take(&mut name)], change.row()].concat());
            }
        }
        for column in 2..=4 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use pegaflow_bench::Record;

    use super::super::results::{Machine, tests::record};
    use super::*;

    fn results(name: &str, cores: usize, records: Vec<Record>) -> Results {
        let machine = Machine { cores, memory_bytes: None, kernel: None, cpu: None };
        let header = Header { pegaflow: "0.1.0".into(), command: vec![], machine, date: "then".into() };
        Results { file: name.into(), header: Some(header), records }
    }

    #[test]
    fn cells_find_each_other_whatever_their_order() {
        let changed = Record { share_of_limit: Some(0.7), share_interval: Some([0.69, 0.71]), ..record(4096, 1) };
        let old = results("a.json", 2, vec![record(4096, 1), record(65536, 1), record(1024, 1)]);
        let new = results("b.json", 2, vec![record(65536, 4), record(65536, 1), changed]);
        let comparison = Comparison::of(old, new);
        let sizes: Vec<u64> = comparison.cells.iter().map(|cell| cell.key.block_bytes).collect();
        assert_eq!(sizes, [4096, 65536]);
        assert_eq!((comparison.count(Verdict::Worse), comparison.count(Verdict::Noise)), (1, 1));
        let only = |keys: &[Key]| keys.iter().map(|key| (key.block_bytes, key.depth)).collect::<Vec<_>>();
        assert_eq!(only(&comparison.only_old), [(1024, 1)]);
        assert_eq!(only(&comparison.only_new), [(65536, 4)]);
        let text = comparison.text();
        for part in ["1 worse", "only in a.json: write", "\n  1 KiB", "only in b.json: ", "depth 4", "-22.2 %"] {
            assert!(text.contains(part), "`{part}` is missing in:\n{text}");
        }
        assert!(!text.contains("machines differ"), "{text}");
    }

    #[test]
    fn another_machine_is_told() {
        let (old, new) = (vec![record(4096, 1)], vec![record(4096, 1)]);
        let comparison = Comparison::of(results("a.json", 2, old.clone()), results("b.json", 64, new.clone()));
        let text = comparison.text();
        assert!(text.contains("machines differ") && text.contains("A: 2 cores\n  B: 64 cores"), "{text}");
        let nameless = Results { header: None, ..results("b.json", 2, new) };
        assert_eq!(Comparison::of(results("a.json", 2, old), nameless).same_machine, None);
    }

    #[test]
    fn the_json_has_the_keys_that_the_help_names() {
        let old = results("a.json", 2, vec![record(4096, 1), record(1024, 1)]);
        let new = results("b.json", 2, vec![record(4096, 1)]);
        let json = serde_json::to_value(Comparison::of(old, new)).unwrap();
        assert_eq!((&json["old"]["file"], &json["same_machine"]), (&"a.json".into(), &true.into()));
        assert_eq!(json["only_old"][0]["block_bytes"], 1024);
        let cell = &json["cells"][0];
        assert_eq!((&cell["block_bytes"], &cell["limit"]), (&4096.into(), &"memcpy".into()));
        let share = cell["figures"].as_array().unwrap().last().unwrap();
        let wanted = serde_json::json!({
            "figure": "share_of_limit", "old": 0.9, "new": 0.9, "old_interval": [0.88, 0.92],
            "new_interval": [0.88, 0.92], "change_percent": 0.0, "verdict": "noise"
        });
        assert_eq!(share, &wanted);
    }
}
