//! Reads what valgrind's callgrind writes (format: valgrind's manual, "Callgrind Format Specification").

use std::collections::BTreeMap;

use crate::error::Error;

/// Instructions of one run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) total: u64,
    /// By function: its own, without those of the functions that it calls.
    pub(super) own: BTreeMap<String, u64>,
}

impl Profile {
    /// Reads a profile that counts instructions alone. What the functions have must be the total: then nothing was
    /// skipped and nothing read twice.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let unreadable = |why: String| Error::Unreadable { what: "the profile of callgrind".to_owned(), why };
        let (mut names, mut own) = (BTreeMap::<&str, &str>::new(), BTreeMap::<&str, u64>::new());
        let (mut current, mut total, mut is_call) = ("", None, false);
        for (number, line) in (1_u64..).zip(text.lines()) {
            let (key, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
            match key {
                "events" if value.trim() != "Ir" => {
                    return Err(unreadable(format!("line {number} has events {value:?}, expected Ir alone")));
                }
                "fn" | "cfn" => {
                    // "(7) name" the first time, then "(7)".
                    let (id, name) = value.split_once(' ').unwrap_or((value, ""));
                    if !name.is_empty() {
                        names.insert(id, name);
                    }
                    if key == "fn" {
                        current = id;
                    }
                }
                "calls" => is_call = true,
                // At the top of each part, and of the whole at the end.
                "totals" => total = value.trim().parse().ok(),
                "summary" if total.is_none() => total = value.trim().parse().ok(),
                // What was spent inside the call, which is not the caller's own.
                _ if is_cost(line) && is_call => is_call = false,
                _ if is_cost(line) => {
                    let cost = line.split_whitespace().nth(1).map_or(Ok(0), str::parse::<u64>);
                    let cost = cost.map_err(|why| unreadable(format!("line {number}, {line:?}: {why}")))?;
                    *own.entry(current).or_default() += cost;
                }
                _ => {}
            }
        }
        let total = total.ok_or_else(|| unreadable("it has no totals".to_owned()))?;
        let summed: u64 = own.values().sum();
        if summed != total {
            return Err(unreadable(format!("its functions have {summed} instructions, its total is {total}")));
        }
        let mut by_name = BTreeMap::new();
        for (id, cost) in own {
            *by_name.entry(names.get(id).copied().unwrap_or(id).to_owned()).or_default() += cost;
        }
        Ok(Self { total, own: by_name })
    }
}

/// "LINE COST", the line as a number, as a distance from the last one, or as `*` for the same.
fn is_cost(line: &str) -> bool {
    line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# callgrind format
version: 1
creator: callgrind-3.19.0
cmd: per_block ours 2
positions: line
events: Ir
summary: 111

ob=(2) /t/per_block
fl=(5) lib.rs
fn=(9) post
0 40
fi=(6) other.rs
+3 2
fe=(5)
cfn=(10) poll::<()>
calls=3 0
0 60
* 1

fn=(10)
0 58
fn=(11) drop
0 10
*
totals: 111
";

    #[test]
    fn a_call_counts_for_the_function_that_is_called() {
        let profile = Profile::parse(TEXT).unwrap();
        assert_eq!(profile.total, 111);
        let own: Vec<(&str, u64)> = profile.own.iter().map(|(name, cost)| (name.as_str(), *cost)).collect();
        assert_eq!(own, [("drop", 10), ("poll::<()>", 58), ("post", 43)]);
    }

    #[test]
    fn what_does_not_add_up_is_told() {
        for (from, to, told) in [
            ("totals: 111", "totals: 112", "have 111 instructions, its total is 112"),
            ("events: Ir", "events: Ir Dr", "\" Ir Dr\", expected Ir alone"),
            ("+3 2", "+3 two", "line 14"),
            ("calls=3 0\n", "", "have 171"),
        ] {
            let error = Profile::parse(&TEXT.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(told), "{to}: {error}");
        }
        let error = Profile::parse("events: Ir\n").unwrap_err().to_string();
        assert!(error.ends_with("it has no totals"), "{error}");
    }
}
