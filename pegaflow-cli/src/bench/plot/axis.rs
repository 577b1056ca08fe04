//! Axes: from where to where, and which marks. Logarithmic ones are linear in the logarithm.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::machine::human;

/// Marks at most; sizes beyond it are marked by powers of two.
const MOST_SIZES: usize = 10;

/// From where to where, and what is marked, with which word.
#[derive(Debug)]
pub(super) struct Axis {
    range: Range<f64>,
    marks: Vec<f64>,
    word: fn(f64) -> String,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        #[expect(clippy::cast_possible_truncation, reason = "pixels; what lies far outside saturates")]
        let place = (f64::from(from) + f64::from(to - from) * share).round() as i32;
        place
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        (self.word)(*place)
    }
}

/// Block sizes as powers of two.
#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
pub(super) fn sizes(sizes: &[u64]) -> Axis {
    let places: Vec<f64> = sizes.iter().map(|&size| (size as f64).log2()).collect();
    let (low, high) = ends(&places);
    let margin = ((high - low) * 0.04).max(0.3);
    let range = low - margin..high + margin;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the logarithm of a u64; it saturates")]
    let word = |place: f64| human(place.exp2().round() as u64);
    if places.len() <= MOST_SIZES {
        return Axis { range, marks: places, word };
    }
    let step = ((high - low) / 8.0).ceil().max(1.0);
    let marks = (0..=8).map(|at| low.ceil() + f64::from(at) * step).filter(|mark| *mark <= high).collect();
    Axis { range, marks, word }
}

/// From 0 to above the largest, in round steps.
pub(super) fn linear(values: impl Iterator<Item = f64>) -> Axis {
    let high = values.fold(0.0, f64::max);
    // Of nothing at all an axis too.
    let high = if high > 1e-9 { high * 1.06 } else { 1.0 };
    let decade = 10_f64.powf((high / 8.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade).into_iter().find(|step| high / step <= 8.0);
    let step = step.unwrap_or(high);
    let marks = (0..=8).map(|at| f64::from(at) * step).filter(|mark| *mark <= high).collect();
    Axis { range: 0.0..high, marks, word: number }
}

/// Logarithms of times in microseconds, marked by decades, or by 1, 2 and 5 of each where there are few.
pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Axis {
    let places: Vec<f64> = values.map(f64::log10).collect();
    let (low, high) = if places.is_empty() { (0.0, 1.0) } else { ends(&places) };
    // Wide enough for two marks, whatever it holds.
    let margin = ((high - low) * 0.05).max(if high - low < 0.7 { 0.4 } else { 0.1 });
    let range = low - margin..high + margin;
    let width = range.end - range.start;
    let steps: &[f64] = if width <= 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = if width <= 10.0 { 1 } else { 3 };
    let decades = (-18..=21).filter(|decade| decade % every == 0);
    let marks = decades.flat_map(|decade| steps.iter().map(move |step| f64::from(decade) + step.log10()));
    let marks = marks.filter(|mark| range.contains(mark)).collect();
    Axis { range, marks, word: |place| time(10_f64.powf(place)) }
}

fn ends(places: &[f64]) -> (f64, f64) {
    places.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &place| (low.min(place), high.max(place)))
}

/// A number with no more digits than it needs; very large and small ones as powers.
fn number(value: f64) -> String {
    if value != 0.0 && !(9.9e-4..9.9e6).contains(&value.abs()) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time in the unit that makes its number the shortest.
fn time(micros: f64) -> String {
    // A mark that is 10^3 but for its last bits is one of the next unit.
    match micros * 1.001 {
        nanos if nanos < 1.0 => number(micros * 1e3) + " ns",
        few if few < 1e3 => number(micros) + " µs",
        some if some < 1e6 => number(micros / 1e3) + " ms",
        _ => number(micros / 1e6) + " s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        assert_eq!(linear([3.0, 11.4].into_iter()).marks, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(linear([0.37].into_iter()).marks.len(), 8);
        assert_eq!(linear(std::iter::empty()).range, 0.0..1.0);
        assert_eq!(sizes(&[4096, 16384]).marks, [12.0, 14.0]);
        let many: Vec<u64> = (0..=40).map(|power| 1 << power).collect();
        assert_eq!(sizes(&many).marks, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]);
        let values = |figures: &[f64]| {
            let axis = logarithmic(figures.iter().copied());
            axis.marks.iter().map(|mark| axis.format_ext(mark)).collect::<Vec<_>>()
        };
        assert_eq!(values(&[30.0, 400.0]), ["50 µs", "100 µs", "200 µs", "500 µs"]);
        assert_eq!(values(&[3.0, 40_000.0]), ["10 µs", "100 µs", "1 ms", "10 ms"]);
        assert_eq!(values(&[0.3, 4e6]), ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!(values(&[0.03]), ["20 ns", "50 ns"]);
        // However little there is, two marks say how it runs.
        for step in 0..100 {
            let one = 10_f64.powf(f64::from(step) / 100.0);
            assert!(values(&[one]).len() >= 2, "{one}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (12.0, "12"), (0.05, "0.05"), (2.5, "2.5"), (1e9, "1e9"), (2e-5, "2e-5")] {
            assert_eq!(number(value), text);
        }
    }
}
