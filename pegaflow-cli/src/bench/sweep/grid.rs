//! The grid: which values a cell takes.

use std::num::NonZeroU32;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use pegaflow::config::Bytes;

use super::{Op, RunArgs, op_name};
use crate::machine::human;

/// The lists. They are read from the same flags that a run has one value of.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    block_bytes: Vec<Bytes>,
    blocks: Vec<NonZeroU32>,
    depth: Vec<NonZeroU32>,
}

/// Makes a run's flag of one value one of many.
pub(super) fn list(arg: Arg, default: &'static str) -> Arg {
    arg.action(ArgAction::Append).value_delimiter(',').default_value(default)
}

impl Args for Grid {
    fn augment_args(command: Command) -> Command {
        // The run's own are there.
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl FromArgMatches for Grid {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            block_bytes: values(matches, "block_bytes"),
            blocks: values(matches, "blocks"),
            depth: values(matches, "depth"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A value that was said twice is one cell.
fn values<T: Copy + PartialEq + Send + Sync + 'static>(matches: &ArgMatches, flag: &str) -> Vec<T> {
    let mut values: Vec<T> = Vec::new();
    for value in matches.get_many(flag).into_iter().flatten() {
        if !values.contains(value) {
            values.push(*value);
        }
    }
    values
}

impl Grid {
    /// The runs of a sweep, the size outermost, each with the other flags of `one`.
    pub(super) fn cells(&self, op: Op, one: &RunArgs) -> Vec<RunArgs> {
        let sizes = if op == Op::Count { &self.block_bytes[..1] } else { &self.block_bytes };
        let blocks = if matches!(op, Op::Count | Op::Message) { &self.blocks[..1] } else { &self.blocks };
        let mut cells = Vec::new();
        for &block_bytes in sizes {
            for &blocks in blocks {
                for &depth in &self.depth {
                    cells.push(RunArgs { block_bytes, blocks, depth, ..one.clone() });
                }
            }
        }
        cells
    }
}

/// A cell in a few words.
pub(super) fn name(op: Op, cell: &RunArgs) -> String {
    let (op_name, size, blocks, depth) = (op_name(op), human(cell.block_bytes.get()), cell.blocks, cell.depth);
    match op {
        Op::Count => format!("{op_name}, depth {depth}"),
        Op::Message => format!("{op_name}, {size}, depth {depth}"),
        Op::Write | Op::Read => format!("{op_name}, {size} x {blocks}, depth {depth}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::typed;

    fn cells(arguments: &[&str]) -> Vec<(u64, u32, u32)> {
        let arguments = typed(arguments).unwrap();
        let cells = arguments.grid.cells(arguments.op, &arguments.one);
        cells.iter().map(|cell| (cell.block_bytes.get(), cell.blocks.get(), cell.depth.get())).collect()
    }

    #[test]
    fn a_grid_is_every_combination() {
        let defaults = [4, 16, 64, 256, 1024].map(|kib| (kib << 10, 1024, 4));
        assert_eq!(cells(&[]), defaults);
        let lists = ["--block-bytes", "4K,1M", "--blocks", "8,9", "--depth", "1", "--depth", "2"];
        let all = [
            (4096, 8, 1),
            (4096, 8, 2),
            (4096, 9, 1),
            (4096, 9, 2),
            (1 << 20, 8, 1),
            (1 << 20, 8, 2),
            (1 << 20, 9, 1),
            (1 << 20, 9, 2),
        ];
        assert_eq!(cells(&lists), all);
        // What an operation does not have makes no cells.
        assert_eq!(cells(&[&["message"], &lists[..]].concat()).len(), 4);
        assert_eq!(cells(&[&["count"], &lists[..]].concat()).len(), 2);
        assert_eq!(cells(&["--block-bytes", "4K,4096,8K"]), [(4096, 1024, 4), (8192, 1024, 4)]);
    }

    #[test]
    fn the_other_flags_of_a_run_go_to_every_cell() {
        let flags = ["--seed", "7", "--seconds", "0.5", "--against", "memcpy", "--verify", "--rate", "100"];
        let arguments = typed(&flags).unwrap();
        for cell in arguments.grid.cells(arguments.op, &arguments.one) {
            assert_eq!((cell.seed, cell.verify, cell.rate), (7, true, Some(100.0)));
            assert!(cell.against.is_some() && (cell.seconds - 0.5).abs() < 1e-9);
        }
    }

    #[test]
    fn a_wrong_value_in_a_list_is_told_alone() {
        for (arguments, parts) in [
            (["--block-bytes", "4K,1potato"], ["'1potato'", "--block-bytes"]),
            (["--depth", "1,0"], ["'0'", "--depth"]),
            (["--blocks", "8,,9"], ["''", "--blocks"]),
        ] {
            let told = typed(&arguments).unwrap_err().to_string();
            for part in parts {
                assert!(told.contains(part), "{arguments:?}: `{part}` is missing in: {told}");
            }
        }
    }
}
