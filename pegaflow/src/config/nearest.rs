//! The known name that looks most like a mistyped one.

use std::fmt;

/// The candidate that is few enough edits away from `name` to be what was meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<Box<str>> {
    // A third of the letters wrong is a slip; more is another word. A name that goes on after `name` is a slip too:
    // a forgotten unit (`spin` for `spin_us`).
    let tolerated = (name.chars().count() / 3).max(1);
    candidates
        .map(|candidate| {
            let forgot_the_end = name.len() >= 3 && candidate.starts_with(name);
            (if forgot_the_end { 1 } else { edits(name, candidate) }, candidate)
        })
        .filter(|(edits, _)| *edits <= tolerated)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate.into())
}

/// Shows `; did you mean ...?` when there is something to suggest.
pub(super) struct Suggestion<T>(pub(super) Option<T>);

impl<T: fmt::Display> fmt::Display for Suggestion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |name| write!(f, "; did you mean `{name}`?"))
    }
}

/// Letters to insert, remove, replace or swap with their neighbour to get from `left` to `right`
/// (the "optimal string alignment" distance).
fn edits(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for i in 0..left.len() {
        let mut row = vec![i + 1];
        for j in 0..right.len() {
            let replace = last[j] + usize::from(left[i] != right[j]);
            let mut least = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && left[i] == right[j - 1] && left[i - 1] == right[j] {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (left, right, expected) in
            [("", "abc", 3), ("abc", "abc", 0), ("rmda", "rdma", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edits(left, right), expected, "{left} {right}");
            assert_eq!(edits(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn suggests_slips_and_nothing_else() {
        let known = ["transfers", "blocks", "messages", "message_bytes", "spin_us", "kv"];
        let suggest = |name| nearest(name, known.into_iter());
        assert_eq!(suggest("transfer").as_deref(), Some("transfers"));
        assert_eq!(suggest("spin").as_deref(), Some("spin_us"));
        assert_eq!(suggest("message-bytes").as_deref(), Some("message_bytes"));
        assert_eq!(suggest("depth"), None);
        assert_eq!(suggest("xy"), None);
    }
}
