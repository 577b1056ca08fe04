//! `pegaflow stats`: the figures of a node that runs, as a table or as JSON.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{CellAlignment, Table, presets};
use pegaflow::{
    Session,
    config::{Config, HostPort},
    metrics::{Sample, Snapshot, Value},
    rendezvous::{RendezvousError, TcpBoard},
};

use crate::{Failure, args::StatsArgs, machine::human};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &StatsArgs) -> Result<(), Failure> {
    let at = match (&arguments.at, &arguments.config, &arguments.name) {
        (Some(at), ..) => at.clone(),
        (None, Some(config), Some(name)) => find(&Config::load(config)?, name)?,
        _ => return Err("say --at, or --config and --name".into()),
    };
    let mut before: Option<Snapshot> = None;
    loop {
        let now = fetch(&at)?;
        match (&before, arguments.json) {
            (_, true) => println!("{}", serde_json::to_string(&now)?),
            (None, false) => println!("{}", show(&now, None)),
            (Some(before), false) => println!("{}", show(&now, arguments.watch.map(|seconds| (before, seconds)))),
        }
        let Some(seconds) = arguments.watch else {
            return Ok(());
        };
        before = Some(now);
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

/// Asks the node's board.
fn find(config: &Config, name: &str) -> Result<HostPort, Failure> {
    config.node(name)?;
    let board = TcpBoard::start("stats", &"127.0.0.1:0".parse()?, config.addresses())?;
    match board.fetch_blocking(name, Session::METRICS_KEY, None, PATIENCE) {
        Ok(found) => Ok(String::from_utf8(found.bytes)?.parse()?),
        Err(error @ RendezvousError::NoAnswer { .. }) => {
            let why = "a node serves figures only where its config has [metrics] listen, or with --metrics";
            Err(format!("{error}; {why}").into())
        }
        Err(error) => Err(error.into()),
    }
}

fn fetch(at: &HostPort) -> Result<Snapshot, Failure> {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build());
    let url = format!("http://{at}/stats.json");
    let text = agent.get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string());
    let text = text.map_err(|error| format!("{url}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{url}: not the figures of a Pegaflow node: {error}").into())
}

/// A row: one peer, class and operation.
type Key = (String, String, String);

/// The table; of `since`, what came since then, so many seconds ago.
fn show(now: &Snapshot, since: Option<(&Snapshot, u64)>) -> String {
    let mut text = format!("node `{}` over {}\n", now.node, now.backend);
    text += &transfers(now, since);
    let figure = |name: &str| {
        let name = format!("pegaflow_{name}");
        let before = since.map_or(0, |(before, _)| before.sum(&name, &[]));
        now.sum(&name, &[]).saturating_sub(before)
    };
    text += &format!(
        "\nmessages and counts in {} and {}; polls {}, of them {} busy; registered {}, quarantined {}",
        direction(now, since, "messages_total", "in"),
        direction(now, since, "counts_total", "in"),
        figure("polls_total"),
        figure("polls_busy_total"),
        human(now.sum("pegaflow_registered_bytes", &[])),
        human(now.sum("pegaflow_quarantined_bytes", &[])),
    );
    text
}

fn direction(now: &Snapshot, since: Option<(&Snapshot, u64)>, name: &str, direction: &str) -> u64 {
    let of = |snapshot: &Snapshot| snapshot.sum(&format!("pegaflow_{name}"), &[("direction", direction)]);
    of(now).saturating_sub(since.map_or(0, |(before, _)| of(before)))
}

fn transfers(now: &Snapshot, since: Option<(&Snapshot, u64)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let rate = since.map(|(_, seconds)| seconds);
    let moved = if rate.is_some() { "GB/s" } else { "moved" };
    table.set_header(["peer", "class", "op", "accepted", "done", "other ends", "in flight", moved, "p50", "p99"]);
    for ((peer, class, op), _) in rows(now) {
        let labels = [("peer", peer.as_str()), ("class", class.as_str()), ("op", op.as_str())];
        let new = |name: &str, more: &[(&str, &str)]| {
            let labels = [&labels[..], more].concat();
            let before = since.map_or(0, |(before, _)| before.sum(name, &labels));
            now.sum(name, &labels).saturating_sub(before)
        };
        let done = new("pegaflow_transfers_ended_total", &[("outcome", "done")]);
        let bytes = new("pegaflow_bytes_total", &[]);
        #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
        let moved = rate.map_or_else(|| human(bytes), |seconds| format!("{:.3}", bytes as f64 / seconds as f64 / 1e9));
        let times = now.times("pegaflow_posted_to_done_seconds", &labels);
        let micros = |pick: fn(&pegaflow::metrics::Times) -> f64| {
            times
                .filter(|times| times.count > 0)
                .map_or_else(|| "-".to_owned(), |times| format!("{:.1} us", pick(times)))
        };
        table.add_row([
            if peer.is_empty() { "(unknown)".to_owned() } else { peer.clone() },
            class.clone(),
            op.clone(),
            new("pegaflow_transfers_accepted_total", &[]).to_string(),
            done.to_string(),
            (new("pegaflow_transfers_ended_total", &[]) - done).to_string(),
            now.sum("pegaflow_transfers_in_flight", &labels).to_string(),
            moved,
            micros(|times| times.p50_us),
            micros(|times| times.p99_us),
        ]);
    }
    if table.is_empty() {
        return "no transfer so far".to_owned();
    }
    for at in 3..10 {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Each peer, class and operation that something was asked for.
fn rows(now: &Snapshot) -> BTreeMap<Key, u64> {
    let asked = now.samples.iter().filter(|sample| sample.name == "pegaflow_transfers_accepted_total");
    let label = |sample: &Sample, name: &str| sample.labels.get(name).cloned().unwrap_or_default();
    let row = |sample: &Sample| {
        let Value::Count(count) = sample.value else {
            return None;
        };
        Some(((label(sample, "peer"), label(sample, "class"), label(sample, "op")), count))
    };
    asked.filter_map(row).collect()
}
