//! What types can't say: ranges, and what the sections say about each other.

use std::collections::BTreeMap;

use super::listing::{Entry, entries_with_origins};
use super::nearest::nearest;
use super::{Config, ConfigError, Origin, RdmaConfig};

/// Finds the first value out of range or at odds with another.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let entries = entries_with_origins(config);
    for (entry, origin) in &entries {
        if !entry.fits {
            return Err(out_of_range(entry, origin));
        }
    }
    let origins: BTreeMap<_, _> = entries.iter().map(|(entry, origin)| (entry.key.as_str(), origin)).collect();
    let origin = |key: &str| origins.get(key).map_or(Origin::Program, |origin| (*origin).clone());
    check_nodes(config, &origin)?;
    check_channels(config, &origin)?;
    check_rdma(config, &origin)
}

fn out_of_range(entry: &Entry, origin: &Origin) -> ConfigError {
    let (key, found, expected) = (entry.key.clone(), entry.value.clone(), entry.expected.clone());
    ConfigError::Value { at: origin.clone(), key, found, expected }
}

fn check_nodes(config: &Config, origin: &dyn Fn(&str) -> Origin) -> Result<(), ConfigError> {
    let mut listeners = BTreeMap::new();
    for (name, node) in in_order_of_the_file(config, origin) {
        let key = format!("node.{name}.listen");
        if !super::is_node_name(name) {
            return Err(ConfigError::Value {
                at: origin(&key),
                key: "node".to_owned(),
                found: format!("{name:?}"),
                expected: NODE_NAME.to_owned(),
            });
        }
        if node.listen.port() == 0 {
            return Err(ConfigError::Value {
                at: origin(&key),
                key,
                found: node.listen.to_string(),
                expected: "a port other than 0, for the others to find it".to_owned(),
            });
        }
        if let Some(other) = listeners.insert(&node.listen, name) {
            let (other, listen) = (other.to_owned(), node.listen.clone());
            return Err(ConfigError::SharedListen { at: origin(&key), key, other, listen });
        }
    }
    Ok(())
}

/// What can name a node, for errors.
pub(super) const NODE_NAME: &str = "a node's name: 1 to 64 of a-z, 0-9 and -";

/// So that the second of two is the one further down in the file.
fn in_order_of_the_file<'a>(config: &'a Config, origin: &dyn Fn(&str) -> Origin) -> Vec<(&'a str, &'a super::Node)> {
    let mut nodes: Vec<_> = config.nodes.iter().map(|(name, node)| (name.as_str(), node)).collect();
    nodes.sort_by_key(|(name, _)| match origin(&format!("node.{name}.listen")) {
        Origin::File(location) => (location.line, location.column),
        _ => (u32::MAX, 0),
    });
    nodes
}

fn check_channels(config: &Config, origin: &dyn Fn(&str) -> Origin) -> Result<(), ConfigError> {
    let mut seen = BTreeMap::new();
    for (index, channel) in config.channels.iter().enumerate() {
        for (end, name) in [("from", &channel.from), ("to", &channel.to)] {
            if !config.nodes.contains_key(name) {
                let key = format!("channel[{index}].{end}");
                return Err(ConfigError::UnknownNode {
                    at: origin(&key),
                    key,
                    found: name.clone(),
                    known: config.nodes.keys().cloned().collect(),
                    nearest: nearest(name, config.nodes.keys().map(String::as_str)),
                });
            }
        }
        if let Some(first) = seen.insert((&channel.from, &channel.to, channel.class), index) {
            let at = origin(&format!("channel[{index}].from"));
            return Err(ConfigError::RepeatedChannel { at, index, first });
        }
    }
    Ok(())
}

fn check_rdma(config: &Config, origin: &dyn Fn(&str) -> Origin) -> Result<(), ConfigError> {
    let rdma = &config.transport.rdma;
    let (rails, most) = (rdma.rails.len(), *RdmaConfig::RAILS.end());
    if !RdmaConfig::RAILS.contains(&rails) {
        let key = "transport.rdma.rail".to_owned();
        // The first too many; or the list, where it is written as an empty one.
        let at = config.origins.section(&if rails > most { format!("{key}[{most}]") } else { key.clone() });
        let expected = format!("1 to {most} of [[{key}]]; a file without one has one, all \"auto\"");
        return Err(ConfigError::Value { at, key, found: format!("a list of {rails}"), expected });
    }
    let (key, depth_key) = ("transport.rdma.signal_every", "transport.rdma.send_depth");
    let (every, depth) = (rdma.signal_every, rdma.send_depth);
    if every <= depth / 2 {
        return Ok(());
    }
    // The one to look at is the one that somebody set.
    let (at, depth_at) = (origin(key), origin(depth_key));
    Err(if at == Origin::Default {
        let expected = format!("at least {}, twice `{key}` ({every}, {at})", u64::from(every) * 2);
        ConfigError::Value { at: depth_at, key: depth_key.to_owned(), found: depth.to_string(), expected }
    } else {
        let expected = format!("at most {}, half of `{depth_key}` ({depth}, {depth_at})", depth / 2);
        ConfigError::Value { at, key: key.to_owned(), found: every.to_string(), expected }
    })
}
