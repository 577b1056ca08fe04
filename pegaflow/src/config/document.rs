//! Reading a document: serde gives the values, the spanned tree beside it gives the places.
//!
//! The tree is walked first, so unknown and missing keys are found with their paths; what serde then refuses can only
//! be the value of a known key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{NODE_NAME, check};
use super::listing::{ANY_NODE, entries, pattern, sample};
use super::nearest::nearest;
use super::origin::Origins;
use super::{Config, ConfigError, Location, Origin, is_node_name};

/// Reads and checks `text`, which is the content of `path`.
pub(super) fn read(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let source = Source { text, path: path.into() };
    let tree = DeTable::parse(text).map_err(|error| source.not_toml(&error))?;
    let schema = Schema::new();
    let mut walk = Walk { source: &source, schema: &schema, values: BTreeMap::new(), sections: BTreeMap::new() };
    walk.table(&Place::ROOT, tree.get_ref())?;
    let Walk { values, sections, .. } = walk;

    let mut config = Config::deserialize(toml::de::Deserializer::from(tree))
        .map_err(|error| wrong_value(&source, &schema, &values, &error))?;
    let mut origins = Origins::default();
    for entry in entries(&config) {
        if let Some(value) = values.get(&entry.key) {
            origins.record(entry.key, entry.value, Origin::File(source.location(value.span.start)));
        }
    }
    origins.record_sections(sections);
    config.origins = origins;
    check(&config)?;
    Ok(config)
}

/// A value in the file: the pattern of its key, and the bytes it takes.
struct Written {
    pattern: String,
    span: Range<usize>,
}

/// What serde refused, said with the key and what is expected of it.
fn wrong_value(
    source: &Source<'_>,
    schema: &Schema,
    values: &BTreeMap<String, Written>,
    error: &toml::de::Error,
) -> ConfigError {
    let at = error.span().unwrap_or(0..0);
    let Some((key, value)) = values.iter().find(|(_, value)| value.span.contains(&at.start)) else {
        return source.not_toml(error);
    };
    let mut expected = schema.keys.get(&value.pattern).cloned().unwrap_or_default();
    // serde's own sentences name Rust types; ours say what is wrong with the text.
    let said = error.message();
    if !["invalid type", "invalid value", "unknown variant"].iter().any(|own| said.starts_with(own)) {
        expected = format!("{expected} ({said})");
    }
    let (at, found) = (Origin::File(source.location(value.span.start)), source.excerpt(&value.span));
    ConfigError::Value { at, key: key.clone(), found, expected }
}

/// The keys and sections there can be, as patterns: `node.*.listen`, `channel.from`.
#[derive(Default)]
struct Schema {
    /// Keys, with what is expected of their values.
    keys: BTreeMap<String, String>,
    /// In each section, what can stand in it, in the documentation's order.
    sections: BTreeMap<String, Vec<String>>,
    /// Sections that there can be several of, each begun by `[[...]]`.
    arrays: BTreeSet<String>,
    /// Keys without a default: a section that can have one must have it.
    required: BTreeSet<String>,
}

impl Schema {
    fn new() -> Self {
        let mut schema = Self::default();
        let defaults: BTreeSet<_> = entries(&Config::default()).iter().map(|entry| pattern(&entry.key)).collect();
        for entry in entries(&sample()) {
            for (end, _) in entry.key.match_indices('[') {
                schema.arrays.insert(pattern(&entry.key[..end]));
            }
            let pattern = pattern(&entry.key);
            schema.insert(&pattern);
            if !defaults.contains(&pattern) {
                schema.required.insert(pattern.clone());
            }
            schema.keys.insert(pattern, entry.expected);
        }
        let without_keys = "transport.ucx";
        schema.insert(without_keys);
        schema.sections.insert(without_keys.to_owned(), Vec::new());
        schema
    }

    /// The key or section of this name in another section, where only one has it. Those of nodes, channels and the
    /// like are left out: they would have to be a certain one's.
    fn elsewhere(&self, name: &str) -> Option<&str> {
        let named = |pattern: &&str| pattern.rsplit('.').next() == Some(name);
        let once = |pattern: &&str| {
            let below = |array: &String| pattern.strip_prefix(array.as_str()).is_some_and(|rest| rest.starts_with('.'));
            !pattern.split('.').any(|part| part == ANY_NODE) && !self.arrays.iter().any(below)
        };
        let everywhere = self.sections.keys().chain(self.keys.keys()).map(String::as_str);
        let mut found = everywhere.filter(named).filter(once);
        found.next().filter(|_| found.next().is_none())
    }

    fn insert(&mut self, pattern: &str) {
        let (section, name) = pattern.rsplit_once('.').unwrap_or(("", pattern));
        let names = self.sections.entry(section.to_owned()).or_default();
        if names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
        if !section.is_empty() {
            self.insert(section);
        }
    }
}

/// Where the walk is: path as shown, pattern as in the schema.
struct Place {
    path: String,
    pattern: String,
}

impl Place {
    const ROOT: Self = Self { path: String::new(), pattern: String::new() };

    fn child(&self, name: &str) -> Self {
        let pattern = if self.pattern == "node" { ANY_NODE } else { name };
        Self { path: join(&self.path, name), pattern: join(&self.pattern, pattern) }
    }

    fn element(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), pattern: self.pattern.clone() }
    }
}

