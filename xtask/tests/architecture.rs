//! The house: which crate may depend on which, what a manifest inherits, and where `unsafe` may stand.
//!
//! The tables come first; they are what to edit when the house changes. In one line:
//! `bench, bindings, cli -> pegaflow -> {rdma, ucx, shm, metrics} -> core <- conformance`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::{external, is_dev, is_ours, metadata, root, toml};

/// A crate of the workspace, the crates of the workspace that it may depend on, and those that its tests, examples
/// and benches may use besides. Every member has a row.
const HOUSE: &[(&str, &[&str], &[&str])] = &[
    ("pegaflow-core", &[], &[]),
    // Backends: on core alone, never on each other. Each joins the conformance suite.
    ("pegaflow-shm", &["pegaflow-core"], &["pegaflow-conformance"]),
    ("pegaflow-rdma", &["pegaflow-core"], &["pegaflow-conformance", "pegaflow-rdma-stand-in"]),
    ("pegaflow-ucx", &["pegaflow-core"], &["pegaflow-conformance"]),
    // One to learn from: `docs/adding-a-backend.md` builds it. The front door does not know it.
    ("pegaflow-example-backend", &["pegaflow-core"], &["pegaflow-conformance"]),
    // What the verbs backend is tested against: a library of its own, loaded by path. On nothing of ours.
    ("pegaflow-rdma-stand-in", &[], &[]),
    // Beside the backends.
    ("pegaflow-metrics", &["pegaflow-core"], &["pegaflow-shm"]),
    ("pegaflow-conformance", &["pegaflow-core"], &[]),
    // The front door: the only one that names backends.
    ("pegaflow", &["pegaflow-core", "pegaflow-metrics", "pegaflow-rdma", "pegaflow-shm", "pegaflow-ucx"], &[]),
    // Above the front door.
    // Its benches open a backend beside the plain copy.
    (
        "pegaflow-bench",
        &["pegaflow-core", "pegaflow"],
        &["pegaflow-metrics", "pegaflow-rdma", "pegaflow-rdma-stand-in", "pegaflow-shm"],
    ),
    ("pegaflow-c", &["pegaflow"], &[]),
    ("pegaflow-cli", &["pegaflow-core", "pegaflow", "pegaflow-bench", "pegaflow-metrics"], &[]),
    // The chores stand outside.
    ("xtask", &[], &[]),
];

/// All that core may bring in from outside.
const CORE_MAY_USE: [&str; 4] = ["crc32fast", "rustix", "thiserror", "tracing"];

/// Crates from outside that stay with the crates named here, tests excepted, and why.
const KEPT_TO: [(&str, &[&str], &str); 1] = [(
    "tokio",
    &["pegaflow", "pegaflow-cli", "pegaflow-metrics"],
    "an async runtime belongs to set-up and to whoever reads figures; transfers are driven by ports, on threads the caller chooses",
)];

/// Where `unsafe` may stand, and why. An entry is a path without `.rs`: it covers the file of that name and the folder
/// beside it. `sys`, without a crate before it, covers every file and folder of that name.
const UNSAFE_ROOMS: &[(&str, &str)] = &[
    ("sys", "every raw foreign call lives in a room of this name"),
    ("pegaflow-core/src/region", "maps memory and copies in and out of it"),
    ("pegaflow-core/src/counter", "counters lie in memory that a peer or a NIC writes"),
    ("pegaflow-core/src/node", "registers memory that the caller brings"),
    ("pegaflow-core/src/port", "gives the engine runs whose every range was checked"),
    ("pegaflow-shm/src/progress", "copies what a run yields"),
    ("pegaflow-rdma/src/backend", "passes core's word on registered memory on"),
    ("pegaflow-rdma/src/region", "registers memory, and follows core's keys to it"),
    ("pegaflow-rdma/src/channel", "posts what a run yields"),
    ("pegaflow-rdma/src/progress", "passes core's word on a run on"),
    (
        "pegaflow-rdma/stand-in/src",
        "is a foreign library's other side: each entry point takes raw pointers; for tests alone",
    ),
    ("pegaflow-c/src/ffi", "follows the pointers that C hands in"),
    ("pegaflow-cli/src/bench/raw", "registers memory of the bench's own, and runs the copies that it is compared with"),
    ("pegaflow-cli/src/demo/limit", "runs the plain copy that the demo is compared with"),
];

