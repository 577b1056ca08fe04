//! Files of results: JSON lines, first a header that says where they come from, then a record a line.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use pegaflow_bench::Record;
use serde::{Deserialize, Serialize};

use crate::{Failure, machine};

/// The first line of a file. It names no host and no user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Version of what measured, and its commit where it is built of one.
    pub(super) pegaflow: String,
    /// The command, as it was typed.
    pub(super) command: Vec<String>,
    pub(super) machine: Machine,
    /// When it began, in UTC, as RFC 3339 writes it.
    pub(super) date: String,
}

/// What a figure depends on most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Processors that this process may use.
    pub(super) cores: usize,
    /// `MemTotal` of proc(5).
    pub(super) memory_bytes: Option<u64>,
    /// The kernel's release.
    pub(super) kernel: Option<String>,
    /// The processor's model, where the kernel names it.
    pub(super) cpu: Option<String>,
}

impl Header {
    /// Of this process, now.
    pub(super) fn now() -> Self {
        let typed = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            pegaflow: env!("PEGAFLOW_VERSION").to_owned(),
            // Where the program lies is nobody's business.
            command: std::iter::once("pegaflow".to_owned()).chain(typed).collect(),
            machine: Machine::here(),
            date: date(since.as_secs()),
        }
    }
}

impl Machine {
    fn here() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: machine::memory("MemTotal"),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
            cpu: machine::field("/proc/cpuinfo", "model name"),
        }
    }

    /// On a line.
    pub(super) fn text(&self) -> String {
        let memory = self.memory_bytes.map(|bytes| format!("{} GiB of memory", bytes.div_ceil(1 << 30)));
        let kernel = self.kernel.as_ref().map(|release| format!("Linux {release}"));
        let cores = if self.cores == 1 { "1 core".to_owned() } else { format!("{} cores", self.cores) };
        [Some(cores), self.cpu.clone(), memory, kernel].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A second since 1970 as a date in UTC: years are counted from March on, so that a leap day is the last of one (Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Why a file is not written.
pub(super) fn exists(file: &Path) -> Failure {
    format!("{}: it is there already: give another file, or --force to overwrite it", file.display()).into()
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) file: PathBuf,
    /// The first header; single runs have none.
    pub(super) header: Option<Header>,
    /// In the file's order; at least one.
    pub(super) records: Vec<Record>,
}

/// Reads a file of results, or several that were written one behind the other.
pub(super) fn read(file: &Path) -> Result<Results, Failure> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (mut header, mut records) = (None, Vec::new());
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match parse(line) {
            Ok(Line::Header(found)) => header = header.or(Some(found)),
            Ok(Line::Record(record)) => records.push(*record),
            Err(problem) => {
                let place = file.display();
                return Err(format!("{place}:{number}: {problem}; found `{}`", shortened(line)).into());
            }
        }
    }
    if records.is_empty() {
        let place = file.display();
        return Err(
            format!("{place}: no record: expected a JSON object on each line, as `pegaflow bench` writes").into()
        );
    }
    Ok(Results { file: file.to_owned(), header, records })
}

enum Line {
    Header(Header),
    Record(Box<Record>),
}

fn parse(line: &str) -> Result<Line, String> {
    const EXPECTED: &str = "expected a record or a header of `pegaflow bench`, a JSON object";
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| format!("{EXPECTED}: {error}"))?;
    if value.get("pegaflow").is_some() {
        let header = serde_json::from_value(value).map_err(|error| format!("expected a header: {error}"))?;
        return Ok(Line::Header(header));
    }
    let record: Record = serde_json::from_value(value).map_err(|error| format!("{EXPECTED}: {error}"))?;
    check(&record)?;
    Ok(Line::Record(Box::new(record)))
}

/// No figure of a bench leaves this range; what does would be drawn and compared as nonsense.
fn check(record: &Record) -> Result<(), String> {
    let figures = [
        ("rate", record.rate),
        ("gb_per_s", record.gb_per_s),
        ("p50_us", Some(record.p50_us)),
        ("p99_us", Some(record.p99_us)),
        ("p999_us", Some(record.p999_us)),
        ("cpu_seconds_per_gb", record.cpu_seconds_per_gb),
        ("limit_gb_per_s", record.limit_gb_per_s),
        ("limit_p50_us", record.limit_p50_us),
        ("share_of_limit", record.share_of_limit),
        ("share_interval", record.share_interval.map(|[low, _]| low)),
        ("share_interval", record.share_interval.map(|[_, high]| high)),
    ];
    for (name, value) in figures {
        if let Some(value) = value
            && !(0.0..=1e12).contains(&value)
        {
            return Err(format!("{name} is {value}: expected 0 to 10^12"));
        }
    }
    Ok(())
}

