//! Where a value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A key with its effective value and where that came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Path of the key, such as `transport.shm.copy_chunk_bytes` or `channel[0].from`.
    pub key: String,
    /// Value as text, without quotes; sizes in the largest binary unit that divides them.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
}

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody: the default.
    Default,
    /// The config file.
    File(Location),
    /// The command line.
    CommandLine,
    /// The program itself, by changing a field.
    Program,
}

/// A place in a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// File, as it was named when it was loaded.
    pub path: Arc<Path>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value, self.origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(location) => write!(f, "{}:{}", location.path.display(), location.line),
            Self::CommandLine => f.write_str("command line"),
            Self::Program => f.write_str("set by the program"),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// Who set what. A value changed behind its back is recognised because the text set is kept beside who set it.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    set: BTreeMap<String, (String, Origin)>,
    /// Where the sections of arrays begin in the file, by path; an empty array stands here itself.
    sections: BTreeMap<String, Location>,
}

/// Two configs are equal when their values are, wherever those came from.
impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origins {}

impl Origins {
    pub(super) fn record(&mut self, key: String, value: String, origin: Origin) {
        self.set.insert(key, (value, origin));
    }

    pub(super) fn record_sections(&mut self, sections: BTreeMap<String, Location>) {
        self.sections = sections;
    }

    /// Who made the section at `path`, one of an array.
    pub(super) fn section(&self, path: &str) -> Origin {
        self.sections.get(path).map_or(Origin::Program, |location| Origin::File(location.clone()))
    }

    /// Who set `key`, whose value is now `value` and would be `default` if nobody had.
    pub(super) fn of(&self, key: &str, value: &str, default: Option<&str>) -> Origin {
        match self.set.get(key) {
            Some((set, origin)) if set == value => origin.clone(),
            None if default == Some(value) => Origin::Default,
            Some(_) | None => Origin::Program,
        }
    }
}