/// What every member takes from the workspace.
const INHERITED_KEYS: [&str; 3] = ["edition", "license", "rust-version"];

#[test]
fn arrows_are_those_of_the_house() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        let Some((_, normal, for_tests)) = HOUSE.iter().find(|(room, ..)| *room == name) else {
            wrong.push(format!("{name} has no row in HOUSE: add one that says what it may depend on"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| is_ours(dependency)) {
            let to = dependency.name.as_str();
            let in_tests = is_dev(dependency);
            if normal.contains(&to) || (in_tests && for_tests.contains(&to)) {
                continue;
            }
            let kind = dependency.kind;
            wrong.push(format!(
                "{name} -> {to} ({kind}): {name} may depend on {}, and its tests also on {}",
                list(normal),
                list(for_tests)
            ));
        }
    }
    assert!(wrong.is_empty(), "arrows that the house does not have:\n  {}", wrong.join("\n  "));
}

#[test]
fn house_has_no_row_without_a_crate() {
    let metadata = metadata();
    let members: Vec<&str> = metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    for &(name, normal, for_tests) in HOUSE {
        for named in [&[name], normal, for_tests].concat() {
            assert!(members.contains(&named), "HOUSE, row {name}: {named} is no member of the workspace");
        }
    }
}

#[test]
fn core_brings_in_little() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let core = packages.iter().find(|package| package.name.as_str() == "pegaflow-core").expect("pegaflow-core");
    for dependency in external(core).filter(|dependency| !is_dev(dependency)) {
        let to = dependency.name.as_str();
        assert!(
            CORE_MAY_USE.contains(&to),
            "pegaflow-core -> {to}: core may use {} and nothing else from outside",
            list(&CORE_MAY_USE)
        );
    }
}

#[test]
fn heavy_crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        for dependency in external(package).filter(|dependency| !is_dev(dependency)) {
            let Some((heavy, users, reason)) = KEPT_TO.iter().find(|(heavy, ..)| *heavy == dependency.name) else {
                continue;
            };
            if !users.contains(&package.name.as_str()) {
                wrong.push(format!("{} -> {heavy}: only {} may use it: {reason}", package.name, list(users)));
            }
        }
    }
    assert!(wrong.is_empty(), "crates used where they do not belong:\n  {}", wrong.join("\n  "));
}

#[test]
fn members_inherit_from_the_workspace() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let manifest = toml(&package.manifest_path);
        for key in INHERITED_KEYS {
            if !inherits(manifest.get("package").and_then(|section| section.get(key))) {
                wrong.push(format!("{}: [package] needs `{key}.workspace = true`", package.manifest_path));
            }
        }
        if !inherits(manifest.get("lints")) {
            wrong.push(format!("{}: [lints] needs `workspace = true`", package.manifest_path));
        }
    }
    assert!(wrong.is_empty(), "manifests that go their own way:\n  {}", wrong.join("\n  "));
}

#[test]
fn unsafe_stands_only_in_its_rooms() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder").join("src");
        for file in rust_files(folder.as_std_path()) {
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let place = file.strip_prefix(root()).expect("a member lies in the repository");
            seen += 1;
            if !may_be_unsafe(place) {
                wrong.extend(unsafe_lines(&text).into_iter().map(|line| format!("{}:{line}", place.display())));
            }
        }
    }
    let rooms: Vec<_> = UNSAFE_ROOMS.iter().map(|(room, reason)| format!("{room}: {reason}")).collect();
    assert!(
        wrong.is_empty(),
        "`unsafe` outside its rooms:\n  {}\nit may stand in:\n  {}",
        wrong.join("\n  "),
        rooms.join("\n  ")
    );
    assert!(seen >= HOUSE.len(), "{seen} source files seen, and {} crates have at least one each", HOUSE.len());
}

#[test]
fn rooms_are_told_by_whole_names() {
    for place in ["pegaflow-ucx/src/sys.rs", "pegaflow-shm/src/ring/sys/futex.rs", "pegaflow-core/src/region/map.rs"] {
        assert!(may_be_unsafe(Path::new(place)), "{place}");
    }
    for place in ["pegaflow-shm/src/system.rs", "pegaflow-shm/src/region.rs", "pegaflow-core/src/regions.rs"] {
        assert!(!may_be_unsafe(Path::new(place)), "{place}");
    }
}

