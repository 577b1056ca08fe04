//! One figure of one cell: before, now, and whether they differ by more than chance.

use pegaflow_bench::{Record, stats};
use serde::Serialize;

use super::super::cells::{Cell, time};

/// Repeats that an interval needs. Whole ranges of n and n values of the same miss each other by chance in 2 of C(2n, n)
/// cases: one in 10 for 3, one in 35 for 4.
const REPEATS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Better,
    Worse,
    Noise,
    Unknown,
}

#[derive(Debug, Serialize)]
pub(super) struct Change {
    figure: &'static str,
    old: Option<f64>,
    new: Option<f64>,
    old_interval: Option<[f64; 2]>,
    new_interval: Option<[f64; 2]>,
    change_percent: Option<f64>,
    pub(super) verdict: Verdict,
    #[serde(skip)]
    show: fn(f64) -> String,
}

struct Figure {
    name: &'static str,
    more_is_better: bool,
    of: fn(&Record) -> Option<f64>,
    /// An interval that a single run brings.
    own_interval: fn(&Record) -> Option<[f64; 2]>,
    show: fn(f64) -> String,
}

const FIGURES: [Figure; 5] = [
    Figure {
        name: "gb_per_s",
        more_is_better: true,
        of: |record| record.gb_per_s,
        own_interval: |_| None,
        show: |rate| format!("{rate:.2}"),
    },
    Figure {
        name: "p50_us",
        more_is_better: false,
        of: |record| Some(record.p50_us),
        own_interval: |_| None,
        show: time,
    },
    Figure {
        name: "p99_us",
        more_is_better: false,
        of: |record| Some(record.p99_us),
        own_interval: |_| None,
        show: time,
    },
    Figure {
        name: "cpu_seconds_per_gb",
        more_is_better: false,
        of: |record| record.cpu_seconds_per_gb,
        own_interval: |_| None,
        show: |seconds| format!("{seconds:.3}"),
    },
    Figure {
        name: "share_of_limit",
        more_is_better: true,
        of: |record| record.share_of_limit,
        own_interval: |record| record.share_interval,
        show: |share| format!("{:.1} %", share * 100.0),
    },
];

/// Every figure that one of the two has; `errors` first, where there were any.
pub(super) fn changes(old: &Cell, new: &Cell) -> Vec<Change> {
    let figures = FIGURES.iter().filter_map(|figure| change(figure, old, new));
    errors(old, new).into_iter().chain(figures).collect()
}

fn change(figure: &Figure, old: &Cell, new: &Cell) -> Option<Change> {
    let (before, now) = (old.median(figure.of), new.median(figure.of));
    if before.is_none() && now.is_none() {
        return None;
    }
    let (old_interval, new_interval) = (interval(figure, old), interval(figure, new));
    let verdict = match (old_interval, new_interval) {
        (Some([_, high]), Some([low, _])) if high < low => judged(figure.more_is_better),
        (Some([low, _]), Some([_, high])) if high < low => judged(!figure.more_is_better),
        (Some(_), Some(_)) => Verdict::Noise,
        _ => Verdict::Unknown,
    };
    let percent = |(before, now): (f64, f64)| (before > 0.0).then(|| (now - before) / before * 100.0);
    Some(Change {
        figure: figure.name,
        old: before,
        new: now,
        old_interval,
        new_interval,
        change_percent: before.zip(now).and_then(percent),
        verdict,
        show: figure.show,
    })
}

const fn judged(better: bool) -> Verdict {
    if better { Verdict::Better } else { Verdict::Worse }
}

/// Of the median over repeats, where they are enough; else what the runs say themselves, all of it.
fn interval(figure: &Figure, cell: &Cell) -> Option<[f64; 2]> {
    let values = cell.values(figure.of);
    if values.len() >= REPEATS {
        return stats::median_interval(&values).map(|interval| [interval.low, interval.high]);
    }
    // A single round has no width, and is no interval.
    let own = cell.records.iter().map(|record| (figure.own_interval)(record).filter(|[low, high]| low < high));
    own.reduce(|all, one| all.zip(one).map(|([low, high], [lower, higher])| [low.min(lower), high.max(higher)]))?
}

/// Transfers that did not end done. The first is worse by itself; of more and fewer nobody can tell.
fn errors(old: &Cell, new: &Cell) -> Option<Change> {
    #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
    let count = |cell: &Cell| cell.records.iter().map(|record| record.errors as f64).sum::<f64>();
    let (before, now) = (count(old), count(new));
    let verdict = match (before > 0.0, now > 0.0) {
        (false, false) => return None,
        (false, true) => Verdict::Worse,
        (true, false) => Verdict::Better,
        (true, true) => Verdict::Unknown,
    };
    Some(Change {
        figure: "errors",
        old: Some(before),
        new: Some(now),
        old_interval: None,
        new_interval: None,
        change_percent: None,
        verdict,
        show: |count| format!("{count}"),
    })
}

