//! `pegaflow node`: one node of a config, serving demos and benches.

use std::time::Duration;

use pegaflow::{
    Session,
    config::{Config, Origin, Role},
    rendezvous::RendezvousError,
};

use crate::{
    Failure,
    args::NodeArgs,
    bench, demo,
    nodes::{Job, Said, keys},
};

/// How long one wait for a job lasts before the next.
const WAIT: Duration = Duration::from_secs(30);

pub(crate) fn run(arguments: &NodeArgs) -> Result<(), Failure> {
    let mut config = Config::load(&arguments.config)?;
    if let Some(backend) = arguments.backend {
        config.override_backend(backend);
    }
    if let Some(listen) = &arguments.metrics {
        config.override_metrics(listen.clone());
    }
    if arguments.until_stdin_ends {
        std::thread::spawn(|| {
            // Whatever is said there does not matter, only its end.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    let role = config.node(&arguments.name)?.role;
    for one in config.effective().iter().filter(|one| !matches!(one.origin, Origin::Default)) {
        tracing::debug!(value = %one.value, origin = %one.origin, "{}", one.key);
    }
    let session = Session::open(&config, &arguments.name)?;
    let (name, backend) = (session.name(), config.backend);
    tracing::info!(node = name, %role, %backend, listen = %session.board().local_addr(), "up");
    if !arguments.until_stdin_ends {
        // At once: whoever reads the first line only may be gone then.
        let figures = session.metrics_addr().map_or_else(String::new, |address| {
            format!("\nits figures are at http://{address}/metrics, and by `pegaflow stats --at {address}`")
        });
        println!(
            "node `{}` ({role}) is up at {} over {}; it serves demos and benches until it is ended (Ctrl-C){figures}",
            session.name(),
            session.board().local_addr(),
            config.backend
        );
    }
    let mut seen = None;
    loop {
        let (name, board) = (session.name(), session.board());
        let job = match board.fetch_blocking(name, keys::JOB, seen, WAIT) {
            Ok(job) => job,
            Err(RendezvousError::NoAnswer { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        seen = Some(job.version);
        let job: Job = match serde_json::from_slice(&job.bytes) {
            Ok(job) => job,
            Err(error) => {
                crate::tell(&format!("a job that this version does not understand: {error}"));
                continue;
            }
        };
        tracing::info!(node = name, job = job.id(), "begins");
        let result = match &job {
            Job::Demo(job) => match role {
                Role::Prefill => demo::prefill::run(&session, job).and_then(|done| Ok(serde_json::to_value(done)?)),
                Role::Decode => demo::decode::run(&session, job).and_then(|done| Ok(serde_json::to_value(done)?)),
                other => Err(format!("node `{name}` has role {other}: a demo needs prefill and decode").into()),
            },
            Job::Bench(job) => bench::serve(&session, job),
        };
        let said = Said { id: job.id().to_owned(), result: result.map_err(|error| error.to_string()) };
        tracing::info!(node = name, job = %said.id, good = said.result.is_ok(), "ended");
        session.publish(keys::RESULT, serde_json::to_vec(&said)?)?;
    }
}
