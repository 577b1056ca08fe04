//! Plots of results: bandwidth and latency over the block size, the rival's beside ours.

mod axis;
mod draw;
mod lines;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;
use pegaflow_bench::Record;

use self::lines::Lines;
use super::results::{self, Header};
use crate::Failure;

const HELP: &str = "\
Examples:
  pegaflow bench plot sweep.json                         sweep.svg, beside it
  pegaflow bench plot both.json --out both.svg --force

Left, bandwidth; right, the latency of a transfer at p50, p99 and p99.9; both over the block size. Dashed with hollow \
points: the rival. Where it has a rate and no latency of its own, its latency line is computed, not measured: what a \
transfer takes at that rate, bytes / rate, times the depth, for so many share it (with --rate, once).

Of a cell that was measured several times the medians are drawn. More than 8 lines of a kind can't be told apart: those \
after the 8th are left out, and the picture says so. Records without a block size (counts) are not drawn.";

#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct PlotArgs {
    /// Results: JSON lines of `bench sweep`, or of single runs with --json.
    #[arg(value_name = "FILE.json")]
    file: PathBuf,
    /// File of the plot; without it, that of the results with `.svg`.
    #[arg(long, value_name = "FILE.svg")]
    out: Option<PathBuf>,
    /// Overwrite it.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &PlotArgs) -> Result<ExitCode, Failure> {
    let results = results::read(&arguments.file)?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.file.with_extension("svg"));
    if out == arguments.file {
        return Err(
            format!("{}: the results would be overwritten by the plot: give --out another", out.display()).into()
        );
    }
    if !arguments.force && out.exists() {
        return Err(results::exists(&out));
    }
    let svg = svg(&results.records, results.header.as_ref())?;
    fs::write(&out, svg).map_err(|error| format!("{}: {error}", out.display()))?;
    println!("{}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// The picture. Fails where nothing has a size.
pub(super) fn svg(records: &[Record], header: Option<&Header>) -> Result<String, Failure> {
    let lines = Lines::of(records).ok_or("no record has a block size, over which it could be drawn")?;
    draw::draw(&lines, header)
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::record;
    use super::*;

    /// Points, and texts, of a picture.
    fn parts(svg: &str) -> (usize, Vec<String>) {
        let texts = svg.split("<text").skip(1).filter_map(|text| {
            let text = text.split_once('>')?.1.split_once("</text>")?.0;
            Some(text.trim().to_owned())
        });
        // The legend has points of its own, in a size of its own.
        (svg.matches("<circle").count() - svg.matches(" r=\"3\"").count(), texts.collect())
    }

    #[test]
    fn both_panels_hold_every_point() {
        let grid = [4096, 16384, 65536].map(|size| [record(size, 1), record(size, 4)]).concat();
        let (points, texts) = parts(&svg(&grid, Some(&Header::now())).unwrap());
        // 6 cells: a rate and its limit, three percentiles and the limit's latency.
        assert_eq!(points, 6 * (2 + 4));
        for wanted in [
            "Bandwidth",
            "Latency of a transfer",
            "GB/s",
            "block size",
            "4 KiB",
            "64 KiB",
            "depth 1",
            "depth 4",
            "p50",
            "p99",
            "p99.9",
            "memcpy",
        ] {
            assert!(texts.iter().any(|text| text == wanted), "`{wanted}` is missing in {texts:?}");
        }
        assert!(texts.iter().any(|text| text.starts_with("write, shm, 1024 blocks, scattered")), "{texts:?}");
    }

    #[test]
    fn repeats_are_one_point_and_what_is_missing_is_none() {
        let (first, mut bare) = (record(4096, 1), record(65536, 1));
        assert_eq!(parts(&svg(&vec![first.clone(); 5], None).unwrap()).0, 6);
        (bare.limit, bare.limit_gb_per_s) = (None, None);
        assert_eq!(parts(&svg(&[bare.clone()], None).unwrap()).0, 4);
        // A message has a latency, and its rival's, but no rate. Nothing that is 0 has a place on a logarithmic axis.
        (bare.gb_per_s, bare.limit, bare.limit_p50_us) = (None, Some("socket".into()), Some(7.0));
        (bare.op, bare.blocks, bare.p50_us) = ("message".into(), 0, 0.0);
        let (points, texts) = parts(&svg(&[bare], None).unwrap());
        assert_eq!(points, 3);
        assert!(texts.iter().any(|text| text == "no rate: latencies only"), "{texts:?}");
        let count = Record { block_bytes: 0, ..first };
        assert!(svg(&[count], None).unwrap_err().to_string().contains("no record has a block size"));
    }

    #[test]
    fn what_is_left_out_is_said() {
        let deep: Vec<Record> = (1..=11).map(|depth| record(4096, depth)).collect();
        let (points, texts) = parts(&svg(&deep, None).unwrap());
        assert_eq!(points, 8 * 6);
        assert!(texts.iter().any(|text| text.contains("3 more")), "{texts:?}");
    }

    #[test]
    fn nothing_that_can_be_read_breaks_it() {
        let figures = [0.0, 1e-300, 1e-9, 1.0, 1e12];
        for size in [1, 3, 4096, u64::MAX] {
            for low in figures {
                for high in figures {
                    let mut one = record(size, u64::MAX);
                    (one.blocks, one.gb_per_s, one.p50_us, one.p999_us) = (u64::MAX, Some(low), low, high);
                    one.limit_gb_per_s = Some(high);
                    one.backend = "<&\"'>".into();
                    let svg = svg(&[one, record(1, 1)], None).unwrap();
                    assert!(svg.contains("&lt;&amp;") && !svg.contains("NaN") && !svg.contains("inf"));
                    // What has no place is drawn at the upper edge of its panel.
                    let points = svg.split("<circle ").skip(1).filter(|circle| circle.contains(" r=\"4\""));
                    for circle in points {
                        let place = |name: &str| {
                            let (_, rest) = circle.split_once(name).unwrap();
                            rest.split('"').nth(1).unwrap().parse::<u32>().unwrap()
                        };
                        let (x, y) = (place("cx="), place("cy="));
                        assert!((60..1100).contains(&x) && (94..=412).contains(&y), "{x}, {y}: {size} {low} {high}");
                    }
                }
            }
        }
    }
}
