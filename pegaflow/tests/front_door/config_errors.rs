//! Every error names the file, the line, the column, the key, what was found and what was expected.

use pegaflow::config::Config;

const TWO_NODES: &str =
    "[node.a]\nlisten = \"h:1\"\nrole = \"stage\"\n[node.b]\nlisten = \"h:2\"\nrole = \"stage\"\n[[channel]]\n";

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = Config::parse(text, "x.toml").expect_err(text).to_string();
    assert_eq!(error, expected, "\n{text}");
}

#[test]
fn text_that_is_no_toml() {
    refused("backend = shm", "x.toml:1:11: not TOML: string values must be quoted, expected literal string");
    refused("[wait\nspin_us = 1", "x.toml:1:6: not TOML: unclosed table, expected `]`");
    refused("[wait]\nspin_us = 1\nspin_us = 2", "x.toml:3:1: not TOML: duplicate key");
}

#[test]
fn unknown_keys_and_sections() {
    refused(
        "[class.kv]\ntransfer = 3",
        "x.toml:2:1: unknown key `class.kv.transfer`; did you mean `transfers`?; \
         known here: transfers, blocks, messages, message_bytes, counters, fence_after_ms",
    );
    refused(
        "[rendezvous]\n  connect_timeout = 3",
        "x.toml:2:3: unknown key `rendezvous.connect_timeout`; did you mean `connect_timeout_ms`?; \
         known here: connect_timeout_ms",
    );
    refused(
        "backend = \"shm\"\ntransport.tcp.port = 1",
        "x.toml:2:11: unknown key `transport.tcp`; known here: shm, rdma, ucx",
    );
    refused("[transport.ucx]\nrails = 2", "x.toml:2:1: unknown key `transport.ucx.rails`; known here: none");
    refused(
        "[nodes.a]",
        "x.toml:1:2: unknown key `nodes`; did you mean `node`?; \
         known here: backend, node, channel, class, rendezvous, faults, wait, memory, metrics, transport",
    );
    refused(
        "[node.a]\nlisten = \"h:1\"\nrole = \"stage\"\nport = 3",
        "x.toml:4:1: unknown key `node.a.port`; known here: listen, role",
    );
    // A good key in the wrong section: where it belongs, if there is one such place.
    refused(
        "[transport.shm]\npage = \"2MiB\"",
        "x.toml:2:1: unknown key `transport.shm.page`; did you mean `memory.page`?; \
         known here: runtime_dir, copy_chunk_bytes",
    );
    refused(
        "[rdma]",
        "x.toml:1:2: unknown key `rdma`; did you mean `transport.rdma`?; \
         known here: backend, node, channel, class, rendezvous, faults, wait, memory, metrics, transport",
    );
    refused("[wait]\ntransfers = 3", "x.toml:2:1: unknown key `wait.transfers`; known here: spin_us");
    // The first in the file, not in the alphabet.
    refused("[wait]\nz = 1\na = 2", "x.toml:2:1: unknown key `wait.z`; known here: spin_us");
}

#[test]
fn keys_that_must_be_there() {
    refused(
        "\n[node.a]\nrole = \"stage\"",
        "x.toml:2:7: `node.a.listen` is missing: expected host:port, such as \"127.0.0.1:7300\"",
    );
    refused(
        &format!("{TWO_NODES}from = \"a\"\nclass = \"kv\""),
        "x.toml:7:1: `channel[0].to` is missing: expected the name of the node that is dialled",
    );
}

#[test]
fn values_of_the_wrong_type() {
    refused(
        "[class.kv]\ntransfers = \"many\"",
        "x.toml:2:13: `class.kv.transfers` is \"many\": expected a number of transfers, 1 to 65536",
    );
    refused("[wait]\nspin_us = 1.5", "x.toml:2:11: `wait.spin_us` is 1.5: expected microseconds, 0 to 1000000");
    refused(
        "[metrics]\nlisten = \"on\"",
        "x.toml:2:10: `metrics.listen` is \"on\": expected \"off\", a port, such as \"9400\", or host:port (`on` is not \
         host:port: no `:` and port)",
    );
    refused("wait = 3", "x.toml:1:8: `wait` is 3: expected a section, begun by [wait]");
    refused("node = 3", "x.toml:1:8: `node` is 3: expected a section, begun by [node.NAME]");
    refused(
        "[channel]\nfrom = \"a\"",
        "x.toml:1:1: `channel` is [channel]: expected a section for each channel, begun by [[channel]]",
    );
    refused(
        "channel = [1]",
        "x.toml:1:12: `channel[0]` is 1: expected a section for each channel, begun by [[channel]]",
    );
    refused(
        "[memory.page]\nsize = 3",
        "x.toml:1:9: `memory.page` is [memory.page]: expected a page size: base, 2MiB or 1GiB",
    );
    refused(
        "[transport.shm]\ncopy_chunk_bytes = 1.5",
        "x.toml:2:20: `transport.shm.copy_chunk_bytes` is 1.5: \
         expected a size, 4KiB to 1GiB, written as 65536, \"64KiB\" or \"1MB\"",
    );
}

#[test]
fn names_that_do_not_exist() {
    refused(
        "backend = \"infiniband\"",
        "x.toml:1:11: `backend` is \"infiniband\": expected the name of a transport: shm, rdma or ucx",
    );
    refused(
        "[node.a]\nlisten = \"h:1\"\nrole = \"prefiller\"",
        "x.toml:3:8: `node.a.role` is \"prefiller\": \
         expected the role of a node: prefill, decode, trainer, replica or stage",
    );
    refused("[node.Prefill]", "x.toml:1:7: `node` is \"Prefill\": expected a node's name: 1 to 64 of a-z, 0-9 and -");
    refused(
        &format!("{TWO_NODES}from = \"a\"\nto = \"c\"\nclass = \"kv\""),
        "x.toml:9:6: `channel[0].to` names the node `c`, but there is no [node.c]; did you mean `a`?; nodes: a, b",
    );
}

