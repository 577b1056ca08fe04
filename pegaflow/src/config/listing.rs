//! Every key once, with its value, its range, and what is expected of it.
//!
//! This list is what unknown keys are compared with, what ranges are checked against and what
//! [`Config::effective`](super::Config::effective) shows; tests hold it against the serde types and against
//! `config/pegaflow.toml`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use pegaflow_core::{Bounds, NodeOptions};

use super::{Bytes, Channel, Choice, ClassName, Config, HostPort, Node, Origin, RdmaConfig, Role};

/// One key of one config.
#[derive(Debug)]
pub(super) struct Entry {
    /// Path of the key, as in `channel[0].from`.
    pub(super) key: String,
    /// Value as text.
    pub(super) value: String,
    /// What a good value is, as a noun phrase.
    pub(super) expected: String,
    /// Whether the value is one, as far as its type does not say so already.
    pub(super) fits: bool,
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
        list.number(key("fence_after_ms"), bounds.fence_after_ms, 0..=86_400_000, "milliseconds");
    }
    let connect_timeout_ms = config.rendezvous.connect_timeout_ms;
    list.number("rendezvous.connect_timeout_ms", connect_timeout_ms, 1..=86_400_000, "milliseconds");
    let peer_silence_ms = config.faults.peer_silence_ms;
    list.number("faults.peer_silence_ms", peer_silence_ms, peer_silences(), "milliseconds");
    list.text("faults.checksum", config.faults.checksum, "true or false");
    list.number("wait.spin_us", config.wait.spin_us, 0..=1_000_000, "microseconds");
    list.text("memory.page", config.memory.page, "a page size: base, 2MiB or 1GiB");
    list.text("metrics.listen", &config.metrics.listen, "\"off\", a port, such as \"9400\", or host:port");
    let shm = &config.transport.shm;
    list.text("transport.shm.runtime_dir", &shm.runtime_dir, "\"auto\" or the absolute path of a folder");
    list.size("transport.shm.copy_chunk_bytes", shm.copy_chunk_bytes, 4096..=1 << 30);
    rdma(&mut list, &config.transport.rdma);
    list.0
}

fn rdma(list: &mut Listing, rdma: &RdmaConfig) {
    let key = |name: &str| format!("transport.rdma.{name}");
    list.text(key("library"), &rdma.library, "\"auto\" or the absolute path of libibverbs");
    list.one_of(key("mtu"), rdma.mtu, RdmaConfig::MTUS, "a path MTU in bytes");
    list.number(key("ack_timeout"), rdma.ack_timeout.into(), 1..=31, "an exponent (4.096 us times 2 to its power)");
    list.number(key("retries"), rdma.retries.into(), 0..=7, "a number of retries");
    list.number(key("rnr_retries"), rdma.rnr_retries.into(), 0..=7, "a number of retries (7 for ever)");
    list.number(key("rnr_timer"), rdma.rnr_timer.into(), 0..=31, "the code of a time (12 is 0.64 ms)");
    list.number(key("send_depth"), rdma.send_depth.into(), 8..=32_768, "a number of requests");
    list.number(key("receive_depth"), rdma.receive_depth.into(), 64..=65_536, "a number of counts and messages");
    list.number(key("signal_every"), rdma.signal_every.into(), 1..=16_384, "a number of requests");
    list.number(key("chain"), rdma.chain.into(), 4..=64, "a number of requests");
    list.size(key("inline_bytes"), rdma.inline_bytes, 0..=1024);
    list.number(key("poll_batch"), rdma.poll_batch.into(), 1..=256, "a number of completions");
    list.number(key("outstanding_reads"), rdma.outstanding_reads.into(), 1..=128, "a number of reads");
    list.size(key("max_request_bytes"), rdma.max_request_bytes, 4096..=2 << 30);
    list.text(key("relaxed_ordering"), rdma.relaxed_ordering, "true or false");
    list.number(key("max_channels"), rdma.max_channels.into(), 1..=4096, "a number of channels");
    for (index, rail) in rdma.rails.iter().enumerate() {
        let key = |name: &str| key(&format!("rail[{index}].{name}"));
        list.text(key("device"), &rail.device, "\"auto\" or the name of a device, such as \"mlx5_0\"");
        list.choice(key("port"), rail.port, 1..=254, "the number of a port");
        list.choice(key("gid"), rail.gid, 0..=255, "a position in the port's table of GIDs");
    }
    for class in ClassName::ALL {
        let service = rdma.service(*class);
        let key = |name: &str| key(&format!("{class}.{name}"));
        list.number(key("service_level"), service.service_level.into(), 0..=15, "a service level");
        list.number(key("traffic_class"), service.traffic_class.into(), 0..=255, "a traffic class");
    }
}

