//! What is written to a terminal, and what to a pipe or a file.

use std::{
    fs::File,
    io::Read,
    os::fd::AsFd,
    process::{Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::{SMALL, pegaflow, said, small};

/// All that is written to a terminal, standard error included, and the exit status.
fn on_terminal(arguments: &[&str], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let stdio = || Stdio::from(theirs.as_fd().try_clone_to_owned().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_pegaflow"));
    // `TERM` as a terminal has it: colours are left out where it is `dumb` or missing.
    command.args(arguments).env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(variables.iter().copied());
    let mut child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
    // It holds copies of the terminal's other side, whose last one ends the reading.
    drop(command);
    drop(theirs);
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // The end of a terminal's other side is an error (EIO), not an end of file.
        let _ = File::from(ours).read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = child.wait().unwrap().code();
    (reader.join().unwrap(), status)
}

/// Whether there is a sequence that sets a colour or a style: `ESC [ numbers m`.
fn has_colour(text: &str) -> bool {
    text.split("\u{1b}[")
        .skip(1)
        .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
}

#[test]
fn no_escape_codes_go_into_a_pipe() {
    for arguments in [
        &["--help"][..],
        &["demo", "--help"],
        &["demo", "--backend", "smh"],
        &["config", "show"],
        &["config", "show", "/no/such/file.toml"],
        &[&["-vvv"], &SMALL[..]].concat(),
        &[&SMALL[..], &["--json"]].concat(),
    ] {
        let output = pegaflow(arguments);
        let (out, err) = said(&output);
        assert!(!out.contains('\u{1b}') && !err.contains('\u{1b}'), "{arguments:?}: {out:?} {err:?}");
    }
}

#[test]
fn a_terminal_has_colours_unless_no_color_is_set() {
    for arguments in [&["--help"][..], &["demo", "--backend", "smh"], &[&["-v"], &SMALL[..]].concat()] {
        let (text, _) = on_terminal(arguments, &[]);
        assert!(has_colour(&text), "{arguments:?}: {text:?}");
        let (text, _) = on_terminal(arguments, &[("NO_COLOR", "1")]);
        assert!(!has_colour(&text), "{arguments:?}: {text:?}");
        // Empty is as good as unset.
        let (text, _) = on_terminal(arguments, &[("NO_COLOR", "")]);
        assert!(has_colour(&text), "{arguments:?}: {text:?}");
    }
}

#[test]
fn the_progress_bar_leaves_the_cursor_as_it_was() {
    let (text, status) = on_terminal(&[&SMALL[..], &["--layer-time", "100ms"]].concat(), &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(" layers  "), "no progress bar: {text:?}");
    // Nobody hides it, so that no way to end leaves it hidden.
    assert!(!text.contains("\u{1b}[?25l"), "{text:?}");
}

/// -v before or after the command, and in the nodes that a demo starts.
#[test]
fn verbosity_reaches_the_nodes() {
    let err = |output| said(&output).1;
    let quiet = err(small(&[]));
    assert_eq!(quiet, "");
    for told in [err(small(&["-v"])), err(pegaflow(&[&["-v"], &SMALL[..]].concat()))] {
        assert!(told.contains("INFO") && !told.contains("DEBUG"), "{told}");
        // By the nodes themselves, both of them.
        for node in ["prefill", "decode"] {
            assert!(told.lines().any(|line| line.contains(": up ") && line.contains(node)), "{node}: {told}");
        }
    }
    let debug = err(small(&["-vv"]));
    assert!(debug.contains("DEBUG") && debug.contains("node.decode.listen"), "{debug}");
}
