//! The list of cases, and what becomes of it where the backend is not there.

use std::collections::BTreeSet;

use libtest_mimic::{Completion, Failed, Trial};
use pegaflow_core::Meets;

use crate::{
    Backend, cable,
    cases::{
        CASES, Case,
        weather::{self, WEATHERS},
    },
    far,
    pair::Context,
    placement::Placement,
};

/// Names the themes whose cases alone are listed.
const THEMES: &str = "PEGAFLOW_THEMES";

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

/// What the environment asks of the list.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Backends that must be there, by comma.
    require: String,
    /// The themes to list, by comma; all where it is not said.
    themes: Option<String>,
    /// Whether agents are served on another host.
    two_hosts: bool,
    /// Whether the cable to it may be harmed.
    harm: bool,
}

impl Wish {
    pub(crate) fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok();
        Self {
            require: variable("PEGAFLOW_REQUIRE").unwrap_or_default(),
            themes: variable(THEMES),
            two_hosts: variable(far::AGENTS).is_some(),
            harm: variable(cable::CABLE).is_some(),
        }
    }

    /// Heals the cable that may be harmed, which a run that was killed may have left harmed: told before any case fails
    /// for it where that can't be.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        if self.two_hosts && self.harm { cable::befall(&cable::Fault::None) } else { Ok(()) }
    }

    /// Which themes are asked for.
    fn themes(&self) -> Result<impl Fn(&str) -> bool, String> {
        let wanted = self.themes.as_ref().map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
        let known: BTreeSet<_> = all().map(Case::theme).chain(WEATHERS.iter().map(|weather| weather.name)).collect();
        match wanted.iter().flatten().find(|theme| !known.contains(*theme)) {
            Some(theme) => Err(format!("{THEMES} names `{theme}`: expected some of {known:?}, by comma")),
            None => Ok(move |theme: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(&theme))),
        }
    }
}

fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().copied().flatten()
}

pub(crate) fn trials(backend: Backend, wish: &Wish) -> Result<Vec<Trial>, String> {
    let wanted = wish.themes()?;
    let opened = (backend.open)();
    let meets = opened.as_ref().map(|domain| domain.capabilities().meets).ok();
    let presence = presence(backend.name, opened.map(drop).map_err(|error| error.to_string()), &wish.require);
    let placed = |case: &'static Case| case.places().iter().map(move |&place| (case, place));
    let listed = |case: &Case, place| place != Placement::TwoHosts || wish.two_hosts && (wish.harm || !case.harms);
    let mut trials: Vec<_> = all()
        .filter(|case| wanted(case.theme()))
        .flat_map(placed)
        .filter(|&(case, place)| listed(case, place))
        .map(|(case, place)| {
            let name = format!("{}::{}::{}", backend.name, place.name(), case.name);
            let context = Context::new(backend, place);
            trial(name, move || (case.run)(&context), &at(backend, place, meets, &presence))
        })
        .collect();
    let place = Placement::TwoHosts;
    for weather in WEATHERS.iter().filter(|weather| wish.two_hosts && wish.harm && wanted(weather.name)) {
        trials.extend(weather::held().map(|case| {
            let name = format!("{}::{}::{}::{}", backend.name, place.name(), weather.name, case.name);
            let context = Context::new(backend, place);
            trial(name, move || weather.run(case, &context), &at(backend, place, meets, &presence))
        }));
    }
    Ok(trials)
}

/// Whether a case can be run with its peer at this place. A backend that is asked for is not asked for what it does not
/// do.
fn at(backend: Backend, place: Placement, meets: Option<Meets>, presence: &Presence) -> Presence {
    match (place, backend.one_process, meets) {
        (Placement::TwoProcesses | Placement::TwoHosts, Some(why), _) => Presence::Absent(why.to_owned()),
        (Placement::TwoHosts, None, Some(Meets::OneHost)) => {
            Presence::Absent("its nodes meet on one host: see `Capabilities::meets`".to_owned())
        }
        _ => presence.clone(),
    }
}