impl Change {
    /// Figure, old, new, change, verdict, as a person reads them.
    pub(super) fn row(&self) -> Vec<String> {
        let none = || "-".to_owned();
        let verdict = match self.verdict {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Noise => "noise",
            Verdict::Unknown if self.old.is_none() => "only in B",
            Verdict::Unknown if self.new.is_none() => "only in A",
            Verdict::Unknown => "no interval: can't tell",
        };
        vec![
            self.figure.to_owned(),
            self.old.map_or_else(none, self.show),
            self.new.map_or_else(none, self.show),
            self.change_percent.map_or_else(none, |percent| format!("{percent:+.1} %")),
            verdict.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{cells::group, results::tests::record};
    use super::*;

    /// A cell whose repeats have these rates and latencies.
    fn cell(values: &[f64]) -> Cell {
        let records: Vec<Record> = values
            .iter()
            .map(|&value| Record {
                gb_per_s: Some(value),
                p50_us: value,
                share_of_limit: None,
                share_interval: None,
                ..record(4096, 1)
            })
            .collect();
        group(&records).remove(0)
    }

    fn share(intervals: &[Option<[f64; 2]>]) -> Cell {
        let share_interval = intervals.iter().map(|&share_interval| Record { share_interval, ..record(4096, 1) });
        group(&share_interval.collect::<Vec<_>>()).remove(0)
    }

    fn verdict(old: &Cell, new: &Cell, figure: &str) -> Verdict {
        changes(old, new).iter().find(|change| change.figure == figure).unwrap().verdict
    }

    #[test]
    fn repeats_that_do_not_meet_are_a_change() {
        let old = cell(&[10.0, 11.0, 12.0, 13.0]);
        for (values, rate, latency) in [
            ([14.0, 15.0, 16.0, 17.0], Verdict::Better, Verdict::Worse),
            ([6.0, 7.0, 8.0, 9.0], Verdict::Worse, Verdict::Better),
            ([13.0, 15.0, 16.0, 17.0], Verdict::Noise, Verdict::Noise),
            ([1.0, 11.0, 12.0, 90.0], Verdict::Noise, Verdict::Noise),
        ] {
            let new = cell(&values);
            assert_eq!(verdict(&old, &new, "gb_per_s"), rate, "{values:?}");
            assert_eq!(verdict(&old, &new, "p50_us"), latency, "{values:?}");
        }
        // From 10 repeats on, one value far off moves no end.
        let many: Vec<f64> = (20..30).map(f64::from).chain([1.0]).collect();
        assert_eq!(verdict(&old, &cell(&many), "gb_per_s"), Verdict::Better);
    }

    #[test]
    fn too_few_repeats_say_nothing() {
        let old = cell(&[10.0, 11.0, 12.0, 13.0]);
        for values in [&[99.0][..], &[99.0, 98.0], &[99.0, 98.0, 97.0]] {
            assert_eq!(verdict(&old, &cell(values), "gb_per_s"), Verdict::Unknown);
            assert_eq!(verdict(&cell(values), &old, "gb_per_s"), Verdict::Unknown);
        }
        let told = changes(&old, &cell(&[99.0])).remove(0).row();
        assert_eq!(told, ["gb_per_s", "11.50", "99.00", "+760.9 %", "no interval: can't tell"]);
    }

    #[test]
    fn a_share_brings_its_interval() {
        let old = share(&[Some([0.8, 0.9])]);
        for (interval, wanted) in [
            ([0.91, 0.95], Verdict::Better),
            ([0.7, 0.79], Verdict::Worse),
            ([0.9, 0.95], Verdict::Noise),
            // A single round.
            ([0.95, 0.95], Verdict::Unknown),
        ] {
            assert_eq!(verdict(&old, &share(&[Some(interval)]), "share_of_limit"), wanted, "{interval:?}");
        }
        assert_eq!(verdict(&old, &share(&[None]), "share_of_limit"), Verdict::Unknown);
        // Of a few repeats all that they say together; one that says nothing spoils it.
        let wide = share(&[Some([0.91, 0.95]), Some([0.89, 0.93])]);
        assert_eq!(verdict(&old, &wide, "share_of_limit"), Verdict::Noise);
        let spoilt = share(&[Some([0.91, 0.95]), None]);
        assert_eq!(verdict(&old, &spoilt, "share_of_limit"), Verdict::Unknown);
    }

    #[test]
    fn a_figure_of_one_side_is_shown_and_one_of_none_is_not() {
        let with = cell(&[10.0]);
        let mut without = cell(&[10.0]);
        without.records[0].cpu_seconds_per_gb = None;
        let row = |old, new| changes(old, new).into_iter().find(|change| change.figure == "cpu_seconds_per_gb");
        assert_eq!(row(&with, &without).unwrap().row()[1..], ["0.200", "-", "-", "only in A"]);
        assert_eq!(row(&without, &with).unwrap().row()[1..], ["-", "0.200", "-", "only in B"]);
        assert!(row(&without, &without).is_none());
        // From nothing there is no share of change.
        assert_eq!(changes(&cell(&[0.0]), &with)[0].change_percent, None);
    }

    #[test]
    fn the_first_error_is_worse_without_an_interval() {
        let (clean, mut broken) = (cell(&[10.0]), cell(&[10.0]));
        broken.records[0].errors = 2;
        assert_eq!(verdict(&clean, &broken, "errors"), Verdict::Worse);
        assert_eq!(verdict(&broken, &clean, "errors"), Verdict::Better);
        assert_eq!(verdict(&broken, &broken, "errors"), Verdict::Unknown);
        assert!(changes(&clean, &clean).iter().all(|change| change.figure != "errors"));
    }
}
