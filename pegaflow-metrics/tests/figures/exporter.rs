//! The exporter: what it answers, and what those who read slowly cost.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use pegaflow_metrics::{MOST_CONNECTIONS, Snapshot};

use crate::two_nodes::{TwoNodes, get};

#[test]
fn both_pages_say_the_same() {
    let mut nodes = TwoNodes::new();
    nodes.work();
    let json: Snapshot = serde_json::from_str(&nodes.scrape("/stats.json")).unwrap();
    assert_eq!((json.node.as_str(), json.backend.as_str()), ("here", "shm"));
    assert_eq!(json.sum("pegaflow_bytes_total", &[("op", "write")]), 3 * 4096);
    let text = nodes.scrape("/metrics");
    let line = r#"pegaflow_bytes_total{backend="shm",peer="there",class="kv",op="write"} 12288"#;
    assert!(text.lines().any(|found| found == line), "{text}");
    let all = r#"pegaflow_posted_to_done_seconds_bucket{le="+Inf",backend="shm",peer="there",class="kv",op="write"} 1"#;
    assert!(text.lines().any(|found| found == all), "{text}");
    assert_eq!(json.times("pegaflow_posted_to_done_seconds", &[("op", "write")]).unwrap().count, 1);
    // What was read so far is counted too.
    assert!(nodes.scrape("/metrics").contains(r#"pegaflow_scrapes_total{backend="shm",result="served"} 3"#));
}

#[test]
fn what_is_no_page_is_told() {
    let nodes = TwoNodes::new();
    let at = nodes.exporter.local_addr();
    assert!(get(at, "/").contains("/stats.json"));
    let answer = get(at, "/metric");
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("no such page: /metric;"), "{answer}");
    let raw = |request: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let answer = raw("DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let answer = raw("hello\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 ") || answer.is_empty(), "{answer}");
    let long = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(1 << 20));
    // As much of it as is taken; then no.
    let mut stream = TcpStream::connect(at).unwrap();
    let _ = stream.write_all(long.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(get(at, "/metrics").starts_with("HTTP/1.1 200 "), "it goes on");
}

/// As many as may read at once say nothing: another is turned away at once, ports work on, and once one of them is gone
/// there is room again.
#[test]
fn those_who_read_slowly_are_bounded_and_stop_no_port() {
    let mut nodes = TwoNodes::new();
    let at = nodes.exporter.local_addr();
    let mut slow: Vec<TcpStream> = (0..MOST_CONNECTIONS).map(|_| TcpStream::connect(at).unwrap()).collect();
    // They are accepted in order: once the last has its place there is none.
    slow.last_mut().unwrap().write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let mut turned_away = String::new();
    for _ in 0..1000 {
        turned_away = get(at, "/metrics");
        if turned_away.is_empty() {
            break;
        }
    }
    assert_eq!(turned_away, "", "one more than may read at once");
    nodes.work();
    drop(slow.pop());
    let mut answer = String::new();
    for _ in 0..1000 {
        answer = get(at, "/metrics");
        if !answer.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(answer.contains(r#"result="refused"}"#) && !answer.contains(r#"result="refused"} 0"#), "{answer}");
}

#[test]
fn an_address_that_is_taken_is_told_and_one_that_is_given_up_is_free() {
    let nodes = TwoNodes::new();
    let at = nodes.exporter.local_addr();
    let again = pegaflow_metrics::Exporter::start(nodes.here.metrics.clone(), at).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AddrInUse);
    let TwoNodes { exporter, here, .. } = nodes;
    drop(exporter);
    pegaflow_metrics::Exporter::start(here.metrics.clone(), at).unwrap();
}
