//! `pegaflow bench sweep`: a grid of runs, and plots of it.

mod grid;
mod table;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use pegaflow_bench::Record;

use self::grid::{Grid, list};
use super::{
    args::RunArgs,
    plot,
    results::{Header, exists},
    run::{self, Op},
};
use crate::Failure;

const HELP: &str = "\
Examples:
  pegaflow bench sweep --against memcpy               writes of 4 KiB to 1 MiB, beside the plain copy
  pegaflow bench sweep read --block-bytes 16K,64K --depth 1,2,4,8 --out read.json
  pegaflow bench sweep --repeat 6 --out before.json   each cell six times, for `bench compare`
  pegaflow bench sweep message --block-bytes 64,256 --json
  pegaflow bench plot sweep.json                      draw it again, without measuring

Every combination of --block-bytes, --blocks and --depth is a cell; a count has neither blocks nor size and a message no \
blocks, so that those lists do not count there. Repeats are rounds over the whole grid: what changes on the machine \
meanwhile touches all cells alike.

The file: JSON lines, each written as soon as its cell is measured, so that Ctrl-C loses nothing but the cell it \
interrupts. The first line is {pegaflow, command, machine: {cores, memory_bytes, kernel, cpu}, date}, without a host \
name; the others are those of `pegaflow bench write --json`.

The plot, an SVG: bandwidth and latency percentiles over the block size, the rival's beside ours. A cell that fails is \
told with its reason and the rest is measured all the same; the exit status is then 1.";

#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
#[command(mut_arg("block_bytes", |arg| list(arg, "4K,16K,64K,256K,1M").help("Bytes of a block, or of a message; a list: 16K,64KiB,1M")))]
#[command(mut_arg("blocks", |arg| list(arg, "1024").help("Blocks of a transfer; a list")))]
#[command(mut_arg("depth", |arg| list(arg, "4").help("Transfers in flight at most; a list: 1,4")))]
#[command(mut_arg("seconds", |arg| arg.help("Seconds to measure a cell, the rival's not counted")))]
#[command(mut_arg("json", |arg| arg.help("The lines on standard output too, instead of the table; no progress bar")))]
pub(crate) struct SweepArgs {
    /// What is measured.
    #[arg(default_value = "write", value_parser = PossibleValuesParser::new(OPS.map(|(name, _)| name)).map(op))]
    op: Op,
    // Before what it is made of: reading the flags of a run takes them.
    #[command(flatten)]
    grid: Grid,
    #[command(flatten)]
    one: RunArgs,
    /// How often each cell is measured.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// File of the results, JSON lines.
    #[arg(long, value_name = "FILE", default_value = "sweep.json")]
    out: PathBuf,
    /// File of the plot; without it, that of the results with `.svg`.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Overwrite both.
    #[arg(long)]
    force: bool,
}

const OPS: [(&str, Op); 4] = [("write", Op::Write), ("read", Op::Read), ("count", Op::Count), ("message", Op::Message)];

#[expect(clippy::needless_pass_by_value, reason = "what the parser hands over")]
fn op(name: String) -> Op {
    OPS.iter().find(|(known, _)| *known == name).map_or(Op::Write, |(_, op)| *op)
}

fn op_name(op: Op) -> &'static str {
    OPS.iter().find(|(_, known)| *known == op).map_or("write", |(name, _)| *name)
}

pub(super) fn run(arguments: &SweepArgs, verbose: u8) -> Result<ExitCode, Failure> {
    run_with(arguments, &Header::now(), |op, cell| run::run(op, cell, verbose, false))
}

