//! The table of docs/metrics.md is that of the program, and what is exported is in it.

use pegaflow_metrics::METRICS;

use crate::two_nodes::TwoNodes;

#[test]
fn the_table_of_the_documentation_is_that_of_the_program() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `pegaflow_")).collect();
    let rows: Vec<String> = METRICS
        .iter()
        .map(|metric| {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {} | {} | {} |", metric.name, metric.kind.name(), labels.join(" "), metric.help)
        })
        .collect();
    assert!(documented == rows, "docs/metrics.md should have these rows:\n{}", rows.join("\n"));
}

#[test]
fn names_are_their_own_and_end_as_their_kind_asks() {
    use pegaflow_metrics::MetricKind;
    for (at, metric) in METRICS.iter().enumerate() {
        let name = metric.name;
        assert!(METRICS[..at].iter().all(|other| other.name != name), "{name} is there twice");
        assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
        assert!(metric.kind != MetricKind::Histogram || name.ends_with("_seconds"), "{name}");
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
    }
}

/// After all kinds of work everything but a device's figures is exported, with the labels of the table, and nothing else.
#[test]
fn what_is_exported_is_in_the_table() {
    let mut nodes = TwoNodes::new();
    nodes.work();
    let text = nodes.scrape("/metrics");
    // No rail over shared memory, and no device that says something.
    let without = ["pegaflow_device_events_total", "pegaflow_rail_counter_total"];
    for metric in METRICS.iter().filter(|metric| !without.contains(&metric.name)) {
        let base = metric.name.trim_end_matches("_total");
        assert!(text.contains(&format!("# TYPE {base} {}\n", metric.kind.name())), "{base} is missing");
        assert!(text.contains(&format!("# HELP {base} {}\n", metric.help.trim_end_matches('.'))), "{base} has no help");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap();
        let known = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let metric = METRICS.iter().find(|metric| metric.name == known || metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{line} is not in the table"));
        let labels = labels.split_once('}').unwrap().0;
        let named: Vec<_> = labels.split("\",").map(|label| label.split_once('=').unwrap().0).collect();
        let named: Vec<_> = named.into_iter().filter(|label| *label != "le").collect();
        assert_eq!(named[0], "backend", "{line}");
        assert_eq!(named[1..], *metric.labels, "{line}");
    }
    assert!(text.ends_with("# EOF\n"));
}
