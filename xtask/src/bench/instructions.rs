//! `cargo xtask bench instructions`: the bench `per_block` under callgrind and natively.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::callgrind::Profile;
use super::{Options, build, provide, share};
use crate::command::bounded;
use crate::error::{At, Error};
use crate::needs::CALLGRIND;

/// Transfers of the two runs. What is done once falls out of their difference, and lists are used in turns of 8.
const FEW: u64 = 40;
const MANY: u64 = 200;

/// What a block may cost over the raw loop, as the project set it itself.
const BUDGET_INSTRUCTIONS: f64 = 100.0;
const BUDGET_NS: f64 = 28.0;
/// What the recorder may cost a transfer.
const BUDGET_RECORDER: f64 = 500.0;

const TOP: usize = 10;

const RUN_LIMIT: Duration = Duration::from_secs(600);

pub(super) fn run(options: &Options) -> Result<(), Error> {
    provide(&CALLGRIND, options)?;
    let bench = build("per_block")?;
    let time = Time::parse(&bounded(&mut Command::new(&bench), RUN_LIMIT)?)?;
    let (raw, ours) = (counted(&bench, &["raw"])?, counted(&bench, &["ours"])?);
    let report = Report::new(&raw, &ours, time, Recorder::measure(&bench)?);
    if options.json {
        println!("{}", report.json())
    } else {
        print!("{}", report.text())
    }
    Ok(())
}

/// The instructions of `MANY - FEW` transfers.
fn counted(bench: &str, what: &[&str]) -> Result<Profile, Error> {
    let (few, many) = (profile(bench, what, FEW)?, profile(bench, what, MANY)?);
    Ok(difference(&many, &few))
}

/// What `pegaflow_metrics::Recorder` adds to a transfer and its polls, as the bench's subscriber: instructions of a transfer
/// with it less those of one without.
#[derive(Debug, PartialEq)]
struct Recorder {
    /// Of 1 block.
    short: f64,
    /// Of [`LONG`] blocks.
    long: f64,
}

/// Blocks of the longer transfers.
const LONG: u64 = 1024;

impl Recorder {
    fn measure(bench: &str) -> Result<Self, Error> {
        let added = |blocks: u64| {
            let blocks = blocks.to_string();
            let with = counted(bench, &["recorded", &blocks])?.total;
            let without = counted(bench, &["unrecorded", &blocks])?.total;
            Ok::<_, Error>(share(with.saturating_sub(without), MANY - FEW))
        };
        Ok(Self { short: added(1)?, long: added(LONG)? })
    }

    fn per_block(&self) -> f64 {
        (self.long - self.short) / share(LONG - 1, 1)
    }
}

fn difference(many: &Profile, few: &Profile) -> Profile {
    let own = many.own.iter().map(|(name, cost)| {
        let less = few.own.get(name).copied().unwrap_or_default();
        (name.clone(), cost.saturating_sub(less))
    });
    Profile { total: many.total.saturating_sub(few.total), own: own.collect() }
}

/// `what` is the kind of run, and what else the bench takes after the number of transfers.
fn profile(bench: &str, what: &[&str], transfers: u64) -> Result<Profile, Error> {
    let folder = tempfile::tempdir().at(Path::new("a temporary folder"))?;
    let file = folder.path().join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--toggle-collect=per_block::repeat*"]);
    valgrind.arg(format!("--callgrind-out-file={}", file.display()));
    let (kind, more) = what.split_first().unwrap_or((&"", &[]));
    bounded(valgrind.args([bench, kind, &transfers.to_string()]).args(more), RUN_LIMIT)?;
    Profile::parse(&fs::read_to_string(&file).at(&file)?)
}

/// A median of nanoseconds, with the interval that covers it with 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Interval {
    median: f64,
    low: f64,
    high: f64,
}

impl Interval {
    fn json(self) -> Value {
        json!({ "median": self.median, "low": self.low, "high": self.high })
    }

    fn text(self) -> String {
        format!("{:.1} [{:.1}, {:.1}]", self.median, self.low, self.high)
    }
}

