//! `pegaflow bench write|read|count|message`.

use std::{process::Command, process::Stdio, thread, time::Duration};

use serde_json::Value;

use super::{Running, config, pegaflow, said};

/// Small, so that a debug build is done in a moment.
const SMALL: [&str; 8] = ["--blocks", "16", "--block-bytes", "4K", "--pool", "4M", "--seconds", "0.2"];
const KEYS: [&str; 19] = [
    "backend",
    "op",
    "block_bytes",
    "blocks",
    "pattern",
    "depth",
    "progress",
    "idle",
    "transfers",
    "errors",
    "gb_per_s",
    "p50_us",
    "p99_us",
    "p999_us",
    "cpu_seconds_per_gb",
    "limit",
    "limit_gb_per_s",
    "share_of_limit",
    "share_interval",
];

fn bench(op: &str, more: &[&str]) -> Value {
    let small: &[&str] = if matches!(op, "write" | "read") { &SMALL } else { &SMALL[6..] };
    let arguments = [&["bench", op, "--json"], small, more].concat();
    let output = pegaflow(&arguments);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{arguments:?}: {err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    let record: Value = serde_json::from_str(&out).unwrap();
    for key in KEYS {
        assert!(record.get(key).is_some(), "`{key}` is missing in: {record}");
    }
    assert_eq!((&record["op"], &record["errors"]), (&op.into(), &0.into()));
    assert!(record["transfers"].as_u64() > Some(0), "{record}");
    let latency = |key: &str| record[key].as_f64().unwrap();
    assert!(0.0 < latency("p50_us") && latency("p50_us") <= latency("p99_us"), "{record}");
    assert!(latency("p99_us") <= latency("p999_us"), "{record}");
    record
}

#[test]
fn every_block_is_compared_where_it_landed() {
    for more in [&[][..], &["--pattern", "contiguous"], &["--idle", "sleep", "--depth", "1"], &["--depth", "64"]] {
        for op in ["write", "read"] {
            let record = bench(op, &[&["--verify"], more].concat());
            assert_eq!(record["verified"].as_u64(), record["transfers"].as_u64().map(|it| it * 16), "{record}");
            assert!(record["gb_per_s"].as_f64() > Some(0.0) && record["cpu_seconds_per_gb"].as_f64() > Some(0.0));
            assert_eq!(record["pool_bytes"], 4 << 20);
        }
    }
    let record = bench("write", &[]);
    assert!(record["verified"].is_null() && record["limit"].is_null(), "{record}");
}

#[test]
fn counts_and_messages_go_there_and_back() {
    for (op, more) in [("count", &[][..]), ("message", &[]), ("message", &["--block-bytes", "1000", "--idle", "sleep"])]
    {
        let record = bench(op, &[&["--verify"], more].concat());
        // Compared at either end.
        assert_eq!(record["verified"].as_u64(), record["transfers"].as_u64().map(|it| it * 2), "{record}");
        assert!(record["gb_per_s"].is_null() && record["blocks"] == 0, "{record}");
        let bytes = if op == "count" {
            0
        } else if more.is_empty() {
            64
        } else {
            1000
        };
        assert_eq!(record["block_bytes"], bytes);
    }
}

#[test]
fn a_wrong_block_ends_with_1_and_is_named() {
    for (op, named) in [("write", "wrong block: transfer 3, block 7"), ("read", "wrong block: transfer 3, block 7")] {
        let output = pegaflow(&[&["bench", op, "--verify", "--corrupt", "3,7", "--json"], &SMALL[..]].concat());
        let (out, err) = said(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains(named) && err.contains("expected 0x"), "{err}");
    }
    let output = pegaflow(&["bench", "message", "--verify", "--corrupt", "3,0", "--seconds", "0.2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).1.contains("the one of round 3"), "{}", said(&output).1);
}

#[test]
fn a_rate_is_kept() {
    let record = bench("write", &["--rate", "200"]);
    let (transfers, seconds) = (record["transfers"].as_f64().unwrap(), record["seconds"].as_f64().unwrap());
    // The last of a slice starts an interval before its end; a machine that can't keep up is slower, never faster.
    let slices = (seconds / 0.0125).ceil() + 1.0;
    assert!(transfers <= seconds * 200.0 + slices, "{record}");
    assert_eq!(record["rate"], 200.0);
    assert_eq!(bench("count", &["--rate", "500"])["rate"], 500.0);
}

#[test]
fn rivals_run_in_turn_with_us() {
    for (op, rival) in [
        ("write", "memcpy"),
        ("read", "memcpy"),
        ("write", "socket"),
        ("read", "socket"),
        ("count", "socket"),
        ("message", "socket"),
    ] {
        let record = bench(op, &["--against", rival]);
        assert_eq!(record["limit"], rival);
        let figure = if matches!(op, "write" | "read") { "limit_gb_per_s" } else { "limit_p50_us" };
        assert!(record[figure].as_f64() > Some(0.0), "{record}");
        let share = record["share_of_limit"].as_f64().unwrap();
        let end = |at: usize| record["share_interval"][at].as_f64().unwrap();
        assert!(0.0 < end(0) && end(0) <= share && share <= end(1), "{record}");
    }
}

#[test]
fn ucx_perftest_runs_or_its_package_is_named() {
    let there = pegaflow_bench::program::is_installed("ucx_perftest");
    if !there {
        println!("skipped: ucx_perftest is not installed (Debian's package ucx-utils); what is said then is tested");
    }
    for op in ["write", "count"] {
        if there {
            let record = bench(op, &["--against", "ucx_perftest"]);
            assert!(record["share_of_limit"].as_f64() > Some(0.0), "{record}");
        } else {
            let output = pegaflow(&["bench", op, "--against", "ucx_perftest"]);
            assert_eq!(output.status.code(), Some(1));
            assert!(said(&output).1.contains("ucx-utils"), "{}", said(&output).1);
        }
    }
    // Nothing is installed there.
    let output = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
        .args(["bench", "write", "--against", "ucx_perftest"])
        .env("PATH", "/no/such/folder")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).1.contains("apt install ucx-utils"), "{}", said(&output).1);
}

#[test]
fn what_is_wrong_is_said_with_what_was_expected() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["write", "--block-bytes", "0"], 1, "--block-bytes 0: expected 1 to 4294967295"),
        (&["write", "--block-bytes", "8G"], 1, "expected 1 to 4294967295"),
        (&["write", "--blocks", "0"], 2, "--blocks"),
        (&["write", "--seconds", "0"], 1, "--seconds 0: expected more than 0"),
        (&["write", "--seconds", "NaN"], 1, "--seconds NaN: expected more than 0"),
        (&["write", "--rate", "0"], 1, "--rate 0: expected more than 0"),
        (&["write", "--rate=-1"], 1, "--rate -1: expected more than 0"),
        (&["write", "--blocks", "65536"], 1, "class.kv.blocks is 65536: raise it"),
        (&["write", "--depth", "257", "--blocks", "1"], 1, "class.kv.transfers is 256: raise it"),
        (&["message", "--block-bytes", "1025"], 1, "class.kv.message_bytes is 1024: raise it"),
        (&["write", "--block-bytes", "4000M", "--blocks", "16384"], 1, "of memory for two pools"),
        (&["write", "--pool", "1M"], 1, "--pool 1 MiB: what is in flight needs 64 MiB"),
        (&["write", "--progress", "poller"], 1, "this version has no poller threads"),
        (&["write", "--regions", "foreign"], 1, "memory that the caller brought can't be granted"),
        (&["write", "--against", "perftest"], 1, "it needs a verbs device, and backend shm uses none"),
        (&["count", "--against", "memcpy"], 1, "it copies blocks, and a count has none"),
        (&["write", "--peer", "far"], 2, "--config"),
        (&["write", "--backend", "ucx"], 1, "not built yet"),
        (&["write", "--corrupt", "1,1"], 2, "--verify"),
    ];
    for (arguments, code, part) in cases {
        // perftest is looked for first.
        if arguments.contains(&"perftest") && !pegaflow_bench::program::is_installed("ib_write_bw") {
            println!("skipped: {arguments:?}: ib_write_bw is not installed (Debian's package perftest)");
            continue;
        }
        let output = pegaflow(&[&["bench"], *arguments].concat());
        let (_, err) = said(&output);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: `{part}` is missing in: {err}");
        assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    }
}

