//! `pegaflow completions` and `pegaflow man`: what a shell and `man` know of this program, made of the same command line.

use std::{fs, path::PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{Failure, args::Arguments, output};

const COMPLETIONS_HELP: &str = "\
To install:
  bash   pegaflow completions bash > ~/.local/share/bash-completion/completions/pegaflow
         (needs the package bash-completion; without it, `source` the file in ~/.bashrc)
  zsh    pegaflow completions zsh > ~/.zfunc/_pegaflow
         (with `fpath+=~/.zfunc` in ~/.zshrc before its `compinit`)
  fish   pegaflow completions fish > ~/.config/fish/completions/pegaflow.fish
The folder has to be there: `mkdir -p` makes it. A new shell then completes commands, options and their values.";

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(crate) struct CompletionsArgs {
    /// Whose.
    pub(crate) shell: Shell,
}

const MAN_HELP: &str = "\
Examples:
  pegaflow man | man -l -                        read the main page
  pegaflow man --out ~/.local/share/man/man1     install all: then `man pegaflow`, `man pegaflow-demo`";

#[derive(Debug, Args)]
#[command(after_help = MAN_HELP)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder, which is made where it is missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

pub(crate) fn completions(arguments: &CompletionsArgs) {
    output::write(&script(arguments.shell));
}

/// A shell's script. In memory first: the generator panics where it can't write.
fn script(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pegaflow", &mut text);
    text
}

pub(crate) fn man(arguments: &ManArgs) -> Result<(), Failure> {
    let command = command();
    let Some(folder) = &arguments.out else {
        let (_, text) = page(&command)?;
        output::write(text.as_bytes());
        return Ok(());
    };
    let place = |error| format!("--out {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(place)?;
    let pages = pages(&command)?;
    for (file, text) in &pages {
        fs::write(folder.join(file), text).map_err(place)?;
    }
    println!("{} pages are in {}", pages.len(), folder.display());
    Ok(())
}

/// All commands that have a page: `help` has nothing to say that is not on these.
fn command() -> Command {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    command
}

/// The pages of a command and of those below it: names of their files, and what is in them.
fn pages(command: &Command) -> Result<Vec<(String, String)>, Failure> {
    let mut all = vec![page(command)?];
    for below in command.get_subcommands() {
        all.extend(pages(below)?);
    }
    Ok(all)
}

fn page(command: &Command) -> Result<(String, String), Failure> {
    let source = concat!("pegaflow ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("Pegaflow");
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok((man.get_filename(), keep_tables(&String::from_utf8(text)?)))
}

/// Tables and examples are indented; troff is told not to fill their lines as it does those of a paragraph.
fn keep_tables(page: &str) -> String {
    let (mut kept, mut in_table) = (String::new(), false);
    for line in page.lines() {
        if line.starts_with("  ") != in_table {
            in_table = !in_table;
            kept += if in_table { ".nf\n" } else { ".fi\n" };
        }
        kept += line;
        kept += "\n";
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use clap::ValueEnum;

    use super::*;

    /// Names of all commands, as pages are named: `pegaflow-config-show`.
    fn names(command: &Command, above: &str) -> Vec<String> {
        let name = format!("{above}{}", command.get_name());
        let below = command.get_subcommands().flat_map(|below| names(below, &format!("{name}-")));
        std::iter::once(name.clone()).chain(below).collect()
    }

    #[test]
    fn every_command_has_a_page() {
        let pages: BTreeMap<_, _> = pages(&command()).unwrap().into_iter().collect();
        let expected: Vec<_> = names(&Arguments::command(), "").into_iter().map(|name| format!("{name}.1")).collect();
        assert_eq!(pages.keys().collect::<BTreeSet<_>>(), expected.iter().collect());
        assert!(expected.contains(&"pegaflow-config-show.1".to_owned()), "{expected:?}");
        let demo = &pages["pegaflow-demo.1"];
        assert!(demo.contains("layer\\-time") && !demo.contains("until\\-stdin\\-ends"), "{demo}");
    }

    #[test]
    fn tables_are_kept() {
        let page = ".SH EXTRA\nIt says:\n  0  good\n  1  bad\nThat is all.\n";
        assert_eq!(keep_tables(page), ".SH EXTRA\nIt says:\n.nf\n  0  good\n  1  bad\n.fi\nThat is all.\n");
    }

    #[test]
    fn every_shell_knows_every_command_and_option() {
        fn words(command: &Command) -> Vec<String> {
            let long = command.get_arguments().filter(|argument| !argument.is_hide_set());
            let long = long.filter_map(|argument| argument.get_long().map(str::to_owned));
            let name = command.get_name().to_owned();
            std::iter::once(name).chain(long).chain(command.get_subcommands().flat_map(words)).collect()
        }
        for shell in Shell::value_variants() {
            let text = String::from_utf8(script(*shell)).unwrap();
            for word in words(&Arguments::command()) {
                assert!(text.contains(&word), "{shell}: `{word}` is missing");
            }
        }
    }
}