/// What the bench says of itself.
#[derive(Debug, PartialEq)]
struct Time {
    blocks_per_transfer: u64,
    raw: Interval,
    ours: Interval,
    difference: Interval,
}

impl Time {
    /// Reads the bench's output: "1024 scattered blocks ...", then "NAME MEDIAN ns a block [LOW, HIGH]" three times.
    fn parse(text: &str) -> Result<Self, Error> {
        let unreadable =
            |why: &str| Error::Unreadable { what: "the output of the bench per_block".to_owned(), why: why.to_owned() };
        let blocks = text.split_whitespace().next().and_then(|word| word.parse().ok());
        let interval = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(interval).ok_or_else(|| unreadable(&format!("it has no time of the {name}")))
        };
        Ok(Self {
            blocks_per_transfer: blocks.ok_or_else(|| unreadable("it begins with no number of blocks"))?,
            raw: interval("raw loop")?,
            ours: interval("pegaflow")?,
            difference: interval("difference")?,
        })
    }
}

fn interval(text: &str) -> Option<Interval> {
    let (median, range) = text.split_once(" ns a block [")?;
    let (low, high) = range.trim_end().strip_suffix(']')?.split_once(", ")?;
    Some(Interval { median: median.trim().parse().ok()?, low: low.parse().ok()?, high: high.parse().ok()? })
}

#[derive(Debug)]
struct Report {
    raw: f64,
    ours: f64,
    time: Time,
    /// Of ours, those with the most instructions of their own a block.
    top: Vec<(String, f64)>,
    recorder: Recorder,
}

impl Report {
    fn new(raw: &Profile, ours: &Profile, time: Time, recorder: Recorder) -> Self {
        let blocks = (MANY - FEW) * time.blocks_per_transfer;
        Self {
            raw: share(raw.total, blocks),
            ours: share(ours.total, blocks),
            top: top(&ours.own).into_iter().map(|(name, cost)| (name, share(cost, blocks))).collect(),
            time,
            recorder,
        }
    }

    fn difference(&self) -> f64 {
        self.ours - self.raw
    }

    fn text(&self) -> String {
        let Time { raw, ours, difference, .. } = &self.time;
        let within = |cost: f64, budget: f64| if cost <= budget { "within" } else { "OVER" };
        let row = |name: &str, cells: [String; 4], word: &str| {
            format!("{name:<14}{:>20}{:>20}{:>20}{:>10}  {word}\n", cells[0], cells[1], cells[2], cells[3])
                .replace("  \n", "\n")
        };
        let one = |number: f64| format!("{number:.1}");
        let mut text = "A scattered block of 8 bytes over the stand-in provider: software cost only\n\n".to_owned();
        let head = ["raw loop", "pegaflow", "difference", "budget"].map(str::to_owned);
        text += &row("a block", head, "");
        let cells = [one(self.raw), one(self.ours), one(self.difference()), format!("<= {BUDGET_INSTRUCTIONS}")];
        text += &row("instructions", cells, within(self.difference(), BUDGET_INSTRUCTIONS));
        let cells = [raw.text(), ours.text(), difference.text(), format!("<= {BUDGET_NS}")];
        text += &row("ns", cells, within(difference.median, BUDGET_NS));
        let (transfer, block) = (self.recorder.long, self.recorder.per_block());
        text += &format!(
            "\nThe recorder of figures adds, to a transfer with its polls and both ends on one port, {transfer:.0} \
             instructions (budget <= {BUDGET_RECORDER}: {}),\nand to each block {block:.2} (budget 0: {})\n",
            within(transfer, BUDGET_RECORDER),
            // Less than one instruction in so many blocks is the difference of two runs.
            within(block.abs(), 0.01),
        );
        text += "\nInstructions by callgrind, ns natively: the median and what covers it with 95 %. Both hold the stand-in's\n\
                 own work too. The budget is for the difference. Allocations in steady state are 0: the conformance suite holds\n\
                 that (steady_state_allocates_nothing), and it is not measured here.\n\n\
                 Functions with the most instructions of their own a block, in Pegaflow's run:\n";
        for (name, cost) in &self.top {
            text += &format!("{cost:>8.1}  {name}\n");
        }
        text
    }

