//! The section `[transport.rdma]`: rails, classes, and what is wrong with them.

use pegaflow::config::{BackendName, Choice, Config, DeviceName, Origin, RdmaRail};

const SECTION: &str = "[transport.rdma]\n";
const RAIL: &str = "[[transport.rdma.rail]]\n";

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = Config::parse(text, "x.toml").expect_err(text).to_string();
    assert_eq!(error, expected, "\n{text}");
}

fn show(config: &Config, key: &str) -> String {
    config.effective().iter().find(|setting| setting.key == key).map(ToString::to_string).unwrap()
}

#[test]
fn no_rail_is_one_that_is_all_auto() {
    for text in ["", SECTION, RAIL, "[transport.rdma]\nrail = [{}]"] {
        let config = Config::parse(text, "x.toml").unwrap();
        assert_eq!(config.transport.rdma.rails, [RdmaRail::default()], "{text}");
        assert_eq!(show(&config, "transport.rdma.rail[0].port"), "transport.rdma.rail[0].port = auto (default)");
    }
}

#[test]
fn each_rail_is_shown_with_its_origins() {
    let text = format!("{RAIL}device = \"mlx5_0\"\nport = 254\n{RAIL}{RAIL}gid = \"auto\"\ndevice = \"auto\"\n");
    let mut config = Config::parse(&text, "x.toml").unwrap();
    let rails = &config.transport.rdma.rails;
    assert_eq!(rails.len(), 3);
    assert_eq!(rails[0].device.given().map(DeviceName::as_str), Some("mlx5_0"));
    assert_eq!(rails[0].port, Choice::Given(254));
    assert_eq!(rails[1], RdmaRail::default());
    for (key, expected) in [
        ("rail[0].device", "mlx5_0 (x.toml:2)"),
        ("rail[0].port", "254 (x.toml:3)"),
        ("rail[0].gid", "auto (default)"),
        ("rail[1].device", "auto (default)"),
        ("rail[2].gid", "auto (x.toml:6)"),
        ("rail[2].device", "auto (x.toml:7)"),
    ] {
        let key = format!("transport.rdma.{key}");
        assert_eq!(show(&config, &key), format!("{key} = {expected}"));
    }
    config.transport.rdma.rails[1].port = Choice::Given(255);
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "set by the program: `transport.rdma.rail[1].port` is 255: \
         expected \"auto\" or the number of a port, 1 to 254"
    );
}

#[test]
fn unknown_keys() {
    refused(
        &format!("{RAIL}{RAIL}guid = 3"),
        "x.toml:3:1: unknown key `transport.rdma.rail[1].guid`; did you mean `gid`?; known here: device, port, gid",
    );
    refused(
        &format!("{SECTION}send_dept = 3"),
        "x.toml:2:1: unknown key `transport.rdma.send_dept`; did you mean `send_depth`?; \
         known here: library, mtu, ack_timeout, retries, rnr_retries, rnr_timer, send_depth, receive_depth, \
         signal_every, chain, inline_bytes, poll_batch, outstanding_reads, max_request_bytes, relaxed_ordering, \
         max_channels, rail, kv, bulk, activation",
    );
    refused(
        "[transport.rdma.kv]\nservice = 3",
        "x.toml:2:1: unknown key `transport.rdma.kv.service`; did you mean `service_level`?; \
         known here: service_level, traffic_class",
    );
    // A key of a rail is not named outside of the rails: there can be several of them.
    refused("[wait]\ngid = 3", "x.toml:2:1: unknown key `wait.gid`; known here: spin_us");
}

#[test]
fn rails_that_are_none() {
    let a_rail = "expected a section for each rail, begun by [[transport.rdma.rail]]";
    refused(
        "[transport.rdma.rail]\nport = 1",
        &format!("x.toml:1:1: `transport.rdma.rail` is [transport.rdma.rail]: {a_rail}"),
    );
    refused(&format!("{SECTION}rail = 2"), &format!("x.toml:2:8: `transport.rdma.rail` is 2: {a_rail}"));
    refused(
        &format!("{SECTION}rail = [{{}}, \"mlx5_0\"]"),
        &format!("x.toml:2:13: `transport.rdma.rail[1]` is \"mlx5_0\": {a_rail}"),
    );
    let how_many = "expected 1 to 8 of [[transport.rdma.rail]]; a file without one has one, all \"auto\"";
    Config::parse(&RAIL.repeat(8), "x.toml").unwrap();
    refused(&RAIL.repeat(9), &format!("x.toml:9:1: `transport.rdma.rail` is a list of 9: {how_many}"));
    refused(&format!("{SECTION}rail = []"), &format!("x.toml:2:8: `transport.rdma.rail` is a list of 0: {how_many}"));
    let mut config = Config::default();
    config.transport.rdma.rails.clear();
    assert_eq!(
        config.check().unwrap_err().to_string(),
        format!("set by the program: `transport.rdma.rail` is a list of 0: {how_many}")
    );
}