/// Every key of `config`, and who set it.
pub(super) fn entries_with_origins(config: &Config) -> Vec<(Entry, Origin)> {
    let defaults: BTreeMap<_, _> =
        entries(&Config::default()).into_iter().map(|entry| (pattern(&entry.key), entry.value)).collect();
    entries(config)
        .into_iter()
        .map(|entry| {
            let default = defaults.get(&pattern(&entry.key)).map(String::as_str);
            let origin = config.origins.of(&entry.key, &entry.value, default);
            (entry, origin)
        })
        .collect()
}

/// `key` as it stands for each element of an array: `channel.from` for `channel[3].from`.
pub(super) fn pattern(key: &str) -> String {
    let mut parts = key.split('[');
    let mut pattern = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        pattern.push_str(part.split_once(']').map_or(part, |(_, rest)| rest));
    }
    pattern
}

/// A config with one node, called [`ANY_NODE`], one channel and one rail: its entries are all the keys there can be.
pub(super) fn sample() -> Config {
    let listen = HostPort::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let mut config = Config::default();
    config.nodes.insert(ANY_NODE.to_owned(), Node { listen, role: Role::Prefill });
    config.channels.push(Channel { from: ANY_NODE.to_owned(), to: ANY_NODE.to_owned(), class: ClassName::Kv });
    config
}

/// Core's range, in milliseconds.
fn peer_silences() -> RangeInclusive<u64> {
    let whole = |silence: &Duration| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
    whole(NodeOptions::PEER_SILENCE.start())..=whole(NodeOptions::PEER_SILENCE.end())
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
        self.0.push(Entry { key, value, expected, fits: true });
    }

    fn number(&mut self, key: impl Into<String>, value: u64, range: RangeInclusive<u64>, what: &str) {
        let expected = format!("{what}, {} to {}", range.start(), range.end());
        self.0.push(Entry { key: key.into(), value: value.to_string(), expected, fits: range.contains(&value) });
    }

    fn choice(&mut self, key: String, value: Choice<u8>, range: RangeInclusive<u8>, what: &str) {
        let expected = format!("\"auto\" or {what}, {} to {}", range.start(), range.end());
        let fits = value.given().is_none_or(|value| range.contains(value));
        self.0.push(Entry { key, value: value.to_string(), expected, fits });
    }

    fn one_of(&mut self, key: String, value: u16, known: &[u16], what: &str) {
        let named: Vec<_> = known.iter().map(ToString::to_string).collect();
        let expected = format!("{what}, one of {}", named.join(", "));
        self.0.push(Entry { key, value: value.to_string(), expected, fits: known.contains(&value) });
    }

    fn size(&mut self, key: impl Into<String>, value: Bytes, range: RangeInclusive<u64>) {
        let (least, most) = (Bytes::new(*range.start()), Bytes::new(*range.end()));
        let expected = format!("a size, {least} to {most}, written as 65536, \"64KiB\" or \"1MB\"");
        let fits = range.contains(&value.get());
        self.0.push(Entry { key: key.into(), value: value.to_string(), expected, fits });
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
            assert!(entry.fits, "{} is {}: expected {}", entry.key, entry.value, entry.expected);
        }
    }
}
