//! What a good config file turns into.

use std::collections::BTreeMap;

use pegaflow::config::{
    BackendName, Bytes, Choice, ClassBounds, ClassName, Config, ConfigError, HostPort, Origin, Page, Role, Setting,
};

/// The documentation of every key.
const TEMPLATE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/pegaflow.toml"));

const EVERYTHING_CHANGED: &str = r#"
backend = "ucx"
[node.a-1]
listen = "localhost:1"
role = "trainer"
[node.b]
listen = "[::1]:2"
role = "replica"
[[channel]]
from = "a-1"
to = "b"
class = "bulk"
[[channel]]
from = "b"
to = "b"
class = "activation"
[class.kv]
transfers = 1
blocks = 2
messages = 3
message_bytes = 256
counters = 5
fence_after_ms = 100
[class.bulk]
transfers = 6
blocks = 7
messages = 8
message_bytes = "9KiB"
counters = 10
fence_after_ms = 86_400_000
[class.activation]
transfers = 11
blocks = 12
messages = 13
message_bytes = "1kB"
counters = 15
fence_after_ms = 86400000
[rendezvous]
connect_timeout_ms = 16
[faults]
peer_silence_ms = 1000
checksum = true
[wait]
spin_us = 0
[memory]
page = "2MiB"
[metrics]
listen = "0.0.0.0:9400"
[transport.shm]
runtime_dir = "/run/pegaflow"
copy_chunk_bytes = 65_536
[transport.rdma]
library = "/opt/lib/libibverbs.so.1"
mtu = 1024
ack_timeout = 17
retries = 0
rnr_retries = 1
rnr_timer = 31
send_depth = 18
receive_depth = 64
signal_every = 9
chain = 19
inline_bytes = 0
poll_batch = 20
outstanding_reads = 21
max_request_bytes = "22MiB"
relaxed_ordering = false
max_channels = 23
[[transport.rdma.rail]]
device = "mlx5_0"
port = 2
gid = 0
[transport.rdma.kv]
service_level = 1
traffic_class = 104
[transport.rdma.bulk]
service_level = 2
traffic_class = 255
[transport.rdma.activation]
service_level = 15
traffic_class = 3
[transport.ucx]
"#;

fn is_topology(setting: &Setting) -> bool {
    setting.key.starts_with("node.") || setting.key.starts_with("channel[")
}

fn values(settings: &[Setting]) -> BTreeMap<&str, &str> {
    settings.iter().map(|setting| (setting.key.as_str(), setting.value.as_str())).collect()
}

#[test]
fn an_empty_file_is_the_default() {
    let config = Config::parse("", "empty.toml").unwrap();
    assert_eq!(config, Config::default());
    assert!(config.effective().iter().all(|setting| setting.origin == Origin::Default));
    assert_eq!(config.backend, BackendName::Shm);
    assert_eq!(config.classes.activation.blocks, 4096);
}

#[test]
fn the_template_lists_every_key_with_its_default() {
    let template = Config::parse(TEMPLATE, "pegaflow.toml").unwrap();
    let listed = template.effective();
    for setting in &listed {
        assert!(matches!(setting.origin, Origin::File(_)), "the template leaves out {}", setting.key);
    }
    let (topology, rest): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_topology);
    let defaults = Config::default().effective();
    assert_eq!(values(&rest), values(&defaults));

    // The list is in the order in which the template documents the keys.
    let keys: Vec<_> = rest.iter().map(|setting| &setting.key).collect();
    assert_eq!(keys, defaults.iter().map(|setting| &setting.key).collect::<Vec<_>>());
    let lines: Vec<_> = rest
        .iter()
        .filter_map(|setting| match &setting.origin {
            Origin::File(location) => Some(location.line),
            _ => None,
        })
        .collect();
    assert!(lines.is_sorted(), "{lines:?}");

    // The example: two nodes of one host, one channel between them.
    assert_eq!(topology.len(), 2 * 2 + 3);
    assert_eq!(template.node("prefill").unwrap().listen.to_string(), "127.0.0.1:7300");
    assert_eq!(template.node("decode").unwrap().listen.to_string(), "127.0.0.1:7301");
    assert_eq!(template.channels[0].class, ClassName::Kv);
    assert!(TEMPLATE.lines().any(|line| line == "[transport.ucx]"), "a section without keys");
}

/// The promise: over another transport, a deployment's file differs in one line.
#[test]
fn another_backend_is_one_line() {
    let before = Config::parse(TEMPLATE, "pegaflow.toml").unwrap();
    for backend in BackendName::ALL {
        let line = format!("backend = \"{backend}\"");
        let text: Vec<_> =
            TEMPLATE.lines().map(|it| if it.starts_with("backend = ") { line.as_str() } else { it }).collect();
        let differing = TEMPLATE.lines().zip(&text).filter(|(before, after)| before != *after).count();
        assert_eq!(differing, usize::from(*backend != before.backend));
        let after = Config::parse(&text.join("\n"), "pegaflow.toml").unwrap();
        let mut expected = before.clone();
        expected.backend = *backend;
        assert_eq!(after, expected);
        // Neither do other keys change their value, nor their line.
        let but_the_backend = |config: &Config| -> Vec<_> {
            config.effective().into_iter().filter(|setting| setting.key != "backend").collect()
        };
        assert_eq!(but_the_backend(&after), but_the_backend(&before));
    }
}

