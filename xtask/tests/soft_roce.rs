//! `cargo xtask soft-roce` as it is typed: what it refuses, against stand-ins, and what it does, in real hosts.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::command_line::{Bench, stderr, stdout};

#[test]
fn odd_options_are_usage_errors() {
    for (arguments, told) in [
        (["run", "--"].as_slice(), "CMD"),
        (&["run", "true"], "-- "),
        (&["run", "--rails", "0", "--", "true"], "1..=8"),
        (&["run", "--rails", "9", "--", "true"], "1..=8"),
        (&["run", "--cpus", "0", "--", "true"], "1..=64"),
        (&["run", "--mem", "64", "--", "true"], "512.."),
        (&["pair", "--timeout", "0", "--", "true"], "1..=86400"),
        (&["pair", "--env", "A", "--", "true"], "NAME=VALUE"),
        (&["pair", "--env", "PEGAFLOW_HOST=1", "--", "true"], "set by the host"),
        (&["walk", "--", "true"], "walk"),
    ] {
        let output = Bench::new().xtask(&[&["soft-roce"], arguments].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(stderr(&output).contains(told), "{arguments:?}: {output:?}");
    }
}

#[test]
fn nothing_is_installed_where_that_is_refused() {
    let bench = Bench::new().with("apt-get", "");
    let output = bench.xtask(&["soft-roce", "run", "--no-install", "--", "true"], "");
    assert_eq!(output.status.code(), Some(125), "no status of the command's own: {output:?}");
    let told = stderr(&output);
    assert!(told.contains("nothing is installed with --no-install; run: "), "{told}");
    assert!(
        told.contains("apt-get install --yes --no-install-recommends ") && told.contains("qemu-system-x86"),
        "{told}"
    );
    assert!(stdout(&output).contains("perftest         MISSING"), "the needs are shown: {output:?}");
    assert!(bench.journal().iter().all(|line| !line.starts_with("apt-get")), "{:?}", bench.journal());
}

#[test]
fn machine_without_apt_get_is_told_why_it_can_not() {
    let output = Bench::new().xtask(&["soft-roce", "run", "--", "true"], "");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(stderr(&output).contains("the hosts' kernel comes with apt-get"), "{output:?}");
}

#[test]
#[ignore = "boots a virtual host; cargo xtask test runs it where the needs of the hosts are met"]
fn success_of_the_command_is_success() {
    let output = soft_roce(&["run", "--", "true"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()));
}

#[test]
#[ignore = "boots a virtual host; cargo xtask test runs it where the needs of the hosts are met"]
fn status_output_and_files_come_back() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let command =
        r#"seq 20000; echo "$1" >&2; cat /sys/class/infiniband/rxe0/ports/1/gids/1 >"$PEGAFLOW_OUT/gid"; exit 7"#;
    let folder = out.path().to_str().expect("UTF-8");
    let output = soft_roce(&["run", "--out", folder, "--", "sh", "-c", command, "sh", "it's $ODD\n"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let numbers: Vec<String> = (1..=20_000).map(|number| number.to_string()).collect();
    assert!(stdout(&output).lines().eq(numbers.iter().map(String::as_str)), "all of the output comes, in order");
    assert_eq!(stderr(&output), "it's $ODD\n\n");
    let gid = fs::read_to_string(out.path().join("gid")).expect("what the command wrote");
    assert_eq!(gid.trim(), "0000:0000:0000:0000:0000:ffff:0a09:0001");
    assert_eq!(fs::read_dir(out.path()).expect("the folder").count(), 1, "it is the command's alone");
}

#[test]
#[ignore = "boots two virtual hosts; cargo xtask test runs it where the needs of the hosts are met"]
fn hosts_of_a_pair_reach_each_other_on_every_rail() {
    // Each end of each cable answers the other; then host 1's status is the larger one.
    let command = "for rail in 0 1; do busybox ping -c1 -W5 10.9.$rail.$((2 - PEGAFLOW_HOST)) >/dev/null || exit 9; done; \
        echo $PEGAFLOW_HOST $PEGAFLOW_HOST_ADDR $PEGAFLOW_PEER_ADDR $PEGAFLOW_RAILS $PEGAFLOW_NETDEVS; \
        exit $((PEGAFLOW_HOST + 3))";
    let output = soft_roce(&["pair", "--rails", "2", "--", "sh", "-c", command]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let shown = stdout(&output);
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[0] 0 10.9.0.1 10.9.0.2 2 rail0 rail1", "[1] 1 10.9.0.2 10.9.0.1 2 rail0 rail1"]);
}

#[test]
#[ignore = "boots a virtual host; cargo xtask test runs it where the needs of the hosts are met"]
fn host_is_ended_at_the_timeout() {
    let output = soft_roce(&["run", "--timeout", "1", "--", "sleep", "600"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    assert!(stderr(&output).contains("ended after 1 s"), "{output:?}");
}

#[test]
#[ignore = "boots a virtual host; cargo xtask test runs it where the needs of the hosts are met"]
fn host_does_not_outlive_the_chore() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let folder = out.path().to_str().expect("UTF-8");
    let mut chore = command(&["run", "--out", folder, "--", "sleep", "600"]).spawn().expect("xtask starts");
    let wait_until = |there: bool| {
        for _ in 0..600 {
            if qemu_with(out.path()) == there {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "after 60 s a QEMU with {} is {}",
            out.path().display(),
            if there { "not there" } else { "still there" }
        );
    };
    wait_until(true);
    // SIGKILL: whatever the chore could do about its own end, it can't do now.
    chore.kill().expect("it runs");
    chore.wait().expect("it ended");
    wait_until(false);
}

/// Installs nothing: whoever asks for these tests has the needs.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let (mode, rest) = arguments.split_first().expect("a mode");
    command.args(["soft-roce", mode, "--no-install"]).args(rest).stdin(Stdio::null());
    command
}

fn soft_roce(arguments: &[&str]) -> Output {
    command(arguments).output().expect("xtask starts")
}

/// Whether a QEMU lives that shares `folder`.
fn qemu_with(folder: &Path) -> bool {
    let folder = folder.to_str().expect("UTF-8");
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok())
        .any(|line| line.starts_with("qemu-system") && line.contains(folder))
}
