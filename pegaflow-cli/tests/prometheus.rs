//! A real Prometheus scrapes two nodes, and has what they counted. Ignored, with the reason, where there is none.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// Names the program; without it, it is looked for on the path.
const VARIABLE: &str = "PEGAFLOW_PROMETHEUS";
/// For a scrape a second, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let found = program();
    let name = if found.is_some() {
        "two_nodes_are_scraped".to_owned()
    } else {
        format!("two_nodes_are_scraped: no prometheus on the path, and {VARIABLE} is not set")
    };
    let ignored = found.is_none();
    let test = move || found.map_or(Ok(()), |program| two_nodes_are_scraped(&program));
    let trial = Trial::test(name, test).with_ignored_flag(ignored);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn program() -> Option<PathBuf> {
    if let Some(named) = env::var_os(VARIABLE) {
        return Some(named.into());
    }
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|folder| folder.join("prometheus")).find(|path| path.is_file())
}

/// A process that ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn two_nodes_are_scraped(prometheus: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("pegaflow.toml");
    let (first, second) = (free(), free());
    let text = format!(
        "[node.one]\nlisten = \"{}\"\nrole = \"prefill\"\n[node.two]\nlisten = \"{}\"\nrole = \"decode\"\n\
         [[channel]]\nfrom = \"one\"\nto = \"two\"\nclass = \"kv\"\n[metrics]\nlisten = \"0\"\n",
        first.1, second.1
    );
    drop((first, second));
    fs::write(&config, text)?;
    let nodes = [node(&config, "one"), node(&config, "two")];
    let (listener, own) = free();
    let file = folder.path().join("prometheus.yml");
    let targets = format!("[\"{}\", \"{}\"]", nodes[0].1, nodes[1].1);
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: pegaflow\n    static_configs:\n      \
         - targets: {targets}\n"
    );
    fs::write(&file, text)?;
    drop(listener);
    let _prometheus = Command::new(prometheus)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={own}"))
        .args(["--log.level=warn"])
        .stdout(Stdio::null())
        .spawn()
        .map(Running)?;

    // 250 tokens are 16 blocks of 4 KiB, in K and V of 3 layers; 2 rounds.
    let demo = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
        .args(["demo", "--model", "custom", "--layers", "3", "--kv-heads", "2", "--head-dim", "64", "--dtype", "fp16"])
        .args(["--tokens", "250", "--rounds", "2", "--json", "--config"])
        .arg(&config)
        .output()?;
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let bytes = 2 * 2 * 3 * 16 * 4096;
    let (one, two) = (&nodes[0].1, &nodes[1].1);
    let expected = [
        ("sum(up{job=\"pegaflow\"})".to_owned(), 2),
        (
            format!(
                "pegaflow_bytes_total{{instance=\"{one}\",op=\"write\",peer=\"two\",class=\"kv\",backend=\"shm\"}}"
            ),
            bytes,
        ),
        (format!("pegaflow_counts_total{{instance=\"{one}\",direction=\"out\"}}"), 6),
        (format!("pegaflow_counts_total{{instance=\"{two}\",direction=\"in\",peer=\"one\"}}"), 6),
        (format!("pegaflow_transfers_ended_total{{instance=\"{one}\",op=\"write\",outcome=\"done\"}}"), 6),
        (format!("pegaflow_posted_to_done_seconds_count{{instance=\"{one}\",op=\"write\"}}"), 6),
        (format!("pegaflow_posted_to_done_seconds_bucket{{instance=\"{one}\",op=\"write\",le=\"+Inf\"}}"), 6),
        ("sum(pegaflow_node_info)".to_owned(), 2),
    ];
    for (query, value) in &expected {
        until(&own, query, *value);
    }
    Ok(())
}

/// A node of the config, up, and where its figures are.
fn node(config: &Path, name: &str) -> (Running, String) {
    let mut node = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
        .args(["node", "--name", name, "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let mut lines = BufReader::new(node.0.stdout.take().unwrap()).lines();
    let figures = lines.find_map(|line| {
        let line = line.unwrap();
        line.split_once("http://").and_then(|(_, rest)| rest.split_once("/metrics")).map(|(at, _)| at.to_owned())
    });
    (node, figures.unwrap())
}

/// Asks Prometheus until a query has this one value.
fn until(prometheus: &str, query: &str, value: u64) {
    let until = Instant::now() + PATIENCE;
    let mut last = String::new();
    while Instant::now() < until {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build());
        let asked = agent.get(format!("http://{prometheus}/api/v1/query")).query("query", query).call();
        match asked.and_then(|mut answer| answer.body_mut().read_to_string()) {
            Ok(text) => {
                let answer: Value = serde_json::from_str(&text).unwrap();
                let results = answer["data"]["result"].as_array().unwrap();
                let found: Vec<&str> = results.iter().filter_map(|one| one["value"][1].as_str()).collect();
                if found == [value.to_string()] {
                    return;
                }
                last = format!("{found:?}");
            }
            Err(error) => last = error.to_string(),
        }
        thread::sleep(Duration::from_millis(200));
    }
    panic!("{query}: expected {value}, got {last}");
}
