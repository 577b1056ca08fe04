//! One case by its name: how a backend that is broken on purpose is shown red.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    Backend,
    agent::text_of,
    cases::{CASES, Case},
    pair::Context,
    placement::Placement,
    sys,
};

/// Runs one case with its peer as a thread of this process; what its panic said comes back as the error.
///
/// # Errors
/// The case does not hold, no case has that name, it is one whose peer is another process, or the backend can't open.
pub fn holds(backend: Backend, case: &str) -> Result<(), String> {
    let case = find(case)?;
    let placement = Placement::OneProcess;
    if !case.places().contains(&placement) {
        return Err(format!("`{}` stops or kills its peer, which is a process of its own", case.name));
    }
    (backend.open)().map_err(|error| error.to_string())?;
    sys::raise_descriptor_limit();
    catch_unwind(AssertUnwindSafe(|| (case.run)(&Context::new(backend, placement)))).map_err(|panic| text_of(&*panic))
}

fn find(name: &str) -> Result<&'static Case, String> {
    let all = || CASES.iter().copied().flatten();
    all().find(|case| case.name == name).ok_or_else(|| {
        let mut near: Vec<_> = all().map(|case| (distance(case.name, name), case.name)).collect();
        near.sort_unstable();
        let near: Vec<_> = near.iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
        format!("no case is named `{name}`; near it are {}", near.join(", "))
    })
}

/// The fewest characters to insert, drop or change that make one name of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (to, wanted) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(byte != wanted);
            diagonal = row[to + 1];
            row[to + 1] = changed.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use pegaflow_core::BackendError;

    use super::*;

    const ABSENT: Backend = Backend::new("none", || Err(BackendError::new("none", "no device `x0`")));

    #[test]
    fn a_name_that_is_unknown_is_told_with_those_near_it() {
        let said = holds(ABSENT, "counter_before_data").unwrap_err();
        assert!(
            said.starts_with("no case is named `counter_before_data`; near it are `counter_after_data`, "),
            "{said}"
        );
    }

    #[test]
    fn what_can_not_be_run_holds_not() {
        assert_eq!(holds(ABSENT, "one_byte").unwrap_err(), "backend `none`: no device `x0`");
        assert!(holds(ABSENT, "peer_killed_while_idle").unwrap_err().contains("a process of its own"));
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (one, other, expected) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0)] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