#[test]
fn help_teaches() {
    for op in ["write", "read", "count", "message"] {
        let output = pegaflow(&["bench", op, "--help"]);
        let (out, _) = said(&output);
        for part in ["Examples:", "JSON keys:", "Exit status:", "coordinated", "10^9"] {
            assert!(out.contains(part) || (part == "10^9" && op != "write" && op != "read"), "{op}: `{part}`");
        }
    }
}

#[test]
fn the_table_names_pool_and_limit() {
    let output = pegaflow(&[&["bench", "write", "--against", "memcpy"], &SMALL[..]].concat());
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    for part in ["pool", "times the last-level cache", "GB/s", "p99.9", "memcpy", "95 % interval", "processor time"] {
        assert!(out.contains(part), "`{part}` is missing in:\n{out}");
    }
}

#[test]
fn a_node_that_runs_already_serves_bench_after_bench() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let path = path.to_str().unwrap();
    // It has to run: it is not started here.
    let output = pegaflow(&["bench", "write", "--config", path, "--peer", "two"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).1.contains("node `two` does not answer at"), "{}", said(&output).1);
    assert!(said(&output).1.contains("pegaflow node --config"), "{}", said(&output).1);
    let output = pegaflow(&["bench", "write", "--config", path, "--peer", "tow"]);
    assert!(said(&output).1.contains("two"), "{}", said(&output).1);
    let _node = Running::decode(path);
    for op in ["write", "read", "count", "message"] {
        let record = bench(op, &["--config", path, "--peer", "two", "--verify"]);
        assert!(record["verified"].as_u64() > Some(0), "{record}");
    }
}

#[test]
fn transfers_that_are_not_done_are_counted_as_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let path = path.to_str().unwrap();
    let node = Running::decode(path);
    let bench = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
        .args(
            [&["bench", "write", "--json", "--config", path, "--peer", "two"], &SMALL[..6], &["--seconds", "60"]]
                .concat(),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // In the middle of it.
    let addresses = pegaflow::config::Config::load(path).unwrap().addresses();
    let any = "127.0.0.1:0".parse().unwrap();
    let board = pegaflow::rendezvous::TcpBoard::start("test", &any, addresses).unwrap();
    board.fetch_blocking("one", "progress", None, Duration::from_secs(30)).unwrap();
    thread::sleep(Duration::from_millis(50));
    drop(node);
    let output = bench.wait_with_output().unwrap();
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    // Between two slices nothing is in flight; then there is the reason alone.
    if let Ok(record) = serde_json::from_str::<Value>(&out) {
        assert!(record["errors"].as_u64() > Some(0) && record["transfers"].as_u64() > Some(0), "{record}");
    }
    assert!(err.contains("the peer's process ended"), "{err}");
}
