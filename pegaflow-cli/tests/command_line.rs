//! The program as a person runs it: what it does, what it says when something is wrong, how it ends.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "command_line/bench.rs"]
mod bench;
#[path = "command_line/demo.rs"]
mod demo;
#[path = "command_line/ends.rs"]
mod ends;
#[path = "command_line/results.rs"]
mod results;
#[path = "command_line/shell.rs"]
mod shell;
#[path = "command_line/stats.rs"]
mod stats;
#[path = "command_line/terminal.rs"]
mod terminal;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use pegaflow::{config::Config, rendezvous::TcpBoard};

fn pegaflow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pegaflow")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A small custom model, so that a debug build is done in a moment.
const SMALL: [&str; 15] = [
    "demo",
    "--model",
    "custom",
    "--layers",
    "3",
    "--kv-heads",
    "2",
    "--head-dim",
    "64",
    "--dtype",
    "fp16",
    "--tokens",
    "250",
    "--rounds",
    "2",
];

fn small(more: &[&str]) -> Output {
    pegaflow(&[&SMALL[..], more].concat())
}

#[test]
fn a_demo_moves_and_verifies_every_block() {
    let output = small(&["--json"]);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["backend"], "shm");
    assert_eq!(report["model"], "custom");
    // 250 tokens are 16 blocks of 16, in K and V of 3 layers; a block is 16 x 2 x 64 x 2 bytes.
    assert_eq!(report["blocks"], 16 * 2 * 3);
    assert_eq!(report["block_bytes"], 4096);
    assert_eq!(report["bytes"], 16 * 2 * 3 * 4096);
    assert_eq!(report["verified"], true);
    assert_eq!(report["verified_blocks"], 2 * 16 * 2 * 3);
    assert_eq!(report["limit"], "memcpy");
    for figure in ["gb_per_s", "limit_gb_per_s", "share_of_limit", "first_layer_us", "last_layer_us"] {
        assert!(report[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {report}");
    }
    assert!(report["first_layer_us"].as_f64() <= report["last_layer_us"].as_f64());
}

#[test]
fn the_table_names_its_limit_and_the_shape() {
    let output = small(&[]);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    for part in ["3 layers, 2 KV heads of 64 fp16", "250 tokens = 16 blocks", "verified", "GB/s", "memcpy", "share"] {
        assert!(out.contains(part), "`{part}` is missing in:\n{out}");
    }
}

#[test]
fn a_wrong_byte_ends_with_1_and_names_layer_and_block() {
    let output = small(&["--corrupt", "2,7"]);
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("wrong byte: layer 2, K, block 7"), "{err}");
}

#[test]
fn one_layer_one_block_one_token() {
    let output = pegaflow(&[
        "demo",
        "--model",
        "custom",
        "--layers",
        "1",
        "--kv-heads",
        "1",
        "--head-dim",
        "1",
        "--dtype",
        "fp8",
        "--tokens",
        "1",
        "--block-tokens",
        "1",
        "--rounds",
        "1",
        "--json",
    ]);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["bytes"], 2);
}

#[test]
fn what_is_wrong_is_said_with_what_was_expected() {
    let cases: [(&[&str], i32, &str); 14] = [
        (&["demo", "--backend", "ucx"], 1, "not built yet"),
        (&["demo", "--backend", "smh"], 2, "[possible values: shm, rdma, ucx]"),
        (&["demo", "--model", "gpt-17"], 2, "llama-3.1-8b"),
        (&["demo", "--model", "custom", "--layers", "2"], 2, "--kv-heads, --head-dim, --dtype"),
        (&["demo", "--layers", "2"], 2, "--model custom only"),
        (&["demo", "--tokens", "0"], 2, "expected a whole number, 1 to 1048576"),
        (&["demo", "--tokens", "many"], 2, "expected a whole number, 1 to 1048576"),
        (&["demo", "--seed", "-1"], 2, "expected a whole number, 0 to"),
        (&["demo", "--layer-time", "5"], 2, "such as 500us or 2ms"),
        (&["demo", "--layer-time", "11s"], 2, "expected 1us to 10s"),
        (&["demo", "--planes", "1"], 2, "--model custom only"),
        (&["demo", "--corrupt", "32,0"], 2, "there are 32 layers and 128 blocks, both counted from 0"),
        (&["demo", "--config", "/no/such/file.toml"], 1, "/no/such/file.toml"),
        (&["node", "--config", "/no/such/file.toml", "--name", "x"], 1, "/no/such/file.toml"),
    ];
    for (arguments, code, part) in cases {
        let output = pegaflow(arguments);
        let (_, err) = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: `{part}` is missing in: {err}");
        assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    }
}

/// The backend asked for, or its own reason; never another one.
#[test]
fn rdma_works_or_says_why_not() {
    let refused = |output: &Output| {
        let (out, err) = said(output);
        assert_eq!(output.status.code(), Some(1), "{out}{err}");
        assert!(err.contains("error: backend unavailable: backend `rdma`: "), "{err}");
        assert!(!out.contains("verified") && !err.contains("panicked"), "{out}{err}");
    };
    let output = small(&["--backend", "rdma", "--json"]);
    if output.status.success() {
        let report: serde_json::Value = serde_json::from_str(&said(&output).0).unwrap();
        assert_eq!((&report["backend"], &report["verified"]), (&"rdma".into(), &true.into()));
    } else {
        refused(&output);
    }
    // Here it can't work, whatever the machine has.
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "[transport.rdma]\nlibrary = \"/no/such/libibverbs.so.1\"\n");
    let path = path.to_str().unwrap();
    refused(&small(&["--backend", "rdma", "--config", path]));
    let text = format!("backend = \"rdma\"\n{}", fs::read_to_string(path).unwrap());
    fs::write(path, text).unwrap();
    refused(&small(&["--config", path, "--json"]));
    // The command line is over the file, here too.
    let output = small(&["--config", path, "--backend", "shm", "--json"]);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["backend"], "shm");
}

