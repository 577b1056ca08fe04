//! `cargo xtask test`: needs, host tests, the suites in virtual hosts, and the suites that are not there.

use crate::command::{Tally, cargo, run_tests};
use crate::error::Error;
use crate::rdma_suite::Suite;
use crate::require::Backend;
use crate::soft_roce::Table;
use crate::{TestOptions, needs, prometheus, rdma_suite, require, soft_roce};

/// A suite that can't run yet, shown as a skip.
struct Absent {
    backend: Backend,
    suite: &'static str,
    reason: &'static str,
}

const ABSENT: [Absent; 1] = [Absent {
    backend: Backend::Ucx,
    suite: "UCX suite",
    reason: "not built yet: pegaflow-ucx opens as \"not built yet\"",
}];

const HOST_TESTS: [&str; 4] = ["test", "--workspace", "--all-features", "--locked"];
/// xtask's own tests that boot hosts; the host tests list them as ignored. Built by the host tests already.
const BOOTS: [&str; 3] = ["--test=xtask", "--", "--ignored"];

/// Runs the tests. What `PEGAFLOW_REQUIRE` asks for and can't be tested is told before anything runs.
pub(crate) fn run(options: &TestOptions) -> Result<(), Error> {
    let required = require::from_environment()?;
    let required_absent = |backend: Backend, reason: &str| match required.contains(&backend) {
        true => Err(Error::RequiredAbsent { name: backend.name(), reason: reason.to_owned() }),
        false => Ok(()),
    };
    for absent in &ABSENT {
        required_absent(absent.backend, absent.reason)?;
    }

    // A kernel for the virtual hosts, or why there are none.
    let kernel = if options.quick {
        Err("--quick runs the host tests only".to_owned())
    } else {
        needs::provide(&needs::HOST_TESTS, options.no_install)?;
        soft_roce::prepare(options.no_install, Table::Always).map_err(|error| error.to_string())
    };
    if let Err(reason) = &kernel {
        required_absent(Backend::Rdma, reason)?;
    }

    let prometheus = if options.quick {
        Err("--quick downloads nothing".to_owned())
    } else {
        prometheus::provide(options.no_install)
    };
    let mut host_tests = cargo(&HOST_TESTS);
    if let Ok(path) = &prometheus {
        host_tests.env(prometheus::VARIABLE, path);
    }
    if required.contains(&Backend::Rdma) {
        host_tests.env(require::VARIABLE, require::without(&required, Backend::Rdma));
    }
    let mut tallies = vec![("host tests".to_owned(), run_tests(&mut host_tests)?)];
    if let Ok(kernel) = &kernel {
        println!();
        tallies.push(("virtual hosts".to_owned(), run_tests(&mut cargo(&[&HOST_TESTS[..], &BOOTS].concat()))?));
        let binaries = rdma_suite::build()?;
        for suite in Suite::ALL {
            tallies.push((suite.name(), rdma_suite::run(suite, &binaries, kernel)?));
        }
    }

    println!();
    for absent in &ABSENT {
        println!("SKIPPED: {}: {}", absent.suite, absent.reason);
    }
    if let Err(reason) = &prometheus {
        println!("SKIPPED: a real Prometheus scrapes two nodes: {reason}");
    }
    if let Err(reason) = &kernel {
        for suite in Suite::ALL {
            println!("SKIPPED: {}: {reason}", suite.name());
        }
    }
    for (suite, Tally { passed, failed, ignored }) in tallies {
        println!("{suite}: {passed} passed, {failed} failed, {ignored} skipped");
    }
    Ok(())
}