/// Sweeps with whatever measures a cell.
fn run_with(
    arguments: &SweepArgs,
    header: &Header,
    measure: impl Fn(Op, &RunArgs) -> Result<Record, Failure>,
) -> Result<ExitCode, Failure> {
    let drawn = arguments.plot.clone().unwrap_or_else(|| arguments.out.with_extension("svg"));
    if drawn == arguments.out {
        return Err(format!("{}: the same file for results and plot: give --plot another", drawn.display()).into());
    }
    if !arguments.force && drawn.exists() {
        return Err(exists(&drawn));
    }
    let mut lines = Lines::create(&arguments.out, arguments.force, arguments.one.json)?;
    lines.add(header)?;

    let cells = arguments.grid.cells(arguments.op, &arguments.one);
    let rounds = usize::try_from(arguments.repeat)?;
    let bar = bar(u64::try_from(cells.len() * rounds)?, arguments.one.json)?;
    let (mut records, mut failed) = (Vec::new(), 0_u32);
    for cell in (0..rounds).flat_map(|_| &cells) {
        let name = grid::name(arguments.op, cell);
        bar.set_message(name.clone());
        match measure(arguments.op, cell) {
            Ok(record) => {
                lines.add(&record)?;
                records.push(record);
            }
            Err(error) => {
                failed += 1;
                bar.suspend(|| crate::tell(&format!("failed: {name}: {error}")));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    if !arguments.one.json && !records.is_empty() {
        println!("{}\nresults: {}", table::table(&records), arguments.out.display());
    }
    match plot::svg(&records, Some(header)) {
        Ok(svg) => {
            fs::write(&drawn, svg).map_err(|error| format!("{}: {error}", drawn.display()))?;
            if !arguments.one.json {
                println!("plot:    {}", drawn.display());
            }
        }
        // Counts have no size; and what failed was told.
        Err(error) if !records.is_empty() => crate::tell(&format!("no plot: {error}")),
        Err(_) => {}
    }
    if failed > 0 {
        return Err(format!("{failed} of {} runs failed; each reason is above", cells.len() * rounds).into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Where results go, line by line.
struct Lines {
    path: PathBuf,
    file: fs::File,
    show: bool,
}

impl Lines {
    fn create(path: &Path, force: bool, show: bool) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.write(true);
        if force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let file = options.open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(path),
            _ => format!("{}: {error}", path.display()).into(),
        })?;
        Ok(Self { path: path.to_owned(), file, show })
    }

    /// A whole line in one write, so that whoever ends this process leaves no half of one.
    fn add(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value)?;
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        if self.show {
            println!("{line}");
        }
        Ok(())
    }
}

/// Silent where standard error is no terminal.
fn bar(cells: u64, json: bool) -> Result<ProgressBar, Failure> {
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(cells) };
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} cells  {msg}  {elapsed}, about {eta} left")?);
    if !bar.is_hidden() {
        // Once a second, for what is measured runs on the same processors.
        bar.enable_steady_tick(Duration::from_secs(1));
    }
    Ok(bar)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use clap::Parser;

    use super::super::results::{self, tests::record};
    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        sweep: SweepArgs,
    }

    pub(super) fn typed(arguments: &[&str]) -> Result<SweepArgs, clap::Error> {
        Typed::try_parse_from([&["sweep"], arguments].concat()).map(|typed| typed.sweep)
    }

    /// What a run of this cell could have given.
    fn measured(cell: &RunArgs) -> Record {
        record(cell.block_bytes.get(), u64::from(cell.depth.get()))
    }

    #[test]
    fn cells_are_written_as_they_come_and_drawn_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a.json");
        let arguments =
            typed(&["--block-bytes", "4K,64K", "--depth", "1,4", "--repeat", "2", "--out", out.to_str().unwrap()]);
        let arguments = arguments.unwrap();
        let (header, seen) = (Header::now(), RefCell::new(Vec::new()));
        run_with(&arguments, &header, |op, cell| {
            assert_eq!(op, Op::Write);
            // Whoever reads now finds all that was measured before.
            let lines = fs::read_to_string(&out).unwrap();
            assert_eq!(lines.lines().count(), 1 + seen.borrow().len());
            assert!(lines.ends_with('\n'));
            seen.borrow_mut().push((cell.block_bytes.get(), cell.depth.get()));
            Ok(measured(cell))
        })
        .unwrap();
        let grid = [(4096, 1), (4096, 4), (65536, 1), (65536, 4)];
        assert_eq!(seen.into_inner(), [grid, grid].concat());
        let results = results::read(&out).unwrap();
        assert_eq!(results.header, Some(header));
        assert_eq!(results.records.len(), 8);
        let svg = fs::read_to_string(folder.path().join("a.svg")).unwrap();
        assert!(svg.starts_with("<svg"), "{svg}");
    }

    #[test]
    fn a_cell_that_fails_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a.json");
        let arguments = typed(&["read", "--block-bytes", "4K,16K,64K", "--out", out.to_str().unwrap()]).unwrap();
        let told = run_with(&arguments, &Header::now(), |op, cell| {
            assert_eq!(op, Op::Read);
            if cell.block_bytes.get() == 16384 { Err("the peer is gone".into()) } else { Ok(measured(cell)) }
        });
        let told = told.unwrap_err().to_string();
        assert!(told.contains("1 of 3 runs failed"), "{told}");
        let sizes: Vec<u64> = results::read(&out).unwrap().records.iter().map(|record| record.block_bytes).collect();
        assert_eq!(sizes, [4096, 65536]);
        assert!(folder.path().join("a.svg").exists());
    }

    #[test]
    fn nothing_is_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let (out, svg) = (folder.path().join("a.json"), folder.path().join("b.svg"));
        let flags = ["--block-bytes", "4K", "--out", out.to_str().unwrap(), "--plot", svg.to_str().unwrap()];
        let sweep = |more: &[&str]| {
            let arguments = typed(&[&flags, more].concat()).unwrap();
            run_with(&arguments, &Header::now(), |_, cell| Ok(measured(cell))).map_err(|error| error.to_string())
        };
        for kept in [&out, &svg] {
            fs::write(kept, "kept").unwrap();
            let told = sweep(&[]).unwrap_err();
            assert!(told.contains(kept.to_str().unwrap()) && told.contains("--force"), "{told}");
            assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
            fs::remove_file(kept).unwrap();
            // Refused before anything was begun.
            assert!(!out.exists() && !svg.exists());
        }
        fs::write(&out, "x".repeat(10_000)).unwrap();
        sweep(&["--force"]).unwrap();
        assert_eq!(results::read(&out).unwrap().records.len(), 1);
    }
}