#[test]
fn help_teaches() {
    for (arguments, part) in [
        (&["--help"][..], "Exit status"),
        (&["demo", "--help"], "Examples:"),
        (&["node", "--help"], "in two terminals"),
        (&["config", "--help"], "where that came from"),
    ] {
        let output = pegaflow(arguments);
        assert!(output.status.success());
        assert!(said(&output).0.contains(part), "{arguments:?}");
    }
}

/// A config with both nodes on free ports, in a folder of its own.
fn config(folder: &Path, more: &str) -> PathBuf {
    let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let text = format!(
        "[node.one]\nlisten = \"{}\"\nrole = \"prefill\"\n[node.two]\nlisten = \"{}\"\nrole = \"decode\"\n\
         [[channel]]\nfrom = \"two\"\nto = \"one\"\nclass = \"kv\"\n{more}",
        first.local_addr().unwrap(),
        second.local_addr().unwrap()
    );
    let path = folder.join("pegaflow.toml");
    fs::write(&path, text).unwrap();
    path
}

struct Running(Child);

impl Running {
    /// The decode node of [`config`], up.
    fn decode(config: &str) -> Self {
        let mut node = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
            .args(["node", "--name", "two", "--config", config])
            .stdout(Stdio::piped())
            .spawn()
            .map(Self)
            .unwrap();
        let mut line = String::new();
        BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("node `two` (decode) is up"), "{line}");
        node
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_in_another_terminal_serves_demo_after_demo() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let path = path.to_str().unwrap();
    let node = Running::decode(path);
    for _ in 0..2 {
        let output = small(&["--config", path]);
        let (out, err) = said(&output);
        assert!(output.status.success(), "{err}");
        assert!(out.contains("node `two` runs already"), "{out}");
    }
    // A second node of the same name finds the address taken, and says so.
    let output = pegaflow(&["node", "--name", "two", "--config", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).1.contains("running already"), "{}", said(&output).1);
    drop(node);
}

#[test]
fn a_killed_node_ends_the_demo_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "");
    let path = path.to_str().unwrap();
    let node = Running::decode(path);
    let mut line = String::new();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
        .args([&SMALL[..13], &["--rounds", "1000", "--config", path]].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    while !line.contains("runs already") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the demo ended early");
    }
    // In the middle of it: some layers have come, most have not.
    let addresses = Config::load(path).unwrap().addresses();
    let board = TcpBoard::start("test", &"127.0.0.1:0".parse().unwrap(), addresses).unwrap();
    board.fetch_blocking("two", "progress", None, Duration::from_secs(30)).unwrap();
    drop(node);
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    // The side that is left says what it saw: the channel broke, or the board is gone.
    let (_, err) = said(&output);
    assert!(err.contains("error: node `one`: "), "{err}");
    assert!(err.contains("the peer's process ended") || err.contains("node `two`"), "{err}");
}

#[test]
fn config_shows_every_value_with_its_origin_and_finds_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let more =
        "[transport.shm]\ncopy_chunk_bytes = \"2MiB\"\n[[transport.rdma.rail]]\n[[transport.rdma.rail]]\nport = 2\n";
    let path = config(folder.path(), more);
    let path = path.to_str().unwrap();
    let (out, _) = said(&pegaflow(&["config", "show", path]));
    let line = out.lines().find(|line| line.contains("transport.shm.copy_chunk_bytes")).unwrap();
    assert!(line.contains("2MiB") && line.contains("pegaflow.toml:12"), "{line}");
    let line = out.lines().find(|line| line.contains("transport.rdma.rail[1].port")).unwrap();
    assert!(line.contains("= 2") && line.contains("pegaflow.toml:15"), "{line}");
    assert!(out.lines().any(|line| line.contains("class.kv.transfers") && line.contains("default")), "{out}");
    assert!(pegaflow(&["config", "check", path]).status.success());
    for (text, parts) in [
        ("bakend = \"shm\"\n", ["pegaflow.toml:1", "bakend", "backend"]),
        ("backend = \"tcp\"\n", ["pegaflow.toml:1", "tcp", "shm, rdma or ucx"]),
        ("[transport.rdma]\nsend_depth = 64\nsignal_every = 40\n", ["pegaflow.toml:3", "signal_every", "at most 32"]),
        ("[transport.shm]\ncopy_chunk_bytes = \"1 potato\"\n", ["pegaflow.toml:2", "copy_chunk_bytes", "potato"]),
    ] {
        fs::write(path, text).unwrap();
        let output = pegaflow(&["config", "check", path]);
        let (_, err) = said(&output);
        assert_eq!(output.status.code(), Some(1));
        for part in parts {
            assert!(err.contains(part), "`{part}` is missing in: {err}");
        }
    }
}