    fn json(&self) -> Value {
        let Time { raw, ours, difference, .. } = &self.time;
        json!({
            "instructions_per_block": {
                "raw": self.raw, "pegaflow": self.ours, "difference": self.difference(), "budget": BUDGET_INSTRUCTIONS,
            },
            "ns_per_block": {
                "raw": raw.json(), "pegaflow": ours.json(), "difference": difference.json(), "budget": BUDGET_NS,
            },
            "recorder_instructions": {
                "transfer": self.recorder.long, "transfer_budget": BUDGET_RECORDER,
                "block": self.recorder.per_block(), "block_budget": 0,
            },
            "functions": self.top.iter().map(|(name, cost)| json!({ "name": name, "instructions_per_block": cost }))
                .collect::<Vec<_>>(),
        })
    }
}

fn top(own: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = own.iter().map(|(name, cost)| (name.clone(), *cost)).collect();
    all.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    all.truncate(TOP);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
1024 scattered blocks of 8 bytes a transfer, 101 rounds in turn:
raw loop         12.8 ns a block [12.3, 13.1]
pegaflow         21.0 ns a block [18.8, 21.5]
difference       -7.4 ns a block [-8.0, 8.1]
";

    fn profile(costs: &[(&str, u64)]) -> Profile {
        let own: BTreeMap<String, u64> = costs.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect();
        Profile { total: own.values().sum(), own }
    }

    #[test]
    fn times_are_read_as_the_bench_prints_them() {
        let time = Time::parse(OUTPUT).unwrap();
        assert_eq!(time.blocks_per_transfer, 1024);
        assert_eq!(time.raw, Interval { median: 12.8, low: 12.3, high: 13.1 });
        assert_eq!(time.difference, Interval { median: -7.4, low: -8.0, high: 8.1 });
        let told = Time::parse(&OUTPUT.replace("pegaflow ", "somebody ")).unwrap_err().to_string();
        assert_eq!(told, "the output of the bench per_block can't be read: it has no time of the pegaflow");
        assert!(Time::parse("").unwrap_err().to_string().contains("no number of blocks"));
    }

    #[test]
    fn what_is_done_once_falls_out() {
        let (few, many) = (profile(&[("once", 7), ("post", 10)]), profile(&[("once", 7), ("post", 50), ("late", 1)]));
        assert_eq!(difference(&many, &few), profile(&[("once", 0), ("post", 40), ("late", 1)]));
    }

    #[test]
    fn report_has_costs_a_block_the_dearest_function_first() {
        let blocks = (MANY - FEW) * 1024;
        let ours = profile(&[("cheap", blocks), ("dear", 150 * blocks), ("dearer", 160 * blocks)]);
        let recorder = Recorder { short: 410.0, long: 410.0 + 2046.0 };
        let report = Report::new(&profile(&[("loop", 200 * blocks)]), &ours, Time::parse(OUTPUT).unwrap(), recorder);
        let json = report.json();
        assert_eq!(json["instructions_per_block"]["difference"], 111.0);
        assert_eq!(json["recorder_instructions"]["transfer"], 2456.0);
        assert_eq!(json["recorder_instructions"]["block"], 2.0);
        assert_eq!(json["functions"][0], json!({ "name": "dearer", "instructions_per_block": 160.0 }));
        let text = report.text();
        let row = |name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(row("instructions ").as_deref(), Some("instructions 200.0 311.0 111.0 <= 100 OVER"));
        assert_eq!(row("ns ").as_deref(), Some("ns 12.8 [12.3, 13.1] 21.0 [18.8, 21.5] -7.4 [-8.0, 8.1] <= 28 within"));
        let recorder = text.split("\n\n").find(|part| part.starts_with("The recorder")).unwrap();
        assert!(recorder.contains("2456 instructions (budget <= 500: OVER)"), "{recorder}");
        assert!(recorder.ends_with("to each block 2.00 (budget 0: OVER)"), "{recorder}");
        assert!(text.ends_with("   160.0  dearer\n   150.0  dear\n     1.0  cheap\n"), "{text}");
    }
}