#[test]
fn values_of_a_rail() {
    let port = "expected \"auto\" or the number of a port, 1 to 254";
    for (value, column) in [("0", 8), ("255", 8), ("256", 8), ("-1", 8), ("\"first\"", 8), ("1.5", 8), ("[1]", 8)] {
        refused(
            &format!("{RAIL}port = {value}"),
            &format!("x.toml:2:{column}: `transport.rdma.rail[0].port` is {value}: {port}"),
        );
    }
    refused(
        &format!("{RAIL}gid = 256"),
        "x.toml:2:7: `transport.rdma.rail[0].gid` is 256: \
         expected \"auto\" or a position in the port's table of GIDs, 0 to 255",
    );
    let device = "expected \"auto\" or the name of a device, such as \"mlx5_0\"";
    refused(&format!("{RAIL}device = 0"), &format!("x.toml:2:10: `transport.rdma.rail[0].device` is 0: {device}"));
    for value in ["", "mlx5_0/1", "mlx5 0"] {
        refused(
            &format!("{RAIL}device = \"{value}\""),
            &format!(
                "x.toml:2:10: `transport.rdma.rail[0].device` is \"{value}\": \
                 {device} (a device's name is 1 to 63 bytes, without blanks and `/`)"
            ),
        );
    }
    assert!("x".repeat(63).parse::<DeviceName>().is_ok());
    assert!("x".repeat(64).parse::<DeviceName>().is_err());
}

#[test]
fn values_out_of_range_or_malformed() {
    let one = |line: &str, column: u32, key: &str, found: &str, expected: &str| {
        refused(
            &format!("{SECTION}{line}"),
            &format!("x.toml:2:{column}: `transport.rdma.{key}` is {found}: expected {expected}"),
        );
    };
    one("mtu = 1500", 7, "mtu", "1500", "a path MTU in bytes, one of 256, 512, 1024, 2048, 4096");
    one("mtu = \"4KiB\"", 7, "mtu", "\"4KiB\"", "a path MTU in bytes, one of 256, 512, 1024, 2048, 4096");
    one("retries = 8", 11, "retries", "8", "a number of retries, 0 to 7");
    one("retries = 256", 11, "retries", "256", "a number of retries, 0 to 7");
    one("send_depth = 4294967296", 14, "send_depth", "4294967296", "a number of requests, 8 to 32768");
    one("relaxed_ordering = \"yes\"", 20, "relaxed_ordering", "\"yes\"", "true or false");
    one("relaxed_ordering = 1", 20, "relaxed_ordering", "1", "true or false");
    let size = "written as 65536, \"64KiB\" or \"1MB\"";
    one("inline_bytes = 1025", 16, "inline_bytes", "1025", &format!("a size, 0 to 1KiB, {size}"));
    one("max_request_bytes = \"3GiB\"", 21, "max_request_bytes", "3GiB", &format!("a size, 4KiB to 2GiB, {size}"));
    one(
        "library = \"libibverbs.so\"",
        11,
        "library",
        "\"libibverbs.so\"",
        "\"auto\" or the absolute path of libibverbs (`libibverbs.so` is not an absolute path)",
    );
    one("kv.service_level = 16", 20, "kv.service_level", "16", "a service level, 0 to 15");
    one("activation.traffic_class = -1", 28, "activation.traffic_class", "-1", "a traffic class, 0 to 255");
}

/// The one named is the one that somebody set.
#[test]
fn signals_come_at_least_twice_in_the_queue() {
    refused(
        &format!("{SECTION}signal_every = 33\nsend_depth = 64"),
        "x.toml:2:16: `transport.rdma.signal_every` is 33: \
         expected at most 32, half of `transport.rdma.send_depth` (64, x.toml:3)",
    );
    refused(
        &format!("{SECTION}signal_every = 129"),
        "x.toml:2:16: `transport.rdma.signal_every` is 129: \
         expected at most 128, half of `transport.rdma.send_depth` (256, default)",
    );
    refused(
        &format!("{SECTION}send_depth = 127"),
        "x.toml:2:14: `transport.rdma.send_depth` is 127: \
         expected at least 128, twice `transport.rdma.signal_every` (64, default)",
    );
    for good in ["signal_every = 128", "send_depth = 128", "send_depth = 9\nsignal_every = 4"] {
        Config::parse(&format!("{SECTION}{good}"), "x.toml").unwrap();
    }
}

/// Whether or not this program was built with the backend: one file for all nodes.
#[test]
fn the_section_is_read_under_every_backend() {
    for backend in BackendName::ALL {
        let text = format!("backend = \"{backend}\"\n{SECTION}chain = 5");
        let config = Config::parse(&text, "x.toml").unwrap();
        assert_eq!(config.transport.rdma.chain, 5);
        assert!(matches!(config.effective()[0].origin, Origin::File(_)));
        refused(
            &format!("{text}0000"),
            "x.toml:3:9: `transport.rdma.chain` is 50000: expected a number of requests, 4 to 64",
        );
    }
}
