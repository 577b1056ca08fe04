//! The RDMA suite: the conformance suite of a backend in virtual hosts, where there is a verbs device.

mod steps;

use std::path::Path;
use std::time::Duration;

use self::steps::Step;
use crate::command::{self, ROOT, Tally, Target};
use crate::error::{At, Error};
use crate::require::Backend;
use crate::soft_roce::{self, Kernel, Plan};

/// Whose suite it is.
const BACKEND: Backend = Backend::Rdma;

/// From the host's start to the first step, and from the last to its end.
const SLACK_S: u32 = 240;

/// How often a suite begins anew because the emulator's cable stopped: nothing of ours is in it.
const CABLES_THAT_MAY_HANG: u32 = 1;

/// The backend's suite on one host, or on two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    OneHost,
    TwoHosts,
}

impl Suite {
    pub(crate) const ALL: [Self; 2] = [Self::OneHost, Self::TwoHosts];

    /// How it is called where results are told.
    pub(crate) fn name(self) -> String {
        let hosts = match self {
            Self::OneHost => "a virtual soft-RoCE host",
            Self::TwoHosts => "two virtual soft-RoCE hosts",
        };
        format!("{} suite on {hosts}", BACKEND.name())
    }

    fn steps(self) -> Vec<Step> {
        match self {
            Self::OneHost => steps::one_host(),
            Self::TwoHosts => steps::two_hosts(),
        }
    }

    /// How it is booted, and what each of its hosts runs.
    fn plan(self) -> Plan {
        let steps = self.steps();
        let limits: u64 = steps.iter().map(|step| u64::from(step.limit_s)).sum();
        let plan = Plan { timeout: Duration::from_secs(limits + u64::from(SLACK_S)), ..Plan::default() };
        let command = arguments(&steps);
        match self {
            Self::OneHost => Plan { command: command.into_iter().map(Into::into).collect(), ..plan },
            Self::TwoHosts => {
                let on_each = ["bash", "-c", include_str!("rdma_suite/two_hosts.sh"), "two_hosts"].map(str::to_owned);
                let command = on_each.into_iter().chain(command).map(Into::into).collect();
                Plan { command, hosts: 2, rails: 2, cpus: 1, ..plan }
            }
        }
    }
}

/// The binaries that the steps run, by the names of their variables.
pub(crate) type Binaries = [(&'static str, String); 4];

/// Boots the hosts of `suite`, and runs its steps there.
pub(crate) fn run(suite: Suite, binaries: &Binaries, kernel: &Kernel) -> Result<Tally, Error> {
    let folder = Path::new(ROOT).join(package());
    let scratch = tempfile::tempdir().at(Path::new("a temporary folder"))?;
    let own = binaries.iter().cloned().chain([("BACKEND", BACKEND.name().to_owned())]);
    let own: Vec<_> = own.map(|(name, value)| (name.to_owned(), value)).collect();
    let plan = Plan {
        out: scratch.path().canonicalize().at(scratch.path())?,
        folder: folder.canonicalize().at(&folder)?,
        variables: soft_roce::variables(&own),
        ..suite.plan()
    };
    println!("\n==== {} ====", suite.name());
    let mut hung = 0;
    loop {
        let mut tally = Tally::default();
        let statuses = soft_roce::boot(&plan, kernel, &mut |line| {
            tally.add(String::from_utf8_lossy(&line.bytes).trim_end());
            // What is told of steps and cases is host 0's.
            soft_roce::print(line, if line.host == 0 { "" } else { "[1] " })
        })?;
        if statuses.contains(&soft_roce::CABLE_HUNG) && hung < CABLES_THAT_MAY_HANG {
            hung += 1;
            println!(
                "\n==== the emulated cable hung, see above: the hosts are booted again, and all of it counts anew ===="
            );
            continue;
        }
        return match statuses.iter().copied().max() {
            Some(0) => Ok(tally),
            worst => Err(Error::Suite { name: suite.name(), status: worst.unwrap_or_default() }),
        };
    }
}

/// The command line that runs `steps` in a host.
fn arguments(steps: &[Step]) -> Vec<String> {
    let mut words: Vec<String> = ["bash", "-c", include_str!("rdma_suite/steps.sh"), "steps"].map(str::to_owned).into();
    for step in steps {
        words.extend([step.name.clone(), step.limit_s.to_string(), step.command.clone()]);
    }
    words
}

fn package() -> String {
    format!("pegaflow-{}", BACKEND.name())
}

/// Builds the backend's tests that run there, and the command line, and tells where their binaries lie.
pub(crate) fn build() -> Result<Binaries, Error> {
    println!();
    // Of the whole workspace, as the host tests are: for one package alone features differ, and much is built again.
    let arguments = [
        "test",
        "--no-run",
        "--workspace",
        "--test=conformance",
        "--test=keys",
        "--test=layout",
        "--test=command_line",
    ];
    let arguments = [&arguments[..], &["--all-features"]].concat();
    let build = |package: &str, kind, name| command::build(Target { package, kind, name }, &arguments);
    let package = package();
    Ok([
        ("CONFORMANCE", build(&package, "test", "conformance")?),
        ("KEYS", build(&package, "test", "keys")?),
        ("LAYOUT", build(&package, "test", "layout")?),
        ("PROGRAM", build("pegaflow-cli", "bin", "pegaflow")?),
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
            Step::new("bad", 60, "echo \"it's\" >&2; exit 9"),
            Step::new("slow", 1, "sleep 600"),
            Step::new("good", 60, "echo 'test result: ok. 2 passed; 0 failed'"),
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
        let output = steps(&[Step::new("good", 60, "true")]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}
