//! Names that the config file gives a meaning: backends, classes, roles, page sizes.

use std::fmt;
use std::str::FromStr;

use pegaflow_core::Class;
use serde::{Deserialize, Serialize};

use super::nearest::{Suggestion, nearest};

/// Declares an enum whose variants have fixed names, with `ALL`, `as_str`, `Display` and `FromStr`.
macro_rules! names {
    ($(#[$about:meta])* $name:ident, $what:literal, { $($(#[$variant_about:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        pub enum $name { $($(#[$variant_about])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Every one there is, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Name as written in the config file.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| UnknownName {
                    what: $what,
                    found: text.to_owned(),
                    known: vec![$($text,)+],
                })
            }
        }
    };
}

names! {
    /// Transport by name. Knowing the name says nothing about whether this program was built with it.
    #[derive(Default)]
    BackendName, "backend", {
        /// Shared memory, two processes of one host.
        #[default]
        Shm = "shm",
        /// InfiniBand and RoCE by ibverbs.
        Rdma = "rdma",
        /// What UCX reaches.
        Ucx = "ucx",
    }
}

names! {
    /// Class of traffic: each has its own lanes and bounds.
    ClassName, "class", {
        /// KV cache blocks, prefill to decode.
        Kv = "kv",
        /// Weights and other large pushes.
        Bulk = "bulk",
        /// Activations, stage to stage: small, steady, latency-bound.
        Activation = "activation",
    }
}

names! {
    /// What a node does in the deployment.
    Role, "role", {
        /// Fills KV caches.
        Prefill = "prefill",
        /// Decodes from filled KV caches.
        Decode = "decode",
        /// Makes new weights.
        Trainer = "trainer",
        /// Serves with weights that it is sent.
        Replica = "replica",
        /// Holds some of a model's layers and passes activations on.
        Stage = "stage",
    }
}

names! {
    /// Page size of memory that Pegaflow allocates.
    #[derive(Default)]
    Page, "page size", {
        /// The system's base page, 4 KiB on most.
        #[default]
        Base = "base",
        /// Huge pages of 2 MiB; the host must have reserved some.
        Huge2Mib = "2MiB",
        /// Huge pages of 1 GiB; the host must have reserved some.
        Huge1Gib = "1GiB",
    }
}

impl ClassName {
    /// The class in core that has this name.
    pub(crate) const fn class(self) -> Class {
        match self {
            Self::Kv => Class::Kv,
            Self::Bulk => Class::Bulk,
            Self::Activation => Class::Activation,
        }
    }
}

/// A name that is none of those known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{found}`{}; known: {}", Suggestion(nearest(found, known.iter().copied())), known.join(", "))]
pub struct UnknownName {
    /// What kind of name was expected, such as `backend`.
    pub what: &'static str,
    /// Name that was given.
    pub found: String,
    /// Names that exist.
    pub known: Vec<&'static str>,
}

/// Tells whether `name` can name a node: 1 to 64 of `a-z`, `0-9` and `-`.
pub(crate) fn is_node_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for backend in BackendName::ALL {
            assert_eq!(backend.as_str().parse(), Ok(*backend));
        }
        for page in Page::ALL {
            assert_eq!(page.to_string().parse(), Ok(*page));
        }
        assert_eq!(
            "rmda".parse::<BackendName>().unwrap_err().to_string(),
            "unknown backend `rmda`; did you mean `rdma`?; known: shm, rdma, ucx"
        );
    }

    #[test]
    fn node_names_are_bounded() {
        assert!(is_node_name("prefill-0"));
        assert!(is_node_name(&"a".repeat(64)));
        for bad in ["", "Prefill", "a_b", "a.b", "é", &"a".repeat(65)] {
            assert!(!is_node_name(bad), "{bad}");
        }
    }
}
