//! Both ends' figures are exactly those of a workload, also where it is cancelled, late, refused and fenced.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use pegaflow_core::{Cause, Event, Outcome, Port, State, Submitted, Then};

use crate::two_nodes::{BLOCK, BLOCKS, TwoNodes};

/// What a workload should come to, kept by hand beside it.
#[derive(Default)]
struct Expected {
    accepted: BTreeMap<&'static str, u64>,
    full: u64,
    /// By tag: the operation, its blocks, what follows (`c`, `m`, or nothing), and the message's bytes.
    tags: BTreeMap<u64, (&'static str, u64, char, u64)>,
}

/// A seeded workload with random ends; at the end the channel is fenced in the middle of what is left.
fn workload(seed: u64) {
    let mut nodes = TwoNodes::new();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut expected = Expected::default();
    let far = || Instant::now() + Duration::from_secs(60);
    let (write, read) = (nodes.write.clone(), nodes.read.clone());
    for tag in 0..600 {
        let ids: Vec<u32> = (0..random.u32(0..20)).map(|_| random.u32(0..BLOCKS)).collect();
        let text = vec![7; random.usize(0..200)];
        let deadline = if random.u8(0..6) == 0 { Instant::now() } else { far() };
        let (op, plan) = if random.bool() { ("write", &write) } else { ("read", &read) };
        let (then, follows) = match random.u8(0..3) {
            0 => (Then::Nothing, ' '),
            1 => (Then::Count(nodes.counter.id()), 'c'),
            _ => (Then::Message(&text), 'm'),
        };
        let bytes = if follows == 'm' { text.len() as u64 } else { 0 };
        let (op, blocks, follows, bytes, taken) = if random.u8(0..5) == 0 {
            let sent = nodes.here.port.send(nodes.here.channel, &text, deadline, tag).unwrap();
            let taken = if let Submitted::Accepted(id) = sent { Some(id) } else { None };
            ("message", 0, 'm', text.len() as u64, taken)
        } else {
            (op, ids.len() as u64, follows, bytes, nodes.submit(plan, &ids, then, deadline, tag))
        };
        match taken {
            Some(id) => {
                *expected.accepted.entry(op).or_default() += 1;
                expected.tags.insert(tag, (op, blocks, follows, bytes));
                if random.u8(0..6) == 0 {
                    nodes.here.port.cancel(id);
                }
            }
            None => expected.full += 1,
        }
        for _ in 0..random.u8(0..3) {
            nodes.here.turn();
        }
        if random.u8(0..3) == 0 {
            nodes.there.turn();
        }
    }
    // What is in flight now is cut off.
    for tag in 1000..1004 {
        if nodes.submit(&write, &[1, 2, 3], Then::Nothing, far(), tag).is_some() {
            *expected.accepted.entry("write").or_default() += 1;
            expected.tags.insert(tag, ("write", 3, ' ', 0));
        } else {
            expected.full += 1;
        }
    }
    nodes.here.port.fence(nodes.here.channel).unwrap();
    let all = expected.tags.len();
    nodes.until("every end", |nodes| nodes.here.outcomes().count() == all);
    nodes.until("both ends of the channel", |nodes| {
        nodes.here.state() == Some(State::Broken(Cause::Fenced))
            && matches!(nodes.there.state(), Some(State::Broken(_)))
    });
    compare(&nodes, &expected);
}

fn compare(nodes: &TwoNodes, expected: &Expected) {
    let (here, there) = (nodes.here.metrics.snapshot(), nodes.there.metrics.snapshot());
    let of = |name: &str, labels: &[(&str, &str)]| here.sum(&format!("pegaflow_{name}"), labels);
    // What the events said, by operation and outcome.
    let mut ends: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let (mut bytes, mut blocks) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    let (mut counts, mut messages, mut message_bytes) = (0, 0, 0);
    for (tag, outcome, moved) in nodes.here.outcomes() {
        let (op, of_blocks, follows, of_bytes) = expected.tags[&tag];
        *ends.entry((op, outcome.kind())).or_default() += 1;
        *bytes.entry(op).or_default() += moved;
        if outcome == Outcome::Done {
            assert_eq!(moved, of_blocks * u64::from(BLOCK));
            *blocks.entry(op).or_default() += of_blocks;
            counts += u64::from(follows == 'c');
            messages += u64::from(follows == 'm');
            message_bytes += of_bytes;
        }
    }
    let kinds: std::collections::BTreeSet<_> = ends.keys().map(|(_, outcome)| *outcome).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["cancelled", "deadline_passed", "done", "fenced"]);
    for (&op, &accepted) in &expected.accepted {
        assert_eq!(of("transfers_accepted_total", &[("op", op)]), accepted, "{op}");
        assert_eq!(of("transfers_in_flight", &[("op", op)]), 0, "{op}");
    }
    for (&(op, outcome), &count) in &ends {
        assert_eq!(of("transfers_ended_total", &[("op", op), ("outcome", outcome)]), count, "{op} {outcome}");
    }
    assert_eq!(of("transfers_ended_total", &[]), expected.tags.len() as u64);
    for op in ["write", "read"] {
        assert_eq!(of("bytes_total", &[("op", op)]), bytes[op], "{op}");
        assert_eq!(of("blocks_total", &[("op", op)]), blocks[op], "{op}");
        assert_eq!(
            of("blocks_total", &[("op", op)]),
            of("moves_total", &[("op", op)]) + of("merged_total", &[("op", op)])
        );
        let times = here.times("pegaflow_posted_to_done_seconds", &[("op", op)]).unwrap();
        assert_eq!(times.count, ends[&(op, "done")], "{op}");
    }
    assert_eq!(of("full_total", &[]), expected.full);
    assert!(expected.full > 0, "none was told full: it shows nothing");
    assert_eq!(of("counts_total", &[("direction", "out")]), counts);
    assert_eq!(of("messages_total", &[("direction", "out")]), messages);
    assert_eq!(of("message_bytes_total", &[("direction", "out")]), message_bytes);
    assert_eq!(of("channel_ends_total", &[("peer", "there"), ("reason", "fenced")]), 1);

