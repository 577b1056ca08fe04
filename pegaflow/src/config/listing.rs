//! Every key once, with its value, its range, and what is expected of it.
//!
//! This list is what unknown keys are compared with, what ranges are checked against and what
//! [`Config::effective`](super::Config::effective) shows; tests hold it against the serde types and against
//! `config/pegaflow.toml`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use pegaflow_core::Bounds;

use super::{Bytes, Channel, ClassName, Config, HostPort, Node, Origin, Role};

/// One key of one config.
#[derive(Debug)]
pub(super) struct Entry {
    /// Path of the key, as in `channel[0].from`.
    pub(super) key: String,
    /// Value as text.
    pub(super) value: String,
    /// What a good value is, as a noun phrase.
    pub(super) expected: String,
    /// The value, and where it has to lie, when it is a number or a size.
    pub(super) bounded: Option<(u64, RangeInclusive<u64>)>,
}

/// Name under which the sample's node stands for every node.
pub(super) const ANY_NODE: &str = "*";

/// Every key of `config`, in the order of `config/pegaflow.toml`.
pub(super) fn entries(config: &Config) -> Vec<Entry> {
    let mut list = Listing::default();
    list.text("backend", config.backend, "the name of a transport: shm, rdma or ucx");
    for (name, node) in &config.nodes {
        list.text(format!("node.{name}.listen"), &node.listen, "host:port, such as \"127.0.0.1:7300\"");
        list.text(
            format!("node.{name}.role"),
            node.role,
            "the role of a node: prefill, decode, trainer, replica or stage",
        );
    }
    for (index, channel) in config.channels.iter().enumerate() {
        list.text(format!("channel[{index}].from"), &channel.from, "the name of the node that dials");
        list.text(format!("channel[{index}].to"), &channel.to, "the name of the node that is dialled");
        list.text(
            format!("channel[{index}].class"),
            channel.class,
            "the name of a class of traffic: kv, bulk or activation",
        );
    }
    for class in ClassName::ALL {
        let bounds = config.classes.bounds(*class);
        let key = |name| format!("class.{class}.{name}");
        list.number(key("transfers"), bounds.transfers.into(), wide(Bounds::TRANSFERS), "a number of transfers");
        list.number(key("blocks"), bounds.blocks.into(), wide(Bounds::BLOCKS), "a number of block-id pairs");
        list.number(key("messages"), bounds.messages.into(), wide(Bounds::MESSAGES), "a number of messages");
        list.size(key("message_bytes"), bounds.message_bytes, wide(Bounds::MESSAGE_BYTES));
        list.number(key("counters"), bounds.counters.into(), wide(Bounds::COUNTERS), "a number of counters");
    }
    let connect_timeout_ms = config.rendezvous.connect_timeout_ms;
    list.number("rendezvous.connect_timeout_ms", connect_timeout_ms, 1..=86_400_000, "milliseconds");
    list.number("wait.spin_us", config.wait.spin_us, 0..=1_000_000, "microseconds");
    list.text("memory.page", config.memory.page, "a page size: base, 2MiB or 1GiB");
    let shm = &config.transport.shm;
    list.text("transport.shm.runtime_dir", &shm.runtime_dir, "\"auto\" or the absolute path of a folder");
    list.size("transport.shm.copy_chunk_bytes", shm.copy_chunk_bytes, 4096..=1 << 30);
    list.0
}

/// Every key of `config`, and who set it.
pub(super) fn entries_with_origins(config: &Config) -> Vec<(Entry, Origin)> {
    let defaults: BTreeMap<_, _> =
        entries(&Config::default()).into_iter().map(|entry| (entry.key, entry.value)).collect();
    entries(config)
        .into_iter()
        .map(|entry| {
            let default = defaults.get(&entry.key).map(String::as_str);
            let origin = config.origins.of(&entry.key, &entry.value, default);
            (entry, origin)
        })
        .collect()
}

/// A config with one node, called [`ANY_NODE`], and one channel: its entries are all the keys there can be.
pub(super) fn sample() -> Config {
    let listen = HostPort::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let mut config = Config::default();
    config.nodes.insert(ANY_NODE.to_owned(), Node { listen, role: Role::Prefill });
    config.channels.push(Channel { from: ANY_NODE.to_owned(), to: ANY_NODE.to_owned(), class: ClassName::Kv });
    config
}

/// Core's ranges, as wide as the widest numbers here.
fn wide(range: RangeInclusive<u32>) -> RangeInclusive<u64> {
    (*range.start()).into()..=(*range.end()).into()
}

#[derive(Default)]
struct Listing(Vec<Entry>);

impl Listing {
    fn text(&mut self, key: impl Into<String>, value: impl Display, expected: &str) {
        let (key, value, expected) = (key.into(), value.to_string(), expected.to_owned());
        self.0.push(Entry { key, value, expected, bounded: None });
    }

    fn number(&mut self, key: impl Into<String>, value: u64, range: RangeInclusive<u64>, what: &str) {
        let expected = format!("{what}, {} to {}", range.start(), range.end());
        self.0.push(Entry { key: key.into(), value: value.to_string(), expected, bounded: Some((value, range)) });
    }

    fn size(&mut self, key: impl Into<String>, value: Bytes, range: RangeInclusive<u64>) {
        let (least, most) = (Bytes::new(*range.start()), Bytes::new(*range.end()));
        let expected = format!("a size, {least} to {most}, written as 65536, \"64KiB\" or \"1MB\"");
        let bounded = Some((value.get(), range));
        self.0.push(Entry { key: key.into(), value: value.to_string(), expected, bounded });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field added to a section and forgotten here would be neither checked nor shown.
    #[test]
    fn lists_every_field_of_the_types() {
        fn flatten(path: &str, value: &toml::Value, keys: &mut Vec<String>) {
            let join = |name: &str| {
                if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
            };
            match value {
                toml::Value::Table(table) => table.iter().for_each(|(name, value)| flatten(&join(name), value, keys)),
                toml::Value::Array(array) => {
                    array
                        .iter()
                        .enumerate()
                        .for_each(|(index, value)| flatten(&format!("{path}[{index}]"), value, keys));
                }
                _ => keys.push(path.to_owned()),
            }
        }
        let sample = sample();
        let mut from_types = Vec::new();
        flatten("", &toml::Value::try_from(&sample).unwrap(), &mut from_types);
        let mut listed: Vec<_> = entries(&sample).into_iter().map(|entry| entry.key).collect();
        from_types.sort();
        listed.sort();
        assert_eq!(listed, from_types);
    }

    #[test]
    fn defaults_are_in_range() {
        for entry in entries(&Config::default()) {
            if let Some((value, range)) = entry.bounded {
                assert!(range.contains(&value), "{}: {value} not in {range:?}", entry.key);
            }
        }
    }
}