#[test]
fn values_out_of_range() {
    refused(
        "[class.kv]\ncounters = 1048577",
        "x.toml:2:12: `class.kv.counters` is 1048577: expected a number of counters, 1 to 1048576",
    );
    refused(
        "[class.kv]\nfence_after_ms = 86400001",
        "x.toml:2:18: `class.kv.fence_after_ms` is 86400001: expected milliseconds, 0 to 86400000",
    );
    refused(
        "[class.bulk]\ntransfers = -1",
        "x.toml:2:13: `class.bulk.transfers` is -1: expected a number of transfers, 1 to 65536",
    );
    refused(
        "[class.bulk]\nblocks = 99999999999",
        "x.toml:2:10: `class.bulk.blocks` is 99999999999: expected a number of block-id pairs, 1 to 16777216",
    );
    refused(
        "[class.kv]\nmessage_bytes = 255",
        "x.toml:2:17: `class.kv.message_bytes` is 255: \
         expected a size, 256 to 64KiB, written as 65536, \"64KiB\" or \"1MB\"",
    );
    // One more than core would take: a good config is one that opens.
    refused(
        "[class.kv]\nmessages = 4097",
        "x.toml:2:12: `class.kv.messages` is 4097: expected a number of messages, 1 to 4096",
    );
    refused(
        "[class.kv]\nmessage_bytes = \"65KiB\"",
        "x.toml:2:17: `class.kv.message_bytes` is 65KiB: \
         expected a size, 256 to 64KiB, written as 65536, \"64KiB\" or \"1MB\"",
    );
    for silence in [999, 3_600_001] {
        refused(
            &format!("[faults]\npeer_silence_ms = {silence}"),
            &format!("x.toml:2:19: `faults.peer_silence_ms` is {silence}: expected milliseconds, 1000 to 3600000"),
        );
    }
    refused(
        "[rendezvous]\nconnect_timeout_ms = 0",
        "x.toml:2:22: `rendezvous.connect_timeout_ms` is 0: expected milliseconds, 1 to 86400000",
    );
}

#[test]
fn malformed_sizes_addresses_and_folders() {
    let chunk = |value: &str| format!("[transport.shm]\ncopy_chunk_bytes = {value}");
    let size = |value: &str, why: &str| {
        format!(
            "x.toml:2:20: `transport.shm.copy_chunk_bytes` is {value}: \
             expected a size, 4KiB to 1GiB, written as 65536, \"64KiB\" or \"1MB\" ({why})"
        )
    };
    refused(
        &chunk("\"1MMiB\""),
        &size(
            "\"1MMiB\"",
            "`1MMiB` has the unknown unit `MMiB`; \
             known: B, binary K/KiB, M/MiB, G/GiB, T/TiB, decimal KB, MB, GB, TB",
        ),
    );
    refused(&chunk("-4096"), &size("-4096", "`-4096` is negative, a size is not"));
    refused(
        &chunk("\"99999999TiB\""),
        &size("\"99999999TiB\"", "`99999999TiB` is more than 18446744073709551615 bytes, the largest size there is"),
    );
    refused(
        "[node.a]\nlisten = \"localhost\"\nrole = \"stage\"",
        "x.toml:2:10: `node.a.listen` is \"localhost\": \
         expected host:port, such as \"127.0.0.1:7300\" (`localhost` is not host:port: no `:` and port)",
    );
    refused(
        "[node.a]\nlisten = \"localhost:0\"\nrole = \"stage\"",
        "x.toml:2:10: `node.a.listen` is localhost:0: expected a port other than 0, for the others to find it",
    );
    refused(
        "[transport.shm]\nruntime_dir = \"run/pegaflow\"",
        "x.toml:2:15: `transport.shm.runtime_dir` is \"run/pegaflow\": \
         expected \"auto\" or the absolute path of a folder (`run/pegaflow` is not an absolute path)",
    );
}

#[test]
fn sections_at_odds_with_each_other() {
    // The second in the file is the one named, whichever comes first in the alphabet.
    refused(
        "[node.b]\nlisten = \"Host:1\"\nrole = \"stage\"\n[node.a]\nlisten = \"host:1\"\nrole = \"stage\"",
        "x.toml:5:10: `node.a.listen` is host:1, which is also where `b` listens: expected an address of its own",
    );
    let channel = "from = \"a\"\nto = \"b\"\nclass = \"kv\"\n";
    refused(
        &format!("{TWO_NODES}{channel}[[channel]]\n{channel}"),
        "x.toml:12:8: `channel[1]` is `channel[0]` again: expected one channel per from, to and class",
    );
}

#[test]
fn long_values_are_cut() {
    let error = Config::parse(&format!("backend = \"{}\"", "é".repeat(5000)), "x.toml").unwrap_err().to_string();
    assert!(error.chars().count() < 200, "{error}");
    assert!(error.contains("é…"), "{error}");
}

/// Whatever stands in a file, reading it ends with a config or an error.
#[test]
fn damaged_files_never_panic() {
    let template = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/pegaflow.toml"));
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..2000 {
        let mut bytes = template.to_vec();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.drain(at..(at + random.usize(1..40)).min(bytes.len()))),
                _ => bytes.insert(at, *random.choice(b"[]{}=\".,\n#-0").unwrap_or(&b'=')),
            }
        }
        if let Err(error) = Config::parse(&String::from_utf8_lossy(&bytes), "damaged.toml") {
            assert!(error.to_string().starts_with("damaged.toml:"), "{error}");
        }
    }
}