    // The receiver has counted what its counter says, and its application was handed.
    let of = |name: &str, labels: &[(&str, &str)]| there.sum(&format!("pegaflow_{name}"), labels);
    assert_eq!(of("counts_total", &[("direction", "in")]), nodes.counter.value());
    assert_eq!(of("aborts_received_total", &[]), nodes.counter.aborted());
    let came = nodes.there.events.iter().filter_map(|event| match event {
        Event::Message { bytes, .. } => Some(u64::from(*bytes)),
        _ => None,
    });
    assert_eq!(of("messages_total", &[("direction", "in")]), came.clone().count() as u64);
    assert_eq!(of("message_bytes_total", &[("direction", "in")]), came.sum::<u64>());
    let held = there.times("pegaflow_message_held_seconds", &[]).unwrap();
    assert_eq!(held.count, of("messages_total", &[("direction", "in")]));
    assert_eq!(of("channels_up", &[]), 0);
    assert_eq!(of("channel_ends_total", &[("peer", "here")]), 1);
    // Over shared memory a message or count that was sent is there: both ends say the same. Those that were cut off at the
    // fence may have come or not.
    let out = here.sum("pegaflow_messages_total", &[("direction", "out")]);
    assert!(of("messages_total", &[("direction", "in")]) <= out);
}

#[test]
fn both_ends_count_what_a_workload_with_faults_came_to() {
    for seed in 1..9 {
        workload(seed);
    }
}

/// Without a fault in the way, what one end sent is what the other received.
#[test]
fn what_one_end_sent_the_other_received() {
    let mut nodes = TwoNodes::new();
    nodes.work();
    let (here, there) = (nodes.here.metrics.snapshot(), nodes.there.metrics.snapshot());
    for (name, count) in [("messages_total", 2), ("message_bytes_total", 10), ("counts_total", 1)] {
        let name = format!("pegaflow_{name}");
        assert_eq!(here.sum(&name, &[("direction", "out"), ("peer", "there"), ("class", "kv")]), count, "{name}");
        assert_eq!(there.sum(&name, &[("direction", "in"), ("peer", "here"), ("class", "kv")]), count, "{name}");
    }
    assert_eq!(here.sum("pegaflow_revokes_total", &[("result", "acknowledged")]), 1);
    assert!(here.sum("pegaflow_sleeps_total", &[]) >= 1);
    let polls = |snapshot: &pegaflow_metrics::Snapshot| snapshot.sum("pegaflow_polls_total", &[]);
    assert!(polls(&here) > here.sum("pegaflow_polls_busy_total", &[]));
    assert!(there.times("pegaflow_arrived_to_handed_over_seconds", &[]).unwrap().count >= 3);
    assert_eq!(here.sum("pegaflow_registered_bytes", &[]), u64::from(BLOCK * BLOCKS));
    assert_eq!(here.sum("pegaflow_registered_regions", &[]), 1);
}

/// A counter never goes down: what a port had stays when it is gone.
#[test]
fn figures_outlive_their_port() {
    let mut nodes = TwoNodes::new();
    nodes.work();
    let TwoNodes { here, .. } = nodes;
    let before = here.metrics.snapshot();
    assert_eq!(before.sum("pegaflow_ports", &[]), 1);
    drop(here.port);
    let after = here.metrics.snapshot();
    assert_eq!(after.sum("pegaflow_ports", &[]), 0);
    for name in ["transfers_ended_total", "bytes_total", "messages_total", "polls_total", "revokes_total"] {
        let name = format!("pegaflow_{name}");
        assert_eq!(after.sum(&name, &[]), before.sum(&name, &[]), "{name}");
        assert!(after.sum(&name, &[]) > 0, "{name}");
    }
}
