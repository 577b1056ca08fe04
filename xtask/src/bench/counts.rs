//! `cargo xtask bench counts`: the bench `beside_perftest` in a virtual host, and a table of what it counted.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Options, build, provide, share};
use crate::command::ROOT;
use crate::error::{At, Error};
use crate::needs::VIRTUAL_HOSTS;
use crate::soft_roce::{self, Plan, Stream, Table};

/// What the bench calls its runs: two of Pegaflow's, and the rival's, which comes after them in each round.
const SCATTERED: &str = "scattered";
const MERGED: &str = "merged";
const PERFTEST: &str = "perftest";

/// Some two minutes on an idle machine, the boot included.
const HOST_LIMIT: Duration = Duration::from_secs(900);

pub(super) fn run(options: &Options) -> Result<(), Error> {
    provide(&VIRTUAL_HOSTS, options)?;
    let kernel = soft_roce::prepare(options.installs_nothing(), Table::WhereMissing)?;
    let bench = build("beside_perftest")?;
    let scratch = tempfile::tempdir().at(Path::new("a temporary folder"))?;
    let root = Path::new(ROOT);
    let plan = Plan {
        timeout: HOST_LIMIT,
        out: scratch.path().canonicalize().at(scratch.path())?,
        folder: root.canonicalize().at(root)?,
        command: vec![bench.into()],
        variables: soft_roce::variables(&[]),
        ..Plan::default()
    };
    eprintln!("booting a virtual host; with the runs it takes a minute or two");
    let mut text = String::new();
    let statuses = soft_roce::boot(&plan, &kernel, &mut |line| match line.to {
        Stream::Stdout => {
            text += &String::from_utf8_lossy(&line.bytes);
            Ok(())
        }
        Stream::Stderr => soft_roce::print(line, ""),
    })?;
    if statuses != [0] {
        let status = statuses.into_iter().max().unwrap_or_default();
        return Err(Error::Suite { name: "bench beside_perftest".to_owned(), status });
    }
    let report = Report::parse(&text)?;
    if options.json {
        println!("{}", report.json())
    } else {
        print!("{}", report.text())
    }
    Ok(())
}

/// What one run asked of the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    bytes: u64,
    requests: u64,
    doorbells: u64,
    signalled: u64,
    packets: u64,
    repeated: u64,
}

impl Counts {
    /// Reads "key=number" words, each key once.
    fn parse(words: &str) -> Option<Self> {
        let mut counts = Self::default();
        let mut seen = 0;
        for word in words.split_whitespace() {
            let (key, number) = word.split_once('=')?;
            let place = match key {
                "bytes" => &mut counts.bytes,
                "requests" => &mut counts.requests,
                "doorbells" => &mut counts.doorbells,
                "signalled" => &mut counts.signalled,
                "packets" => &mut counts.packets,
                "repeated" => &mut counts.repeated,
                _ => return None,
            };
            *place = number.parse().ok()?;
            seen += 1;
        }
        (seen == 6 && counts.bytes > 0).then_some(counts)
    }

    /// `count` for a megabyte of 10^6 bytes.
    fn per_mb(&self, count: u64) -> f64 {
        share(count * 1_000_000, self.bytes)
    }
}

/// The middle of the runs' figures, and their whole range.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// Of at least one.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), low: at(0), high: at(last) }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "low": self.low, "high": self.high })
    }
}

type Figure = fn(&Counts) -> u64;

/// The figures of a run, in the order of the table.
const FIGURES: [(&str, Figure); 5] = [
    ("requests", |counts| counts.requests),
    ("doorbells", |counts| counts.doorbells),
    ("signalled", |counts| counts.signalled),
    ("packets", |counts| counts.packets),
    ("repeated", |counts| counts.repeated),
];
/// Those of them that are compared.
const COMPARED: usize = 4;

#[derive(Debug)]
struct Report {
    /// By round.
    scattered: Vec<Counts>,
    merged: Vec<Counts>,
    perftest: Vec<Counts>,
}

impl Report {
    fn parse(text: &str) -> Result<Self, Error> {
        let unreadable = |why: String| Error::Unreadable { what: "the output of beside_perftest".to_owned(), why };
        let mut report = Self { scattered: Vec::new(), merged: Vec::new(), perftest: Vec::new() };
        for line in text.lines() {
            let (name, words) = line.split_once(' ').unwrap_or((line, ""));
            let runs = match name {
                SCATTERED => &mut report.scattered,
                MERGED => &mut report.merged,
                PERFTEST => &mut report.perftest,
                _ => return Err(unreadable(format!("{line:?} is no run"))),
            };
            runs.push(Counts::parse(words).ok_or_else(|| unreadable(format!("{line:?} has not the six counts")))?);
        }
        let rounds = [&report.scattered, &report.merged, &report.perftest].map(Vec::len);
        if rounds[0] == 0 || rounds.iter().any(|count| *count != rounds[0]) {
            return Err(unreadable(format!("it has {rounds:?} runs, expected as many of each")));
        }
        Ok(report)
    }

