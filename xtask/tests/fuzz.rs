//! `fuzz` is no member of the workspace, so nothing else notices where its parts no longer fit together.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::workspace::{metadata, root, toml};

/// Bytes of a target's corpus: what is small is read, and replayed often.
const MAX_CORPUS_BYTES: u64 = 8 << 10;

/// Names in a folder, without their extensions.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("a folder's entry").path();
        path.file_stem().expect("a name").to_string_lossy().into_owned()
    };
    entries.map(name).collect()
}

/// The targets that some test replays, by the first argument of `replay`.
fn replayed() -> BTreeSet<String> {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let files = packages.iter().map(|package| package.manifest_path.with_file_name("src").join("fuzzing.rs"));
    let texts = files.filter_map(|file| fs::read_to_string(file).ok());
    let first = |text: String| -> Vec<String> {
        let calls = text.split("replay(").skip(1);
        calls.filter_map(|rest| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned())).collect()
    };
    texts.flat_map(first).collect()
}

#[test]
fn each_target_has_a_corpus_and_a_test_that_replays_it() {
    let manifest = toml(root().join("fuzz/Cargo.toml"));
    let declared: BTreeSet<String> = manifest["bin"]
        .as_array()
        .expect("[[bin]] sections")
        .iter()
        .map(|bin| {
            let name = bin["name"].as_str().expect("a name");
            assert_eq!(bin["path"].as_str(), Some(&*format!("fuzz_targets/{name}.rs")));
            name.to_owned()
        })
        .collect();
    assert!(!declared.is_empty());
    assert_eq!(names(&root().join("fuzz/fuzz_targets")), declared, "files of targets, and [[bin]] sections");
    assert_eq!(names(&root().join("fuzz/corpus")), declared, "corpora, and targets");
    assert_eq!(replayed(), declared, "what tests replay, and targets");
}

#[test]
fn corpora_are_small() {
    for target in names(&root().join("fuzz/corpus")) {
        let folder = root().join("fuzz/corpus").join(&target);
        let files = fs::read_dir(&folder).expect("a corpus");
        let bytes: u64 = files.map(|file| file.expect("a file").metadata().expect("its length").len()).sum();
        assert!(bytes <= MAX_CORPUS_BYTES, "{target} has {bytes} bytes: expected at most {MAX_CORPUS_BYTES}");
    }
}
