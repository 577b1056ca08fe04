//! `pegaflow stats`.

use std::{fs, net::TcpListener};

use serde_json::Value;

use super::{Running, config, pegaflow, said, small};

/// A node with figures that has served a demo, and its config.
fn node_with_figures(folder: &std::path::Path) -> (Running, String) {
    let path = config(folder, "[metrics]\nlisten = \"0\"\n");
    let path = path.to_str().unwrap().to_owned();
    let node = Running::decode(&path);
    let (out, err) = said(&small(&["--config", &path]));
    assert!(out.contains("node `two` runs already"), "{out}{err}");
    (node, path)
}

#[test]
fn a_node_that_runs_shows_what_it_has_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, path) = node_with_figures(folder.path());
    let (out, err) = said(&pegaflow(&["stats", "--config", &path, "--name", "two"]));
    // 2 rounds of 3 layers, each with a count.
    for part in ["node `two` over shm", "one", "kv", "message", "and 6; polls", "registered", "quarantined 0 B"] {
        assert!(out.contains(part), "`{part}` is missing in:\n{out}{err}");
    }
    let (out, err) = said(&pegaflow(&["stats", "--config", &path, "--name", "two", "--json"]));
    let snapshot: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let counts = snapshot["samples"].as_array().unwrap().iter().find(|sample| {
        sample["name"] == "pegaflow_counts_total" && sample["labels"]["direction"] == "in" && sample["value"] == 6
    });
    assert!(counts.is_some(), "{out}");
}

#[test]
fn what_can_not_be_asked_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, path) = node_with_figures(folder.path());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let board = fs::read_to_string(&path).unwrap();
    let board = board.split("listen = \"").nth(2).unwrap().split('"').next().unwrap().to_owned();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["stats"], 2, "--at <HOST:PORT>"),
        (&["stats", "--at", "9400"], 2, "`9400` is not host:port"),
        (&["stats", "--at", &nobody], 1, "/stats.json: io: Connection refused"),
        // Something else answers there.
        (&["stats", "--at", &board], 1, "/stats.json: "),
        (&["stats", "--config", &path, "--name", "thre"], 1, "no node `thre`"),
    ];
    for (arguments, code, part) in cases {
        let output = pegaflow(arguments);
        let (_, err) = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: `{part}` is missing in: {err}");
    }
}