fn shortened(line: &str) -> String {
    const MOST: usize = 60;
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A write of shm that changes with the size.
    pub(in crate::bench) fn record(block_bytes: u64, depth: u64) -> Record {
        #[expect(clippy::cast_precision_loss, reason = "a figure of a test")]
        let (bytes, deep) = (block_bytes as f64, depth as f64);
        Record {
            backend: "shm".into(),
            op: "write".into(),
            block_bytes,
            blocks: 1024,
            pattern: "scattered".into(),
            depth,
            regions: "owned".into(),
            progress: "caller".into(),
            idle: "spin".into(),
            rate: None,
            seconds: 2.0,
            seed: 1,
            pool_bytes: None,
            transfers: 1000,
            errors: 0,
            gb_per_s: Some(bytes.sqrt() / 20.0),
            p50_us: bytes.sqrt() * deep,
            p99_us: bytes.sqrt() * deep * 1.5,
            p999_us: bytes.sqrt() * deep * 4.0,
            cpu_seconds_per_gb: Some(0.2),
            limit: Some("memcpy".into()),
            limit_gb_per_s: Some(bytes.sqrt() / 18.0),
            limit_p50_us: None,
            share_of_limit: Some(0.9),
            share_interval: Some([0.88, 0.92]),
            verified: None,
        }
    }

    fn read_text(text: &str) -> Result<Results, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let told = file.path().display().to_string();
        read(file.path()).map_err(|error| error.to_string().replace(&told, "a.json"))
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (header, first, second) = (Header::now(), record(4096, 1), record(16384, 4));
        let lines = [serde_json::to_string(&header), serde_json::to_string(&first), serde_json::to_string(&second)];
        let text: String = lines.map(|line| line.unwrap() + "\n").concat();
        let results = read_text(&text).unwrap();
        assert_eq!((results.header.as_ref(), results.records), (Some(&header), vec![first.clone(), second]));
        assert_eq!(header.command[0], "pegaflow");
        // A single run has no header; a key of a later version is no mistake.
        let mut value = serde_json::to_value(&first).unwrap();
        value["p9999_us"] = 3.into();
        let results = read_text(&format!("\n{value}")).unwrap();
        assert_eq!((results.header, results.records), (None, vec![first]));
    }

    #[test]
    fn a_broken_line_is_told_with_its_number_and_what_was_expected() {
        let good = serde_json::to_string(&record(4096, 1)).unwrap();
        let without = good.replace("\"op\":\"write\",", "");
        let negative = good.replace("\"p50_us\":64.0", "\"p50_us\":-64.0");
        assert_ne!(negative, good);
        let long = format!("{{\"x\":\"{}", "ä".repeat(100));
        for (text, parts) in [
            (format!("{good}\n{}", &good[..50]), ["a.json:2: expected a record", "EOF", &good[..50]]),
            (format!("{good}\n\n[1]\n"), ["a.json:3: expected a record", "invalid", "found `[1]`"]),
            (without, ["a.json:1: ", "missing field `op`", "found `{"]),
            (negative, ["a.json:1: ", "p50_us is -64", "expected 0 to 10^12"]),
            ("{\"pegaflow\":7}".into(), ["a.json:1: ", "expected a header", "found `{\"pegaflow\":7}`"]),
            (long, ["a.json:1: ", "EOF", "ää...`"]),
            ("\n".into(), ["a.json: no record", "expected a JSON object on each line", ""]),
        ] {
            let told = read_text(&text).unwrap_err();
            for part in parts {
                assert!(told.contains(part), "`{part}` is missing in: {told}");
            }
        }
        let told = read(Path::new("/no/such.json")).unwrap_err().to_string();
        assert!(told.contains("/no/such.json: No such file"), "{told}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_764_058_606, "2025-11-25T08:16:46Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
