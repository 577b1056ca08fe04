//! Medians, quantiles, and how far a median can be trusted.

/// The median; `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which the share `q` (0 to 1) lies, interpolated between neighbours; `None` of nothing.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let sorted = sorted(values);
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "as many values as were measured")]
    let at = q.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `last`")]
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * at.fract())
}

/// A median with an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The median and the interval between two order statistics that covers the true median with at least 95 %, from the
/// binomial distribution (David and Nagaraja, Order Statistics, section 7.1). Fewer than 6 values can't say that: then
/// it is their whole range.
#[must_use]
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let median = median(values)?;
    let sorted = sorted(values);
    let count = sorted.len();
    // P(fewer than `rank` of `count` lie below the median) for a growing rank, while it stays within 2.5 %. Each term is
    // `count` over `k`, times 2^-count: as logarithms, for the factors leave the range of an f64 beyond 1000 values.
    #[expect(clippy::cast_precision_loss, reason = "as many values as were measured")]
    let float = |number: usize| number as f64;
    let (mut term_ln, mut tail, mut rank) = (-float(count) * std::f64::consts::LN_2, 0.0, 0);
    while rank < count / 2 {
        tail += term_ln.exp();
        if tail > 0.025 {
            break;
        }
        term_ln += (float(count - rank) / float(rank + 1)).ln();
        rank += 1;
    }
    let outer = rank.saturating_sub(1);
    Some(Interval { median, low: sorted[outer], high: sorted[count - 1 - outer] })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.25), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 7.0), Some(10.0));
    }

    #[test]
    fn the_interval_is_the_tables() {
        // Order statistics for a 95 % interval of the median: n = 5 none, n = 6 first and last, n = 10 second and
        // ninth, n = 20 sixth and fifteenth.
        let ends = |count: u32| {
            let values: Vec<f64> = (1..=count).map(f64::from).collect();
            let interval = median_interval(&values).unwrap();
            (interval.low, interval.high)
        };
        assert_eq!(ends(5), (1.0, 5.0));
        assert_eq!(ends(6), (1.0, 6.0));
        assert_eq!(ends(10), (2.0, 9.0));
        assert_eq!(ends(20), (6.0, 15.0));
        // 1.96 standard deviations of the binomial each way, where the terms underflow.
        let (low, high) = ends(4000);
        assert!((low - (2000.0 - 0.98 * 4000_f64.sqrt())).abs() < 2.0, "{low}");
        assert_eq!(low + high, 4001.0);
        assert_eq!(median_interval(&[]), None);
    }
}
