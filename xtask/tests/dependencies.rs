//! `docs/dependencies.md` names the crates that the workspace depends on, and who uses each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::workspace::{external, is_dev, metadata, root, toml};

#[test]
fn document_names_the_workspace_dependencies() {
    let documented: BTreeSet<String> = rows().into_keys().collect();
    let manifest = toml(root().join("Cargo.toml"));
    let declared: BTreeSet<String> = manifest["workspace"]["dependencies"]
        .as_table()
        .expect("[workspace.dependencies] is a table")
        .iter()
        .filter(|(_, entry)| entry.get("path").is_none())
        .map(|(name, _)| name.clone())
        .collect();

    let undocumented: Vec<_> = declared.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&declared).collect();
    assert!(
        undocumented.is_empty() && unknown.is_empty(),
        "docs/dependencies.md and [workspace.dependencies] differ: without a row {undocumented:?}, without a dependency {unknown:?}"
    );
}

#[test]
fn document_names_the_users() {
    let mut normal: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut tests_only = normal.clone();
    for package in metadata().workspace_packages() {
        for dependency in external(package) {
            let users = if is_dev(dependency) { &mut tests_only } else { &mut normal };
            users.entry(dependency.name.clone()).or_default().insert(package.name.to_string());
        }
    }

    let mut wrong = Vec::new();
    for (name, told) in rows() {
        let users = normal.remove(&name).unwrap_or_default();
        let in_tests = tests_only.remove(&name).unwrap_or_default();
        let in_tests = in_tests.difference(&users).map(|user| format!("{user} (tests)"));
        let all: Vec<String> = users.iter().cloned().chain(in_tests).collect();
        let seen = if all.is_empty() { "nobody yet".to_owned() } else { all.join(", ") };
        if told != seen {
            wrong.push(format!("{name}: has {told:?}, should have {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "docs/dependencies.md, last column:\n  {}", wrong.join("\n  "));
}

/// The rows of the table under "## Used": the crate's name, and who the last column says uses it.
fn rows() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("docs/dependencies.md")).expect("docs/dependencies.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Used\n")).expect("a section \"## Used\"");
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        let users = cells[cells.len() - 1].to_owned();
        assert_eq!(cells.len(), 4, "a row has crate, reason, licence and users: {line}");
        assert!(rows.insert(name, users).is_none(), "two rows for one crate: {line}");
    }
    rows
}
