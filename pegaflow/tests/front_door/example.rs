//! The examples, run as a person runs them.

use std::{path::PathBuf, process::Command};

/// `cargo test` has built it beside this test's own folder.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

#[test]
fn two_processes_move_two_blocks() {
    let output = Command::new(example("two_processes")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("decode: page 7 begins with \"hello\""), "{out}{err}");
    assert!(out.contains("outcome: Done") && out.contains("bytes: 32768"), "{out}{err}");
}

#[test]
fn agents_move_descriptor_lists_notify_release_and_forget() {
    let output = Command::new(example("nixl_shaped")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for step in [
        "write: Done; decode was told [\"request 7 is there\"] and has \"-c-a\"",
        "read: Done; prefill has \"Abcc\"",
        "released while InProgress; the next one: Done, decode was told [\"after\"]",
        "invalidated: Ended(Cancelled)",
    ] {
        assert!(out.contains(step), "{step}\n{out}{err}");
    }
    assert_eq!(out.matches("refused: ").count(), 5, "{out}{err}");
}

#[test]
fn the_first_is_as_short_as_it_says_and_the_readme_shows_it() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("examples/two_processes.rs")).unwrap();
    assert!(text.lines().count() <= 60, "{} lines", text.lines().count());
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let code = text.split_once("\n\n").unwrap().1;
    assert!(readme.contains(code), "README.md does not show examples/two_processes.rs as it is");
}
