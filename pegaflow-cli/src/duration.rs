//! Durations on the command line: `2ms`, `500us`, `1.5s`.

use std::time::Duration;

/// A number and its unit.
///
/// # Errors
/// Says what was expected, for clap to show beside the value.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and its unit, us, ms or s, such as 500us or 2ms".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit.trim_start() {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_its_unit() {
        for (text, nanos) in [("500us", 500_000), ("2ms", 2_000_000), ("1.5 s", 1_500_000_000), ("0.25µs", 250)] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "2", "ms", "-2ms", "2min", "1.2.3ms", "1e3ms", "99999999999999999999999s", "."] {
            assert!(parse(text).unwrap_err().contains("such as 500us or 2ms"), "{text}");
        }
    }
}