fn trial(name: String, run: impl Fn() + Send + 'static, presence: &Presence) -> Trial {
    let run = {
        let presence = presence.clone();
        move || match &presence {
            Presence::Here => {
                run();
                Ok(Completion::Completed)
            }
            Presence::Absent(why) => Ok(Completion::ignored_with(why)),
            Presence::Missing(why) => Err(Failed::from(why)),
        }
    };
    let trial = Trial::ignorable_test(name, run);
    match presence {
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

    fn requiring(require: &str) -> Wish {
        Wish { require: require.to_owned(), ..Wish::default() }
    }

    fn list(backend: Backend, wish: &Wish) -> Vec<Trial> {
        trials(backend, wish).expect("themes that are there")
    }

    #[test]
    fn a_backend_that_is_not_there_is_ignored_with_its_reason() {
        let list = list(ABSENT, &Wish::default());
        assert!(!list.is_empty());
        for trial in list {
            assert!(trial.has_ignored_flag());
            assert_eq!(trial.kind(), "backend `none`: no device `x0`");
        }
    }

    #[test]
    fn a_backend_that_is_asked_for_and_not_there_fails() {
        for trial in list(ABSENT, &requiring("other, none")) {
            assert!(!trial.has_ignored_flag());
        }
        let why = "PEGAFLOW_REQUIRE names `none`, and it can't open: gone";
        let asked = presence("none", Err("gone".to_owned()), "none");
        assert_eq!(asked, Presence::Missing(why.to_owned()));
    }

    #[test]
    fn a_backend_of_one_process_shows_the_other_cases_as_ignored() {
        let wish = Wish { two_hosts: true, ..requiring("none") };
        let near = list(ABSENT.in_one_process_only("both ends share one address space"), &wish);
        assert_eq!(near.len(), list(ABSENT, &wish).len(), "none is dropped");
        for trial in near {
            let apart = ["::two_processes::", "::two_hosts::"].iter().any(|place| trial.name().contains(place));
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
        let list = list(ABSENT, &Wish { two_hosts: true, harm: true, ..Wish::default() });
        let names: HashSet<_> = list.iter().map(Trial::name).collect();
        assert_eq!(names.len(), list.len());
    }

    #[test]
    fn two_hosts_are_listed_where_agents_are_served_and_nowhere_else() {
        let apart = |wish: &Wish| list(ABSENT, wish).iter().filter(|one| one.name().contains("::two_hosts::")).count();
        assert_eq!(apart(&Wish::default()), 0);
        let wish = Wish { two_hosts: true, ..Wish::default() };
        let (harming, expected): (Vec<_>, Vec<_>) =
            all().filter(|case| case.places().contains(&Placement::TwoHosts)).partition(|case| case.harms);
        assert!(!expected.is_empty() && !harming.is_empty());
        assert_eq!(apart(&wish), expected.len());
        // And where the cable may be harmed: those that harm it, and those that are run again in every weather.
        let again = WEATHERS.len() * weather::held().count();
        assert_eq!(apart(&Wish { harm: true, ..wish }), expected.len() + harming.len() + again);
        assert_eq!(apart(&Wish { harm: true, ..Wish::default() }), 0);
    }

    #[test]
    fn two_hosts_are_not_for_a_backend_that_meets_on_one() {
        let place = Placement::TwoHosts;
        for (meets, here) in [(Some(Meets::OneHost), false), (Some(Meets::AnyHost), true), (None, true)] {
            let presence = at(ABSENT, place, meets, &Presence::Here);
            assert_eq!(presence == Presence::Here, here, "{meets:?}: {presence:?}");
        }
        assert_eq!(at(ABSENT, Placement::TwoProcesses, Some(Meets::OneHost), &Presence::Here), Presence::Here);
    }

    #[test]
    fn themes_share_the_cases_out() {
        let whole = Wish { two_hosts: true, harm: true, ..Wish::default() };
        let themed = |text: &str| {
            trials(ABSENT, &Wish { themes: Some(text.to_owned()), two_hosts: true, harm: true, ..Wish::default() })
        };
        let mut themes: BTreeSet<_> = all().map(Case::theme).collect();
        themes.extend(WEATHERS.iter().map(|weather| weather.name));
        let of = |theme: &&str| themed(theme).expect("one of them").len();
        assert!(themes.contains("sizes") && themes.iter().all(|theme| of(theme) > 0), "{themes:?}");
        assert_eq!(themes.iter().map(of).sum::<usize>(), list(ABSENT, &whole).len());
        assert_eq!(themed("sizes, ends").expect("both").len(), of(&"sizes") + of(&"ends"));
        let why = themed("sizes,size").expect_err("none is named so");
        assert!(why.starts_with("PEGAFLOW_THEMES names `size`: expected some of {\"aborting\", "), "{why}");
    }
}