    fn kinds(&self) -> [(&'static str, &[Counts]); 3] {
        [(SCATTERED, &self.scattered), (MERGED, &self.merged), (PERFTEST, &self.perftest)]
    }

    /// Pegaflow's figure over perftest's of the same round.
    fn ratio(&self, ours: &[Counts], figure: Figure) -> Spread {
        let rounds = ours.iter().zip(&self.perftest);
        Spread::of(rounds.map(|(ours, theirs)| ours.per_mb(figure(ours)) / theirs.per_mb(figure(theirs))))
    }

    fn text(&self) -> String {
        let mb = share(self.perftest[0].bytes, 1_000_000);
        let mut text = format!(
            "Asked of a Soft-RoCE device for each MB (10^6 bytes): {} rounds in turn of {mb:.1} MB, blocks of 64 KiB\n\n",
            self.perftest.len()
        );
        let names = [(SCATTERED, "pegaflow, scattered"), (MERGED, "pegaflow, merged"), (PERFTEST, "perftest")];
        text += &format!("{:<22}", "for each MB");
        for (figure, _) in FIGURES {
            text += &format!("{figure:>12}");
        }
        text += "\n";
        for ((_, runs), (_, name)) in self.kinds().into_iter().zip(names) {
            text += &format!("{name:<22}");
            for (_, figure) in FIGURES {
                let middle = Spread::of(runs.iter().map(|run| run.per_mb(figure(run)))).median;
                text += &format!("{middle:>12.3}");
            }
            text += "\n";
        }
        text += "\npegaflow / perftest\n";
        for (kind, runs) in &self.kinds()[..2] {
            text += &format!("{kind:<22}");
            for (_, figure) in &FIGURES[..COMPARED] {
                text += &format!("{:>12.3}", self.ratio(runs, *figure).median);
            }
            let packets = self.ratio(runs, FIGURES[COMPARED - 1].1);
            text += &format!("   packets from {:.3} to {:.3}\n", packets.low, packets.high);
        }
        text + NOTES
    }

    fn json(&self) -> Value {
        let figures = |of: &dyn Fn(Figure) -> Value, count: usize| -> Value {
            FIGURES[..count].iter().map(|(name, figure)| ((*name).to_owned(), of(*figure))).collect()
        };
        let per_mb = |runs: &[Counts]| {
            figures(&|figure| Spread::of(runs.iter().map(|run| run.per_mb(figure(run)))).json(), FIGURES.len())
        };
        let ratios = |runs: &[Counts]| figures(&|figure| self.ratio(runs, figure).json(), COMPARED);
        json!({
            "rounds": self.perftest.len(),
            "bytes_per_round": self.perftest[0].bytes,
            "per_mb": {
                SCATTERED: per_mb(&self.scattered), MERGED: per_mb(&self.merged), PERFTEST: per_mb(&self.perftest),
            },
            "ratios": { SCATTERED: ratios(&self.scattered), MERGED: ratios(&self.merged) },
        })
    }
}

const NOTES: &str = "
Medians of the rounds. Send depth 256 and chains of 16 on both sides. Pegaflow's requests, doorbells and signalled
completions are its own counts (Poller::work). perftest's follow from its arguments: a request for each of --iters, a
doorbell for each --post_list, a completion for each --cq-mod; it takes no --cq-mod above its --post_list, so with
chains of 16 it signals every 16th at least, and Pegaflow, by default, every 64th. Packets are the device's
sent_pkts, both ends in it: data, acknowledgements, and what was sent again, for the emulated device is late at times
(duplicate_request: repeated). The device is emulated, so nothing is said of speed.
";

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
scattered bytes=2000000 requests=32 doorbells=2 signalled=1 packets=110 repeated=3
merged bytes=2000000 requests=4 doorbells=1 signalled=1 packets=90 repeated=0
perftest bytes=2000000 requests=32 doorbells=2 signalled=2 packets=100 repeated=1
scattered bytes=2000000 requests=32 doorbells=2 signalled=1 packets=90 repeated=1
merged bytes=2000000 requests=4 doorbells=1 signalled=1 packets=90 repeated=0
perftest bytes=2000000 requests=32 doorbells=2 signalled=2 packets=100 repeated=1
";

    #[test]
    fn figures_are_for_a_megabyte_and_ratios_for_a_round() {
        let report = Report::parse(OUTPUT).unwrap();
        let json = report.json();
        assert_eq!(json["per_mb"]["scattered"]["requests"]["median"], 16.0);
        assert_eq!(json["per_mb"]["scattered"]["packets"], json!({ "median": 50.0, "low": 45.0, "high": 55.0 }));
        assert_eq!(json["ratios"]["scattered"]["signalled"]["median"], 0.5);
        assert_eq!(json["ratios"]["scattered"]["packets"], json!({ "median": 1.0, "low": 0.9, "high": 1.1 }));
        assert!(json["ratios"]["scattered"].get("repeated").is_none(), "none may be repeated at all: {json}");
        let text = report.text();
        let rows = |name: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        assert_eq!(rows("pegaflow, merged"), ["pegaflow, merged 2.000 0.500 0.500 45.000 0.000"]);
        assert_eq!(rows("merged"), ["merged 0.125 0.500 0.500 0.900 packets from 0.900 to 0.900"]);
    }

    #[test]
    fn middle_is_that_of_the_sorted() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()), Spread { median: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0].into_iter()), Spread { median: 2.5, low: 1.0, high: 4.0 });
    }

    #[test]
    fn lines_that_are_no_runs_are_told() {
        for (text, told) in [
            ("", "[0, 0, 0] runs"),
            ("scattered bytes=1 requests=1 doorbells=1 signalled=1 packets=1 repeated=1\n", "[1, 0, 0] runs"),
            ("hello\n", "\"hello\" is no run"),
            ("merged bytes=1\n", "has not the six counts"),
            ("merged bytes=0 requests=1 doorbells=1 signalled=1 packets=1 repeated=1\n", "has not the six counts"),
            ("merged bytes=1 requests=x doorbells=1 signalled=1 packets=1 repeated=1\n", "has not the six counts"),
        ] {
            let error = Report::parse(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
