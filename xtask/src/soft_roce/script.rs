//! What a host runs once its file system is there: the caller's variables and command, then `host.sh`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::Plan;

const HOST: &str = include_str!("host.sh");

/// The script of host number `host`, for bash.
pub(super) fn script(plan: &Plan, host: u8) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in &plan.variables {
        text.extend([b"export ", name.as_bytes(), b"=", &quoted(value), b"\n"].concat());
    }
    text.extend(format!("host={host} hosts={} rails={}\n", plan.hosts, plan.rails).into_bytes());
    text.extend([b"folder=".as_slice(), &quoted(plan.folder.as_os_str()), b"\n"].concat());
    let words: Vec<Vec<u8>> = plan.command.iter().map(|word| quoted(word)).collect();
    text.extend([b"command=(".as_slice(), &words.join(&b' '), b")\n"].concat());
    text.extend(HOST.as_bytes());
    text
}

/// `word` in single quotes, in which the shell leaves every byte alone; a quote itself stands outside, escaped.
fn quoted(word: &OsStr) -> Vec<u8> {
    let parts: Vec<&[u8]> = word.as_bytes().split(|byte| *byte == b'\'').collect();
    [b"'".as_slice(), &parts.join(b"'\\''".as_slice()), b"'"].concat()
}

/// The variables that a host's command sees beside those that `host.sh` sets: enough to find programs, the caller's
/// `PEGAFLOW_*`, and what `--env` adds or replaces. Nothing else goes over: what cargo sets for xtask, a library path
/// above all, would be taken for the user's wish.
pub(super) fn variables(
    caller: impl Iterator<Item = (OsString, OsString)>,
    added: &[(String, String)],
) -> Vec<(String, OsString)> {
    let mut all = vec![("LANG".to_owned(), OsString::from("C.UTF-8"))];
    let caller = caller.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let wanted =
        caller.filter(|(name, _)| is_name(name) && (KEPT.contains(&name.as_str()) || name.starts_with("PEGAFLOW_")));
    for (name, value) in wanted.chain(added.iter().map(|(name, value)| (name.clone(), value.into()))) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

const KEPT: [&str; 3] = ["HOME", "LANG", "PATH"];

/// Set by `host.sh` for each host; a caller's value would be lost.
const SET_BY_THE_HOST: [&str; 6] =
    ["PEGAFLOW_HOST", "PEGAFLOW_HOST_ADDR", "PEGAFLOW_PEER_ADDR", "PEGAFLOW_RAILS", "PEGAFLOW_NETDEVS", "PEGAFLOW_OUT"];

/// Reads the `NAME=VALUE` of `--env`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if !is_name(name) {
        return Err(format!("{name:?} is no name of a variable: expected letters, digits and _, no digit first"));
    }
    if SET_BY_THE_HOST.contains(&name) {
        return Err(format!("{name} is set by the host itself"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn is_name(text: &str) -> bool {
    let letters = text.chars().all(|letter| letter == '_' || letter.is_ascii_alphanumeric());
    letters && !text.starts_with(|letter: char| letter.is_ascii_digit()) && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    #[test]
    fn odd_words_reach_the_command_as_they_were_typed() {
        let words = [
            "plain",
            "",
            "two words",
            "it's",
            "'",
            "''",
            "\"$HOME\"",
            "`date`",
            "$(date)",
            "a\\b\\",
            "*",
            "~",
            "!",
            "new\nline",
            "-n",
            "a;b|c&d",
            "日本",
        ];
        let mut odd: Vec<OsString> = words.iter().map(OsString::from).collect();
        odd.push(OsString::from_vec(vec![0xff, 0xfe, b'\'']));
        let typed: Vec<Vec<u8>> = odd.iter().map(|word| quoted(word)).collect();
        let script = [b"printf '%s\\0' ".as_slice(), &typed.join(&b' ')].concat();
        let output = Command::new("bash").arg("-c").arg(OsStr::from_bytes(&script)).output().expect("bash");
        let seen: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
        let expected: Vec<&[u8]> = odd.iter().map(|word| word.as_bytes()).chain([b"".as_slice()]).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn script_is_one_that_bash_reads() {
        for hosts in [1, 2] {
            let plan = Plan {
                hosts,
                rails: 2,
                folder: PathBuf::from("/a folder/it's"),
                command: vec!["sh".into(), "-c".into(), "exit 7".into()],
                variables: vec![("A".to_owned(), "b c".into())],
                ..Plan::default()
            };
            let text = script(&plan, 0);
            let output = Command::new("bash").args(["-n", "-c"]).arg(OsStr::from_bytes(&text)).output().expect("bash");
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(text).unwrap();
            assert!(text.starts_with(&format!(
                "export A='b c'\nhost=0 hosts={hosts} rails=2\nfolder='/a folder/it'\\''s'\ncommand=('sh' '-c' 'exit 7')\n"
            )));
        }
    }

    #[test]
    fn few_variables_go_over() {
        let caller = [
            ("HOME", "/home/me"),
            ("CARGO_HOME", "/x"),
            ("LD_LIBRARY_PATH", "/x"),
            ("PEGAFLOW_SEED", "1"),
            ("PEGAFLOW_LEVEL", "2"),
            ("PEGAFLOW_A-B", "no name in a shell"),
        ];
        let caller = caller.into_iter().map(|(name, value)| (name.into(), value.into()));
        let added = [("PEGAFLOW_SEED".to_owned(), "7".to_owned()), ("RUST_LOG".to_owned(), "debug".to_owned())];
        let seen: Vec<String> = variables(caller, &added)
            .into_iter()
            .map(|(name, value)| format!("{name}={}", value.to_string_lossy()))
            .collect();
        assert_eq!(seen, ["LANG=C.UTF-8", "HOME=/home/me", "PEGAFLOW_SEED=7", "PEGAFLOW_LEVEL=2", "RUST_LOG=debug"]);
    }

    #[test]
    fn variables_are_read_with_their_names_checked() {
        assert_eq!(variable("A_1=b=c"), Ok(("A_1".to_owned(), "b=c".to_owned())));
        assert_eq!(variable("A="), Ok(("A".to_owned(), String::new())));
        for (text, told) in [("A", "NAME=VALUE"), ("1A=b", "\"1A\""), ("=b", "\"\""), ("PEGAFLOW_HOST=1", "itself")] {
            let error = variable(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn variables_of_the_host_are_those_that_its_script_sets() {
        for name in SET_BY_THE_HOST {
            assert!(HOST.contains(&format!("{name}=")), "{name}");
        }
        assert_eq!(HOST.matches("PEGAFLOW_").count(), SET_BY_THE_HOST.len());
    }
}
