//! `cargo xtask bench gate`: shared memory beside the machine's limit, row by row, each with the bound that the project has
//! set itself. It reports and never fails for a figure.

use std::process::Command;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::command::{self, Target, bounded};
use crate::error::Error;

const RUN_LIMIT: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub(crate) struct GateOptions {
    /// Seconds of measuring a row, the rival's not counted
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(floor) => value >= floor,
            Self::AtMost(ceiling) => value <= ceiling,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(floor) => format!(">= {floor}"),
            Self::AtMost(ceiling) => format!("<= {ceiling}"),
        }
    }
}

/// A run of `pegaflow bench`, and which of its figures is looked at.
struct Row {
    what: &'static str,
    arguments: &'static [&'static str],
    /// A key of the record.
    figure: &'static str,
    unit: &'static str,
    bound: Bound,
}

/// A side that waits sleeps where bandwidth is compared: on a machine of two cores one that spins stands in our way, and not
/// in that of the rival, during whose slices it sleeps. It spins where a round trip is timed.
const ROWS: [Row; 6] = [
    share("write 1024 x 16 KiB / memcpy", &["write", "--block-bytes", "16K"]),
    share("write 1024 x 64 KiB / memcpy", &["write", "--block-bytes", "64K"]),
    share("read 1024 x 16 KiB / memcpy", &["read", "--block-bytes", "16K"]),
    share("read 1024 x 64 KiB / memcpy", &["read", "--block-bytes", "64K"]),
    Row {
        what: "write 1 x 4 KiB, p50",
        arguments: &["write", "--block-bytes", "4K", "--blocks", "1", "--depth", "1", "--idle", "spin"],
        figure: "p50_us",
        unit: "us",
        bound: Bound::AtMost(1.0),
    },
    Row {
        what: "count one way, spinning, p50",
        arguments: &["count", "--idle", "spin"],
        figure: "p50_us",
        unit: "us",
        bound: Bound::AtMost(0.5),
    },
];

const fn share(what: &'static str, arguments: &'static [&'static str]) -> Row {
    Row { what, arguments, figure: SHARE, unit: "", bound: Bound::AtLeast(0.95) }
}

const SHARE: &str = "share_of_limit";

/// A row with what came of it.
#[derive(Debug, PartialEq)]
struct Measured {
    what: &'static str,
    value: f64,
    unit: &'static str,
    interval: Option<(f64, f64)>,
    bound: Bound,
}

pub(super) fn run(options: &GateOptions) -> Result<(), Error> {
    let target = Target { package: "pegaflow-cli", kind: "bin", name: "pegaflow" };
    let program = command::build(target, &["build", "--release", "--package", "pegaflow-cli"])?;
    let measured = ROWS.iter().map(|row| measure(&program, row, options.seconds)).collect::<Result<Vec<_>, _>>()?;
    if options.json {
        println!("{}", report(&measured));
    } else {
        print!("{}", text(&measured));
    }
    Ok(())
}

fn measure(program: &str, row: &Row, seconds: u32) -> Result<Measured, Error> {
    eprintln!("{} ...", row.what);
    let mut run = Command::new(program);
    run.arg("bench").args(row.arguments).args(["--json", "--seconds", &seconds.to_string()]);
    if row.figure == SHARE {
        run.args(["--against", "memcpy", "--idle", "sleep"]);
    }
    read(row, &bounded(&mut run, RUN_LIMIT)?)
}

/// Reads a record of `pegaflow bench`.
fn read(row: &Row, text: &str) -> Result<Measured, Error> {
    let unreadable = |why: String| Error::Unreadable { what: format!("the record of `{}`", row.what), why };
    let record: Value = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    let value = record[row.figure].as_f64().ok_or_else(|| unreadable(format!("it has no {}", row.figure)))?;
    let ends = record["share_interval"].as_array().filter(|_| row.figure == SHARE);
    let interval = ends.and_then(|ends| Some((ends.first()?.as_f64()?, ends.get(1)?.as_f64()?)));
    Ok(Measured { what: row.what, value, unit: row.unit, interval, bound: row.bound })
}

fn text(measured: &[Measured]) -> String {
    let mut text = format!("{:<32}{:>12}{:>20}{:>10}\n", "over shared memory", "measured", "95 % interval", "bound");
    for one in measured {
        let interval = one.interval.map_or_else(String::new, |(low, high)| format!("{low:.3} to {high:.3}"));
        let value = format!("{:.3} {}", one.value, one.unit);
        let word = if one.bound.holds(one.value) { "within" } else { "OUTSIDE" };
        text += &format!("{:<32}{:>12}{interval:>20}{:>10}  {word}\n", one.what, value.trim_end(), one.bound.text());
    }
    text + NOTES
}

fn report(measured: &[Measured]) -> Value {
    let row = |one: &Measured| {
        let (bound, kind) = match one.bound {
            Bound::AtLeast(floor) => (floor, "at_least"),
            Bound::AtMost(ceiling) => (ceiling, "at_most"),
        };
        let mut row = json!({
            "what": one.what, "value": one.value, "unit": one.unit, "interval": one.interval, "holds": one.bound.holds(one.value),
        });
        row[kind] = bound.into();
        row
    };
    json!({ "rows": measured.iter().map(row).collect::<Vec<_>>() })
}

const NOTES: &str = "
Shares are medians of rates in turn with one thread's memcpy of the same kind of lists between the same mappings, fresh
random lists from pools of 8 times the last-level cache. A count one way is half of the time there and back. On a shared
machine read the shares; a time depends on who else is there.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_held_against_their_bound() {
        let share = read(&ROWS[0], r#"{"share_of_limit": 0.96, "share_interval": [0.94, 0.97], "p50_us": 1}"#).unwrap();
        assert_eq!((share.value, share.interval), (0.96, Some((0.94, 0.97))));
        let time = read(&ROWS[4], r#"{"share_of_limit": null, "share_interval": null, "p50_us": 1.25}"#).unwrap();
        assert_eq!((time.value, time.interval), (1.25, None));
        let shown = text(&[share, time]);
        let rows: Vec<String> =
            shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows[1], "write 1024 x 16 KiB / memcpy 0.960 0.940 to 0.970 >= 0.95 within");
        assert_eq!(rows[2], "write 1 x 4 KiB, p50 1.250 us <= 1 OUTSIDE");
    }

    #[test]
    fn what_is_no_record_is_told() {
        let told = |text: &str| read(&ROWS[0], text).unwrap_err().to_string();
        assert!(told("{}").contains("it has no share_of_limit"));
        assert!(told("hello").contains("write 1024 x 16 KiB / memcpy"));
    }

    #[test]
    fn a_report_has_each_row_with_its_bound() {
        let row = Measured { what: "x", value: 0.5, unit: "us", interval: None, bound: Bound::AtMost(1.0) };
        let report = report(&[row]);
        assert_eq!(
            report["rows"][0],
            json!({ "what": "x", "value": 0.5, "unit": "us", "interval": null, "holds": true, "at_most": 1.0 })
        );
    }
}
