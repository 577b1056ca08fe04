//! How the program ends: what its exit status says, what a signal does, what it leaves behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{SMALL, pegaflow, said, small};

/// Looks at something until it is there, at most 30 s.
fn looked<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    (0..600)
        .find_map(|_| {
            let found = look();
            if found.is_none() {
                std::thread::sleep(Duration::from_millis(50));
            }
            found
        })
        .unwrap_or_else(|| panic!("600 looks, and never: {what}"))
}

/// Every process that runs, and its parent; those that have ended and wait for somebody to ask are left out.
fn running() -> BTreeMap<u32, u32> {
    let stat = |entry: fs::DirEntry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        (fields.next()? != "Z").then_some((process, fields.next()?.parse().ok()?))
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| stat(entry.ok()?)).collect()
}

/// A demo that takes minutes, with `folder` for what is temporary.
fn long(folder: &Path) -> Command {
    in_folder(folder, &[&SMALL[..], &["--layer-time", "10s"]].concat())
}

fn in_folder(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pegaflow"));
    command.args(arguments).env("TMPDIR", folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The nodes that a demo has started, once it has.
fn nodes(demo: &Child) -> BTreeSet<u32> {
    looked("two nodes", || {
        let children: BTreeSet<u32> =
            running().into_iter().filter_map(|(process, parent)| (parent == demo.id()).then_some(process)).collect();
        (children.len() == 2).then_some(children)
    })
}

fn signal(process: &Child, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// SIGKILL too: what ends the nodes is the end of this process, however it comes.
#[test]
fn a_signal_ends_the_nodes_too_and_leaves_nothing_behind() {
    let demo = [&SMALL[..], &["--layer-time", "10s"]].concat();
    let bench = ["bench", "write", "--block-bytes", "4K", "--blocks", "16", "--idle", "sleep", "--seconds", "600"];
    for (ended_by, number, arguments) in
        [(Signal::INT, 2, &demo[..]), (Signal::TERM, 15, &demo), (Signal::KILL, 9, &demo), (Signal::INT, 2, &bench)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = in_folder(folder.path(), arguments).spawn().unwrap();
        let nodes = nodes(&demo);
        // To this process alone, not to its group as a terminal would.
        signal(&demo, ended_by);
        assert_eq!(demo.wait().unwrap().signal(), Some(number));
        looked("the nodes are gone", || {
            let running = running();
            nodes.iter().all(|node| !running.contains_key(node)).then_some(())
        });
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Whether a shell sees what is documented.
fn status_in_a_shell(ended_by: Signal) -> Option<i32> {
    // Not in the background: a shell without job control makes what it starts there deaf to SIGINT.
    let script = "trap : INT TERM; \"$@\"; exit $?";
    let folder = tempfile::tempdir().unwrap();
    let demo = long(folder.path());
    let mut shell = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(demo.get_program())
        .args(demo.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let demo = looked("a demo with nodes", || {
        let running = running();
        let of =
            |wanted: u32| running.iter().filter(move |(_, parent)| **parent == wanted).map(|(process, _)| *process);
        of(shell.id()).find(|demo| of(*demo).count() == 2)
    });
    kill_process(Pid::from_raw(i32::try_from(demo).unwrap()).unwrap(), ended_by).unwrap();
    shell.wait().unwrap().code()
}

/// A file of results.
const SWEEP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks/sweep-shm.json");

/// A pipe whose reader has left.
fn left() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn status_without_reader(arguments: &[&str]) -> Option<i32> {
    let output = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(left())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(said(&output).1, "", "{arguments:?}");
    output.status.code()
}

/// The rows of the table in `text`: status and what it means.
fn table(text: &str) -> Vec<(i32, String)> {
    let (_, rows) = text.split_once("Exit status:\n").unwrap();
    let row = |line: &str| {
        let (status, meaning) = line.strip_prefix("  ")?.split_once(' ')?;
        Some((status.parse().ok()?, meaning.trim().to_owned()))
    };
    rows.lines().map_while(row).collect()
}

#[test]
fn every_documented_exit_status_is_true() {
    let help = table(&said(&pegaflow(&["--help"])).0);
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    assert_eq!(table(&readme), help, "README.md and --help");
    for (status, meaning) in &help {
        let seen = match status {
            0 => vec![small(&[]).status.code(), pegaflow(&["--help"]).status.code()],
            1 => vec![
                pegaflow(&["config", "show", "/no/such/file.toml"]).status.code(),
                small(&["--corrupt", "1,1"]).status.code(),
            ],
            2 => vec![
                pegaflow(&["dmeo"]).status.code(),
                pegaflow(&[]).status.code(),
                pegaflow(&["demo", "--model", "custom"]).status.code(),
                small(&["--corrupt", "3,0"]).status.code(),
            ],
            130 => vec![status_in_a_shell(Signal::INT)],
            141 => vec![status_without_reader(&["config", "show"])],
            143 => vec![status_in_a_shell(Signal::TERM)],
            other => panic!("{other} ({meaning}) is documented, and nothing here makes it"),
        };
        assert!(seen.iter().all(|seen| *seen == Some(*status)), "{status} ({meaning}): {seen:?}");
    }
    assert_eq!(help.len(), 6, "{help:?}");
}

#[test]
fn a_reader_that_has_left_is_no_panic() {
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["completions", "bash"],
        &["man"],
        &["bench", "compare", SWEEP, SWEEP],
        &["bench", "compare", "--json", SWEEP, SWEEP],
        &[&SMALL[..], &["--json"]].concat(),
        &SMALL,
    ] {
        assert_eq!(status_without_reader(arguments), Some(141), "{arguments:?}");
    }
    // Help is clap's to write, and is over once it is written or not.
    assert_eq!(status_without_reader(&["--help"]), Some(0));
    // Nor is one of standard error, whatever is told there.
    for (arguments, status) in
        [(&["-vvv", "config", "show", "/no/such/file.toml"][..], 1), (&[&["-vvv"], &SMALL[..]].concat(), 0)]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(left())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_with_its_reason() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    assert!((&full).write_all(b"-").is_err(), "/dev/full takes what is written");
    let output = Command::new(env!("CARGO_BIN_EXE_pegaflow"))
        .args(["config", "show"])
        .stdin(Stdio::null())
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let (_, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.starts_with("error: standard output: No space left on device"), "{err}");
}