#[test]
fn every_key_can_be_changed() {
    let config = Config::parse(EVERYTHING_CHANGED, "changed.toml").unwrap();
    let changed = config.effective();
    let defaults = Config::default().effective();
    for default in &defaults {
        let setting = changed.iter().find(|setting| setting.key == default.key).unwrap();
        assert_ne!(setting.value, default.value, "{} is still the default", setting.key);
    }
    for setting in &changed {
        let Origin::File(location) = &setting.origin else { panic!("{setting}") };
        // The line named is the line the key stands on.
        let line = EVERYTHING_CHANGED.lines().nth(usize::try_from(location.line).unwrap() - 1).unwrap();
        let name = setting.key.rsplit('.').next().unwrap();
        assert!(line.starts_with(&format!("{name} = ")), "{setting}: {line}");
        assert_eq!(location.path.to_str(), Some("changed.toml"));
    }
    assert_eq!(changed.len(), defaults.len() + 2 * 2 + 2 * 3);

    let shm = &config.transport.shm;
    assert_eq!(shm.runtime_dir, Choice::Given("/run/pegaflow".parse().unwrap()));
    assert_eq!(shm.copy_chunk_bytes, Bytes::new(65_536));
    assert_eq!(config.memory.page, Page::Huge2Mib);
    assert_eq!(config.classes.bounds(ClassName::Bulk).message_bytes.get(), 9 << 10);
    assert_eq!(config.classes.activation.message_bytes.get(), 1000);
    assert_eq!(config.channels[1].from, config.channels[1].to, "a node may dial itself");
}

#[test]
fn a_class_leaves_out_keys_and_keeps_its_own_defaults() {
    let config = Config::parse("[class.activation]\ntransfers = 2\n[class.bulk]", "partial.toml").unwrap();
    let expected = ClassBounds { transfers: 2, ..ClassBounds::default_of(ClassName::Activation) };
    assert_eq!(config.classes.activation, expected);
    assert_eq!(config.classes.bulk, ClassBounds::default_of(ClassName::Bulk));
}

#[test]
fn effective_values_name_their_origin() {
    let mut config = Config::parse("backend = \"shm\"\n\n[wait]\nspin_us = 50\n", "here.toml").unwrap();
    let show = |config: &Config, key: &str| {
        config.effective().iter().find(|setting| setting.key == key).map(ToString::to_string).unwrap()
    };
    assert_eq!(show(&config, "backend"), "backend = shm (here.toml:1)");
    // A default that was written down was still written down.
    assert_eq!(show(&config, "wait.spin_us"), "wait.spin_us = 50 (here.toml:4)");
    assert_eq!(show(&config, "class.kv.message_bytes"), "class.kv.message_bytes = 1KiB (default)");

    config.override_backend(BackendName::Rdma);
    config.override_metrics("9400".parse().unwrap());
    assert_eq!(show(&config, "metrics.listen"), "metrics.listen = 127.0.0.1:9400 (command line)");
    config.wait.spin_us = 7;
    config.classes.kv.blocks = 9;
    assert_eq!(show(&config, "backend"), "backend = rdma (command line)");
    assert_eq!(show(&config, "wait.spin_us"), "wait.spin_us = 7 (set by the program)");
    assert_eq!(show(&config, "class.kv.blocks"), "class.kv.blocks = 9 (set by the program)");
}

#[test]
fn a_config_changed_by_the_program_can_be_checked() {
    let mut config = Config::default();
    config.check().unwrap();
    config.classes.kv.counters = 0;
    let error = config.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "set by the program: `class.kv.counters` is 0: expected a number of counters, 1 to 1048576"
    );
}

#[test]
fn nodes_are_found_by_name_and_role() {
    let config = Config::parse(TEMPLATE, "pegaflow.toml").unwrap();
    assert_eq!(config.node_with_role(Role::Decode).unwrap().0, "decode");
    assert_eq!(
        config.node("prefil").unwrap_err().to_string(),
        "there is no node `prefil`; did you mean `prefill`?; nodes: decode, prefill"
    );
    assert_eq!(
        config.node_with_role(Role::Trainer).unwrap_err().to_string(),
        "there is no node with role `trainer`; nodes: decode (decode), prefill (prefill)"
    );
    let two = Config::parse(
        "[node.a]\nlisten = \"h:1\"\nrole = \"stage\"\n[node.b]\nlisten = \"h:2\"\nrole = \"stage\"",
        "two.toml",
    )
    .unwrap();
    assert!(matches!(two.node_with_role(Role::Stage), Err(ConfigError::SeveralNodes { .. })));
    let addresses = two.addresses();
    assert_eq!(addresses.get("b"), "h:2".parse::<HostPort>().ok().as_ref());
}

#[test]
fn a_file_is_loaded_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    std::fs::write(&path, "[wait]\r\nspin_us = 3\r\n").unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.wait.spin_us, 3);
    let setting = config.effective().into_iter().find(|setting| setting.key == "wait.spin_us").unwrap();
    assert_eq!(setting.origin.to_string(), format!("{}:2", path.display()));

    let missing = folder.path().join("missing.toml");
    let error = Config::load(&missing).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("can't read the config file {}: No such file or directory (os error 2)", missing.display())
    );
}
