//! The list of cases, and what becomes of it where the backend is not there.

use libtest_mimic::{Completion, Failed, Trial};

use crate::{
    Backend,
    cases::{CASES, Case},
    pair::Context,
    placement::Placement,
};

/// Whether a case can be run here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Presence {
    Here,
    /// The case is shown as ignored, with the reason.
    Absent(String),
    /// The case fails with the reason: the backend was asked for.
    Missing(String),
}

fn presence(name: &str, opened: Result<(), String>, require: &str) -> Presence {
    let required = require.split(',').any(|one| one.trim() == name);
    match opened {
        Ok(()) => Presence::Here,
        Err(why) if required => Presence::Missing(format!("PEGAFLOW_REQUIRE names `{name}`, and it can't open: {why}")),
        Err(why) => Presence::Absent(why),
    }
}

pub(crate) fn trials(backend: Backend, require: &str) -> Vec<Trial> {
    let opened = (backend.open)().map(drop).map_err(|error| error.to_string());
    let presence = presence(backend.name, opened, require);
    let placed = |case: &'static Case| case.places().iter().map(move |&place| (case, place));
    CASES
        .iter()
        .copied()
        .flatten()
        .flat_map(placed)
        .map(|(case, place)| trial(backend, case, place, &presence))
        .collect()
}

fn trial(backend: Backend, case: &'static Case, placement: Placement, presence: &Presence) -> Trial {
    let name = format!("{}::{}::{}", backend.name, placement.name(), case.name);
    let presence = match (placement, backend.one_process) {
        // A backend that is asked for is not asked for what it does not do.
        (Placement::TwoProcesses, Some(why)) => Presence::Absent(why.to_owned()),
        _ => presence.clone(),
    };
    let run = {
        let presence = presence.clone();
        move || match &presence {
            Presence::Here => {
                (case.run)(&Context { backend, placement });
                Ok(Completion::Completed)
            }
            Presence::Absent(why) => Ok(Completion::ignored_with(why)),
            Presence::Missing(why) => Err(Failed::from(why)),
        }
    };
    let trial = Trial::ignorable_test(name, run);
    match &presence {
        Presence::Absent(why) => trial.with_kind(why.replace('\n', " ")).with_ignored_flag(true),
        _ => trial,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pegaflow_core::BackendError;

    use super::*;

    const ABSENT: Backend = Backend::new("none", || Err(BackendError::new("none", "no device `x0`")));

    #[test]
    fn a_backend_that_is_not_there_is_ignored_with_its_reason() {
        let list = trials(ABSENT, "");
        assert!(!list.is_empty());
        for trial in list {
            assert!(trial.has_ignored_flag());
            assert_eq!(trial.kind(), "backend `none`: no device `x0`");
        }
    }

    #[test]
    fn a_backend_that_is_asked_for_and_not_there_fails() {
        for trial in trials(ABSENT, "other, none") {
            assert!(!trial.has_ignored_flag());
        }
        let why = "PEGAFLOW_REQUIRE names `none`, and it can't open: gone";
        let asked = presence("none", Err("gone".to_owned()), "none");
        assert_eq!(asked, Presence::Missing(why.to_owned()));
    }

    #[test]
    fn a_backend_of_one_process_shows_the_other_cases_as_ignored() {
        let near = trials(ABSENT.in_one_process_only("both ends share one address space"), "none");
        assert_eq!(near.len(), trials(ABSENT, "none").len(), "none is dropped");
        for trial in near {
            let apart = trial.name().contains("::two_processes::");
            assert_eq!(trial.has_ignored_flag(), apart, "{}", trial.name());
            assert_eq!(trial.kind(), if apart { "both ends share one address space" } else { "" });
        }
    }

    #[test]
    fn only_the_name_itself_counts() {
        for require in ["", "nonesuch", "no", "shm,rdma", "none2"] {
            let found = presence("none", Err("gone".to_owned()), require);
            assert_eq!(found, Presence::Absent("gone".to_owned()), "{require}");
        }
        assert_eq!(presence("none", Ok(()), "none"), Presence::Here);
    }

    #[test]
    fn no_two_cases_have_one_name() {
        let list = trials(ABSENT, "");
        let names: HashSet<_> = list.iter().map(Trial::name).collect();
        assert_eq!(names.len(), list.len());
    }
}
