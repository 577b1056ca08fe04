//! `PEGAFLOW_REQUIRE`: the backends whose absence is a failure and not a skip.

use std::env;

use crate::error::Error;

/// A backend by the name it has in `PEGAFLOW_REQUIRE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Shm,
    Rdma,
    Ucx,
}

impl Backend {
    const ALL: [Self; 3] = [Self::Shm, Self::Rdma, Self::Ucx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shm => "shm",
            Self::Rdma => "rdma",
            Self::Ucx => "ucx",
        }
    }
}

pub(crate) const VARIABLE: &str = "PEGAFLOW_REQUIRE";

/// The variable's value for tests that run where `backend` need not be, because it is tested elsewhere.
pub(crate) fn without(required: &[Backend], backend: Backend) -> String {
    let others = required.iter().filter(|other| **other != backend);
    others.map(|other| other.name()).collect::<Vec<_>>().join(",")
}

/// What the environment asks for; nothing when the variable is not set.
pub(crate) fn from_environment() -> Result<Vec<Backend>, Error> {
    match env::var_os(VARIABLE) {
        None => Ok(Vec::new()),
        // A value that is not UTF-8 keeps its replacement characters, and no backend's name has one.
        Some(value) => parse(&value.to_string_lossy()),
    }
}

/// Reads a comma-separated list. Blanks around a name and empty places are let pass; the empty value asks for nothing.
fn parse(value: &str) -> Result<Vec<Backend>, Error> {
    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let known = Backend::ALL.into_iter().find(|backend| backend.name() == name);
            known.ok_or_else(|| Error::UnknownRequirement {
                value: value.to_owned(),
                name: name.to_owned(),
                known: Backend::ALL.map(Backend::name).join(", "),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_order() {
        assert_eq!(parse("ucx,shm").unwrap(), [Backend::Ucx, Backend::Shm]);
        assert_eq!(parse(" rdma , ucx,").unwrap(), [Backend::Rdma, Backend::Ucx]);
    }

    #[test]
    fn empty_value_asks_for_nothing() {
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse(" , ").unwrap(), []);
    }

    #[test]
    fn what_is_tested_elsewhere_is_not_asked_for_here() {
        assert_eq!(without(&[Backend::Shm, Backend::Rdma, Backend::Ucx], Backend::Rdma), "shm,ucx");
        assert_eq!(without(&[Backend::Rdma], Backend::Rdma), "");
    }

    #[test]
    fn unknown_name_is_told_with_the_value_and_what_was_expected() {
        for (value, name) in [("shm,roce", "roce"), ("RDMA", "RDMA"), ("shm;ucx", "shm;ucx")] {
            let told = parse(value).unwrap_err().to_string();
            assert_eq!(
                told,
                format!(
                    "PEGAFLOW_REQUIRE={value:?}: unknown name {name:?}; expected a comma-separated list of: shm, rdma, ucx"
                )
            );
        }
    }
}
