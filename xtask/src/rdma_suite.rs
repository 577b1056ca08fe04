//! The RDMA suite: the conformance suite of a backend in a virtual host, where there is a verbs device.

use std::path::Path;
use std::time::Duration;

use crate::command::{self, ROOT, Tally, Target};
use crate::error::{At, Error};
use crate::require::Backend;
use crate::soft_roce::{self, Kernel, Plan};

/// Whose suite it is.
const BACKEND: Backend = Backend::Rdma;

/// Something that runs in the host; all of them run, whatever became of those before.
struct Step {
    name: &'static str,
    limit_s: u32,
    /// For bash. `$CONFORMANCE` and `$LAYOUT` are the binaries of those tests, `$BACKEND` the name of the backend,
    /// `$PROGRAM` the command line's binary.
    command: &'static str,
}

/// Limits are for a busy machine; an idle one needs a tenth.
const STEPS: &[Step] = &[
    // The first two use nothing of ours: where they fail, it is the host.
    Step { name: "device", limit_s: 60, command: "ibv_devinfo -d rxe0" },
    Step {
        name: "round trips",
        limit_s: 120,
        command: "ibv_rc_pingpong -d rxe0 -g 1 -n 200 & sleep 2; \
            ibv_rc_pingpong -d rxe0 -g 1 -n 200 $PEGAFLOW_HOST_ADDR && wait $!",
    },
    // Ignored on machines without the headers; here they are needed.
    Step {
        name: "the foreign layer against the headers",
        limit_s: 120,
        command: "\"$LAYOUT\" | tee /tmp/said && grep -q 'ok. 1 passed' /tmp/said",
    },
    Step { name: "conformance", limit_s: 1200, command: "PEGAFLOW_REQUIRE=$BACKEND \"$CONFORMANCE\"" },
    // A file changes its backend and nothing else; the demo checks every byte.
    Step {
        name: "the demo, and the same config under shm and rdma",
        limit_s: 300,
        command: "set -e; grep -q '^backend = \"shm\"' ../config/pegaflow.toml; \
            sed 's/^backend = \"shm\"/backend = \"rdma\"/' ../config/pegaflow.toml >/tmp/rdma.toml; \
            for config in ../config/pegaflow.toml /tmp/rdma.toml; do \
              \"$PROGRAM\" demo --config $config --model custom --layers 8 --kv-heads 2 --head-dim 64 --dtype bf16 \
                --tokens 1024 --rounds 2 --json | tee /tmp/report; grep -q '\"verified\":true' /tmp/report; \
            done; grep -q '\"backend\":\"rdma\"' /tmp/report",
    },
    // Without the right to lock more than it may, a process is told what to raise.
    Step {
        name: "too little memory may be locked",
        limit_s: 60,
        command: "prlimit --memlock=16384 setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock \
            \"$PROGRAM\" demo --backend $BACKEND --tokens 16 --rounds 1 >/tmp/said 2>&1 && exit 1; \
            cat /tmp/said; grep -q 'may lock 16384 bytes: raise it' /tmp/said",
    },
];

/// From the host's start to the first step, and from the last to its end.
const SLACK_S: u32 = 240;

/// How it is called where results are told.
pub(crate) fn name() -> String {
    format!("{} suite on a virtual soft-RoCE host", BACKEND.name())
}

/// Builds the suite, boots a host, and runs the steps there.
pub(crate) fn run(kernel: &Kernel) -> Result<Tally, Error> {
    let package = format!("pegaflow-{}", BACKEND.name());
    let [conformance, layout, program] = build(&package)?;
    let folder = Path::new(ROOT).join(&package);
    let scratch = tempfile::tempdir().at(Path::new("a temporary folder"))?;
    let own = [
        ("CONFORMANCE", conformance),
        ("LAYOUT", layout),
        ("PROGRAM", program),
        ("BACKEND", BACKEND.name().to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let plan = Plan {
        timeout: Duration::from_secs(
            STEPS.iter().map(|step| u64::from(step.limit_s)).sum::<u64>() + u64::from(SLACK_S),
        ),
        out: scratch.path().canonicalize().at(scratch.path())?,
        folder: folder.canonicalize().at(&folder)?,
        command: arguments(STEPS).into_iter().map(Into::into).collect(),
        variables: soft_roce::variables(&own),
        ..Plan::default()
    };
    println!("\n==== {} ====", name());
    let mut tally = Tally::default();
    let statuses = soft_roce::boot(&plan, kernel, &mut |line| {
        tally.add(String::from_utf8_lossy(&line.bytes).trim_end());
        soft_roce::print(line, "")
    })?;
    match statuses.as_slice() {
        [0] => Ok(tally),
        statuses => Err(Error::Suite { name: name(), status: statuses.iter().copied().max().unwrap_or_default() }),
    }
}

/// The command line that runs `steps` in a host.
fn arguments(steps: &[Step]) -> Vec<String> {
    let mut words: Vec<String> = ["bash", "-c", include_str!("rdma_suite/steps.sh"), "steps"].map(str::to_owned).into();
    for step in steps {
        words.extend([step.name.to_owned(), step.limit_s.to_string(), step.command.to_owned()]);
    }
    words
}

/// Builds the tests of `package` that run there, and the command line, and tells where their binaries lie.
fn build(package: &str) -> Result<[String; 3], Error> {
    println!();
    // Of the whole workspace, as the host tests are: for one package alone features differ, and much is built again.
    let arguments = ["test", "--no-run", "--workspace", "--test=conformance", "--test=layout", "--test=command_line"];
    let arguments = [&arguments[..], &["--all-features"]].concat();
    let build = |package, kind, name| command::build(Target { package, kind, name }, &arguments);
    Ok([
        build(package, "test", "conformance")?,
        build(package, "test", "layout")?,
        build("pegaflow-cli", "bin", "pegaflow")?,
    ])
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;

    fn steps(steps: &[Step]) -> Output {
        let words = arguments(steps);
        Command::new(&words[0]).args(&words[1..]).output().expect("bash")
    }

    #[test]
    fn each_step_runs_and_a_failure_is_the_end_of_none() {
        let output = steps(&[
            Step { name: "bad", limit_s: 60, command: "echo \"it's\" >&2; exit 9" },
            Step { name: "slow", limit_s: 1, command: "sleep 600" },
            Step { name: "good", limit_s: 60, command: "echo 'test result: ok. 2 passed; 0 failed'" },
        ]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        for line in
            ["it's", "---- bad FAILED with status 9 after", "---- slow FAILED at its limit after", "---- good passed"]
        {
            assert!(shown.contains(line), "{shown}");
        }
        let mut tally = Tally::default();
        shown.lines().for_each(|line| tally.add(line));
        assert_eq!(tally.passed, 2);
    }

    #[test]
    fn success_of_all_steps_is_success() {
        let output = steps(&[Step { name: "good", limit_s: 60, command: "true" }]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}
