//! `cargo xtask test`: needs, host tests, and the suites that are not there.

use crate::error::Error;
use crate::require::Backend;
use crate::{TestOptions, command, needs, require};

/// A suite that can't run yet, shown as a skip.
struct Absent {
    backend: Backend,
    suite: &'static str,
    reason: &'static str,
}

const ABSENT: [Absent; 2] = [
    Absent {
        backend: Backend::Ucx,
        suite: "UCX suite",
        reason: "not built yet: pegaflow-ucx opens as \"not built yet\"",
    },
    Absent {
        backend: Backend::Rdma,
        suite: "RDMA suite on the virtual soft-RoCE hosts",
        reason: "not built yet: pegaflow-rdma opens as \"not built yet\"",
    },
];

/// Runs the tests. What `PEGAFLOW_REQUIRE` asks for and is known to be absent is told before anything runs.
pub(crate) fn run(options: &TestOptions) -> Result<(), Error> {
    let required = require::from_environment()?;
    if let Some(absent) = ABSENT.iter().find(|absent| required.contains(&absent.backend)) {
        return Err(Error::RequiredAbsent { name: absent.backend.name(), reason: absent.reason });
    }

    if !options.quick {
        needs::provide(&needs::HOST_TESTS, options.no_install)?;
    }
    let tally = command::run_tests(&mut command::cargo(&["test", "--workspace", "--all-features", "--locked"]))?;

    println!();
    for absent in &ABSENT {
        println!("SKIPPED: {}: {}", absent.suite, absent.reason);
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.ignored);
    Ok(())
}
