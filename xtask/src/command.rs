//! Running other programs: shown before they start, their output passed through as it comes.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::Error;

/// The repository's root.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The cargo that runs this program, in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(Path::new(ROOT));
    command
}

/// Shows `command`, runs it to its end, and fails if it does. Its output goes where ours goes, unread.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let shown = shown(command);
    println!("$ {shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Failed { command: shown, status }),
        Err(source) => Err(Error::Start { command: shown, source }),
    }
}

/// What the test runners of one command counted, over all their binaries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Tally {
    /// Adds what a runner's closing line says; other lines say nothing.
    pub(crate) fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            let Some((count, what)) = part.trim().split_once(' ') else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

/// As [`run`], for a command whose output has closing lines of test runners: passes it through, and adds them up.
pub(crate) fn run_tests(command: &mut Command) -> Result<Tally, Error> {
    let shown = shown(command);
    println!("$ {shown}");
    let start = |source| Error::Start { command: shown.clone(), source };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        let (mut output, mut line, mut to) = (BufReader::new(output), Vec::new(), io::stdout().lock());
        while output.read_until(b'\n', &mut line).map_err(start)? > 0 {
            to.write_all(&line).and_then(|()| to.flush()).map_err(start)?;
            tally.add(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(tally),
        Ok(status) => Err(Error::Failed { command: shown, status }),
        Err(source) => Err(start(source)),
    }
}

/// Whether `command` starts and succeeds; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What `command` prints on its standard output, once it has succeeded within `limit`. It is not shown; its errors go where ours go.
pub(crate) fn bounded(command: &mut Command, limit: Duration) -> Result<String, Error> {
    let shown = shown(command);
    let start_error = |source| Error::Start { command: shown.clone(), source };
    // A file, not a pipe: nobody has to read while the command runs.
    let (mut file, start) = (tempfile::tempfile().map_err(start_error)?, Instant::now());
    let output = file.try_clone().map_err(start_error)?;
    let mut child = command.stdin(Stdio::null()).stdout(output).spawn().map_err(start_error)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start_error)? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().and_then(|()| child.wait()).map_err(start_error)?;
            return Err(Error::TimedOut { what: format!("`{shown}`"), limit });
        }
        thread::sleep(Duration::from_millis(10));
    };
    if !status.success() {
        return Err(Error::Failed { command: shown, status });
    }
    let mut text = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut text)).map_err(start_error)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A build from nothing, on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// What cargo is to build: a test or a bench, by its package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) package: &'a str,
    /// `test` or `bench`.
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
}

/// Has cargo build `target` by `arguments`, and tells where its executable lies.
pub(crate) fn build(target: Target<'_>, arguments: &[&str]) -> Result<String, Error> {
    let mut build = cargo(arguments);
    let told = bounded(build.args(["--locked", "--message-format=json-render-diagnostics"]), BUILD_LIMIT)?;
    let Target { package, kind, name } = target;
    executable(&told, target).ok_or_else(|| Error::NoExecutable { kind, name, package: package.to_owned() })
}

/// Reads cargo's messages, a JSON object a line: `target`, among all that was built with it.
fn executable(messages: &str, target: Target<'_>) -> Option<String> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let is_wanted = message["target"]["name"] == target.name
            && message["target"]["kind"][0] == target.kind
            && message["manifest_path"].as_str()?.ends_with(&format!("/{}/Cargo.toml", target.package));
        is_wanted.then(|| message["executable"].as_str().map(str::to_owned)).flatten()
    })
}

/// Where `program` lies on the search path.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// As [`on_path`], for a program of the system's administrator too; an ordinary user's path has those folders seldom.
pub(crate) fn on_path_or_sbin(program: &str) -> Option<PathBuf> {
    let sbin = || ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(program)).into_iter();
    on_path(program).or_else(|| sbin().find(|path| path.is_file()))
}

/// The command as one would type it: the program's bare name, and the variables set for it.
fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={:?}", key.to_string_lossy(), value));
        }
    }
    let program = Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned());
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 18 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.29s");
        tally.add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        tally.add("test some::name ... ok");
        assert_eq!(tally, Tally { passed: 19, failed: 3, ignored: 2 });
    }

    #[test]
    fn wait_for_a_command_has_an_end() {
        let mut sleep = Command::new("sleep");
        let told = bounded(sleep.arg("600"), Duration::from_millis(50)).unwrap_err().to_string();
        assert_eq!(told, "`sleep 600` was ended after 0.05 s");
        let told = bounded(Command::new("sh").args(["-c", "echo a; exit 3"]), Duration::from_secs(60)).unwrap_err();
        assert!(matches!(told, Error::Failed { status, .. } if status.code() == Some(3)));
        assert_eq!(bounded(Command::new("echo").arg("a"), Duration::from_secs(60)).unwrap(), "a\n");
    }

    #[test]
    fn binary_is_found_among_cargos_messages() {
        let line = |package: &str, name: &str, kind: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/{package}/Cargo.toml","target":{{"kind":["{kind}"],"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        let messages = [
            line("pegaflow-shm", "pegaflow_shm", "lib", "null"),
            line("pegaflow-ucx", "conformance", "test", "\"/t/other\""),
            "no JSON".to_owned(),
            line("pegaflow-shm", "conformance", "test", "\"/t/conformance-1\""),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let told = |package| executable(&messages.join("\n"), Target { package, kind: "test", name: "conformance" });
        assert_eq!(told("pegaflow-shm").as_deref(), Some("/t/conformance-1"));
        assert_eq!(told("pegaflow-rdma"), None);
    }

    #[test]
    fn command_is_shown_as_it_is_typed() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps");
    }
}