struct Walk<'a> {
    source: &'a Source<'a>,
    schema: &'a Schema,
    /// Values found, by path.
    values: BTreeMap<String, Written>,
    /// Where the sections of arrays begin, by path; an empty array stands here itself.
    sections: BTreeMap<String, Location>,
}

impl Walk<'_> {
    fn table(&mut self, place: &Place, table: &DeTable<'_>) -> Result<(), ConfigError> {
        let mut keys: Vec<_> = table.iter().collect();
        // The first mistake in the file is the one to report, not the first in the alphabet.
        keys.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in keys {
            let child = place.child(name.get_ref());
            let at = self.source.location(name.span().start);
            if place.pattern == "node" && !is_node_name(name.get_ref()) {
                let (key, found) = ("node".to_owned(), format!("{:?}", name.get_ref()));
                return Err(ConfigError::Value { at: Origin::File(at), key, found, expected: NODE_NAME.to_owned() });
            }
            if self.schema.keys.contains_key(&child.pattern) {
                // No key holds a table; serde would look inside and complain about what it finds there.
                if value.get_ref().is_table() {
                    let expected = self.schema.keys[&child.pattern].clone();
                    let found = self.source.excerpt(&value.span());
                    return Err(ConfigError::Value { at: Origin::File(at), key: child.path, found, expected });
                }
                self.values.insert(child.path, Written { pattern: child.pattern, span: value.span() });
            } else if self.schema.sections.contains_key(&child.pattern) {
                self.section(&child, at, value)?;
            } else {
                let known = self.schema.sections.get(&place.pattern).cloned().unwrap_or_default();
                let nearest = nearest(name.get_ref(), known.iter().map(String::as_str))
                    .or_else(|| self.schema.elsewhere(name.get_ref()).map(Into::into));
                return Err(ConfigError::UnknownKey { at, key: child.path, known, nearest });
            }
        }
        Ok(())
    }

    fn section(&mut self, place: &Place, at: Location, value: &Spanned<DeValue<'_>>) -> Result<(), ConfigError> {
        let array = self.schema.arrays.contains(&place.pattern);
        match value.get_ref() {
            DeValue::Table(table) if !array => {
                self.table(place, table)?;
                self.complete(place, at, table)
            }
            DeValue::Array(elements) if array => {
                if elements.is_empty() {
                    self.sections.insert(place.path.clone(), self.source.location(value.span().start));
                }
                for (index, element) in elements.iter().enumerate() {
                    let place = place.element(index);
                    let DeValue::Table(table) = element.get_ref() else {
                        return Err(self.no_section(&place, element));
                    };
                    let at = self.source.location(element.span().start);
                    self.sections.insert(place.path.clone(), at.clone());
                    self.table(&place, table)?;
                    self.complete(&place, at, table)?;
                }
                Ok(())
            }
            _ => Err(self.no_section(place, value)),
        }
    }

    /// Each key without a default must be there.
    fn complete(&self, place: &Place, at: Location, table: &DeTable<'_>) -> Result<(), ConfigError> {
        let written: BTreeSet<&str> = table.keys().map(|name| name.get_ref().as_ref()).collect();
        let names = self.schema.sections.get(&place.pattern).map(Vec::as_slice).unwrap_or_default();
        let missing = |name: &&String| {
            !written.contains(name.as_str()) && self.schema.required.contains(&place.child(name).pattern)
        };
        match names.iter().find(missing) {
            None => Ok(()),
            Some(name) => {
                let child = place.child(name);
                let expected = self.schema.keys.get(&child.pattern).cloned().unwrap_or_default();
                Err(ConfigError::Missing { at, key: child.path, expected })
            }
        }
    }

    fn no_section(&self, place: &Place, value: &Spanned<DeValue<'_>>) -> ConfigError {
        let expected = if self.schema.arrays.contains(&place.pattern) {
            let name = place.pattern.rsplit('.').next().unwrap_or_default();
            format!("a section for each {name}, begun by [[{}]]", place.pattern)
        } else {
            let name = if place.pattern == "node" { "node.NAME" } else { &place.path };
            format!("a section, begun by [{name}]")
        };
        let at = Origin::File(self.source.location(value.span().start));
        ConfigError::Value { at, key: place.path.clone(), found: self.source.excerpt(&value.span()), expected }
    }
}

struct Source<'a> {
    text: &'a str,
    path: Arc<Path>,
}

impl Source<'_> {
    fn location(&self, offset: usize) -> Location {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Location {
            path: self.path.clone(),
            line: counted(before.matches('\n').count() + 1),
            column: counted(before[line_start..].chars().count() + 1),
        }
    }

    /// The first line of what is written at `span`, cut to a length that fits an error message.
    fn excerpt(&self, span: &Range<usize>) -> String {
        const LONGEST: usize = 60;
        let written = self.text.get(span.clone()).unwrap_or_default();
        let line = written.lines().next().unwrap_or_default();
        let cut: String = line.chars().take(LONGEST).collect();
        if cut.len() < written.len() { format!("{cut}…") } else { cut }
    }

    fn not_toml(&self, error: &toml::de::Error) -> ConfigError {
        let offset = error.span().map_or(self.text.len(), |span| span.start);
        ConfigError::Syntax { at: self.location(offset), message: error.message().to_owned() }
    }
}

/// A line or column; a file with more than four thousand million of them is beyond help anyway.
fn counted(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