#[test]
fn unsafe_is_seen_outside_comments_and_strings() {
    for (text, lines) in [
        ("fn a() {\n    unsafe { b() }\n}", vec![2]),
        ("unsafe impl Send for A {}\n\nunsafe extern \"C\" {}", vec![1, 3]),
        ("unsafe fn a() {}\npub unsafe fn b() { unsafe { c() } }\nunsafe { fnord() }", vec![2, 3]),
        ("// unsafe\n/// unsafe\n//! unsafe\n/* unsafe\n /* unsafe */ unsafe\n */ unsafe {}", vec![6]),
        ("#![forbid(unsafe_code)]\nlet not_unsafe = 1;", vec![]),
        ("let a = \"unsafe \\\" unsafe\"; unsafe {}\nlet b = \"http://\"; unsafe {}", vec![1, 2]),
        ("let a = r#\"unsafe \" unsafe\"#;\nunsafe {}", vec![2]),
        ("let a = \"one\n two\";\nunsafe {}", vec![3]),
        ("let a = '\"'; unsafe {}\nlet b = '\\''; fn c<'a>() {}\nunsafe {}", vec![1, 3]),
        ("let a = b'\\\\'; unsafe {}\nlet b = br\"\\\"; unsafe {}", vec![1, 2]),
    ] {
        assert_eq!(unsafe_lines(text), lines, "{text}");
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Whether a manifest's entry is `{ workspace = true }`.
fn inherits(entry: Option<&toml::Value>) -> bool {
    entry.and_then(|entry| entry.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
}

/// The Rust files below `folder`.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder's entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Whether one of [`UNSAFE_ROOMS`] covers a source file, by its path in the repository.
fn may_be_unsafe(place: &Path) -> bool {
    let place = place.with_extension("");
    let names: Vec<_> = place.iter().collect();
    UNSAFE_ROOMS.iter().any(|(room, _)| {
        let room: Vec<_> = Path::new(room).iter().collect();
        names.windows(room.len()).any(|window| window == room)
    })
}

/// The lines, counted from 1, that have the word `unsafe` outside comments and literals. `unsafe fn` is let pass: it
/// asks something of its callers and does nothing itself, for `unsafe_op_in_unsafe_fn` wants a block in it too.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let code = code_only(text);
    let numbered = (1..).zip(code.lines());
    numbered.filter(|(_, line)| acts_unsafe(line)).map(|(number, _)| number).collect()
}

fn acts_unsafe(line: &str) -> bool {
    line.match_indices("unsafe").any(|(at, word)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        let declares = after.trim_start().strip_prefix("fn").is_some_and(|rest| rest.starts_with(' '));
        whole && !declares
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `text` with comments and string literals blanked, line breaks kept.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blanked = blank_length(rest, code.chars().next_back());
        if blanked == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            code.extend(rest[..blanked].chars().filter(|c| *c == '\n'));
            rest = &rest[blanked..];
        }
    }
    code
}

/// How many bytes at the start of `text` are a comment, a string or a character literal; 0 where it is code.
/// `before` is the code's last character: the `r` of `for` opens no raw string.
fn blank_length(text: &str, before: Option<char>) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    if let Some(inside) = text.strip_prefix('"') {
        return 1 + literal_length(inside, '"');
    }
    if let Some(after) = text.strip_prefix('\'') {
        // A lifetime has no closing quote after its first character.
        let mut inside = after.chars();
        let is_literal = match inside.next() {
            Some('\\') => true,
            Some(_) => inside.next() == Some('\''),
            None => false,
        };
        return if is_literal { 1 + literal_length(after, '\'') } else { 0 };
    }
    let in_a_word = before.is_some_and(is_word);
    if let Some(after) = text.strip_prefix('r')
        && (!in_a_word || before == Some('b') || before == Some('c'))
    {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if let Some(inside) = after[hashes..].strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let closed = inside.find(&end).map_or(inside.len(), |at| at + end.len());
            return 1 + hashes + 1 + closed;
        }
    }
    0
}

/// The bytes up to and with the closing `quote`; an escaped one does not close.
fn literal_length(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if !escaped && c == quote {
            return at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    inside.len()
}

/// The bytes of a block comment, with those nested in it.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += c.len_utf8();
        }
    }
    text.len()
}
