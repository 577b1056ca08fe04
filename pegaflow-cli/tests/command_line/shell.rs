//! What shells and `man` make of the program.

use std::{fs, process::Command};

use super::{pegaflow, said};

/// What bash offers for a line, by the script in `file`.
fn offered(file: &str, words: &[&str]) -> Vec<String> {
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  _pegaflow pegaflow \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output =
        Command::new("bash").args(["--norc", "-c", script, "bash", file, "pegaflow"]).args(words).output().unwrap();
    let (out, err) = said(&output);
    assert_eq!(err, "", "{words:?}");
    out.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pegaflow");
    let (out, err) = said(&pegaflow(&["completions", "bash"]));
    assert_eq!(err, "");
    fs::write(&file, out).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(offered(file, &["dem"]), ["demo"]);
    assert_eq!(offered(file, &["config", "s"]), ["show"]);
    assert_eq!(offered(file, &["demo", "--layer-t"]), ["--layer-time"]);
    assert_eq!(offered(file, &["demo", "--model", "deep"]), ["deepseek-v3"]);
    assert_eq!(offered(file, &["demo", "--backend", "r"]), ["rdma"]);
}

#[test]
fn the_manual_says_what_help_says() {
    let (page, err) = said(&pegaflow(&["man"]));
    assert_eq!(err, "");
    for part in [".TH pegaflow 1", "Exit status:", "pegaflow\\-demo(1)", "pegaflow\\-config(1)"] {
        assert!(page.contains(part), "`{part}` is missing in:\n{page}");
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("share/man1");
    let output = pegaflow(&["man", "--out", out.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output).1);
    assert_eq!(fs::read_to_string(out.join("pegaflow.1")).unwrap(), page);
    assert!(fs::read_to_string(out.join("pegaflow-demo.1")).unwrap().contains("hidden_share"));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = pegaflow(&["man", "--out", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).1.contains("error: --out "), "{}", said(&output).1);
}
