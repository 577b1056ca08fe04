//! What the documents quote of the sources: an excerpt that is found nowhere tells of code that is gone.

use std::fs;

use crate::workspace::root;

/// A fenced block that names its file, as in ` ```rust pegaflow-core/src/lib.rs `.
struct Excerpt {
    /// The line of its fence, counted from 1.
    line: usize,
    file: String,
    lines: Vec<String>,
}

#[test]
fn excerpts_are_found_in_their_files() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(root().join("docs")).expect("docs") {
        let document = entry.expect("a folder's entry").path();
        if document.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&document).unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        for excerpt in excerpts(&text) {
            seen += 1;
            let source = fs::read_to_string(root().join(&excerpt.file)).unwrap_or_default();
            if !holds(&source, &excerpt.lines) {
                wrong.push(format!("{}:{}: {}", document.display(), excerpt.line, excerpt.file));
            }
        }
    }
    assert!(wrong.is_empty(), "excerpts that their files do not have (any more):\n  {}", wrong.join("\n  "));
    assert!(seen >= 10, "{seen} excerpts seen: adding-a-backend.md has more");
}

#[test]
fn an_excerpt_keeps_its_order_and_its_depth() {
    let source = "fn a() {\n    one();\n    if b {\n        two();\n\n        three();\n    }\n}\n";
    for (excerpt, found) in [
        ("one();\nif b {\n    two();", true),
        ("two();\n\nthree();", true),
        ("fn a() {\n    one();", true),
        ("one();\ntwo();", false),
        ("one();\nif b {\ntwo();", false),
        ("two();\nthree();", false),
        ("one", false),
        ("", false),
    ] {
        let lines: Vec<String> = excerpt.lines().map(str::to_owned).collect();
        assert_eq!(holds(source, &lines), found, "{excerpt}");
    }
}

#[test]
fn only_fences_with_a_file_are_excerpts() {
    let text = "```rust\nno();\n```\n\n```rust src/a.rs\nyes();\n```\n```console\n$ no\n```\n";
    let found = excerpts(text);
    let told: Vec<_> = found.iter().map(|one| (one.line, one.file.as_str(), one.lines.join("|"))).collect();
    assert_eq!(told, [(5, "src/a.rs", "yes();".to_owned())]);
}

fn excerpts(text: &str) -> Vec<Excerpt> {
    let mut found = Vec::new();
    let mut open: Option<Option<Excerpt>> = None;
    for (line, content) in (1..).zip(text.lines()) {
        match (&mut open, content.strip_prefix("```")) {
            (None, Some(info)) => {
                let file = info.split_whitespace().nth(1);
                open = Some(file.map(|file| Excerpt { line, file: file.to_owned(), lines: Vec::new() }));
            }
            (Some(excerpt), Some(_)) => {
                found.extend(excerpt.take());
                open = None;
            }
            (Some(Some(excerpt)), None) => excerpt.lines.push(content.to_owned()),
            _ => {}
        }
    }
    found
}

/// Whether a source has these lines one behind the other, all as much deeper as the first.
fn holds(source: &str, lines: &[String]) -> bool {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let source: Vec<&str> = source.lines().collect();
    let Some(first) = lines.first() else { return false };
    source.windows(lines.len()).any(|window| {
        let deeper = depth(window[0]).checked_sub(depth(first));
        deeper.is_some_and(|deeper| {
            window.iter().zip(lines).all(|(has, wanted)| {
                let blank = has.is_empty() && wanted.is_empty();
                blank || has.get(deeper..) == Some(wanted.as_str()) && has[..deeper].trim().is_empty()
            })
        })
    })
}
