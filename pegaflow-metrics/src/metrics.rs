//! The figures of a node: its recorders, its memory, its rails.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use pegaflow_core::{MemoryFigures, Node, Rail};

use crate::{
    Recorder, Snapshot, catalogue as is,
    series::{PortFigures, Sums, Visit},
    snapshot::Value,
};

/// The figures of one node. Clones are handles to the same.
///
/// Reading them takes a lock that is taken where a recorder is made or dropped, and nowhere else: no port waits for a
/// reader.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: String,
    backend: String,
    memory: MemoryFigures,
    rails: Vec<Rail>,
    ports: Arc<Ports>,
}

/// The recorders of a node.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    live: Vec<Arc<PortFigures>>,
    /// What those had that are gone: a counter never goes down.
    gone: Option<Sums>,
}

impl Ports {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, figures: &Arc<PortFigures>) {
        self.lock().live.push(Arc::clone(figures));
    }

    pub(crate) fn retire(&self, figures: &Arc<PortFigures>) {
        let mut state = self.lock();
        state.live.retain(|one| !Arc::ptr_eq(one, figures));
        figures.add_to(state.gone.get_or_insert_with(Sums::new));
    }

    /// The sums, and how many ports there are now.
    fn sums(&self) -> (Sums, usize) {
        let state = self.lock();
        let mut sums = Sums::new();
        if let Some(gone) = &state.gone {
            sums.add(gone);
        }
        for figures in &state.live {
            figures.add_to(&mut sums);
        }
        (sums, state.live.len())
    }
}

impl Metrics {
    /// The figures of a node, which need not outlive it, nor it them.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        Self(Arc::new(Inner {
            node: node.name().to_owned(),
            backend: node.capabilities().backend.to_owned(),
            memory: node.memory(),
            rails: node.rails(),
            ports: Arc::default(),
        }))
    }

    /// A recorder for one of the node's ports. What it has counted stays in the node's figures when it is dropped.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder::of(Some(Arc::clone(&self.0.ports)))
    }

    /// The figures as they stand. Figures that are written meanwhile may differ by what comes in between.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_with(&mut |_| {})
    }

    /// The same, with what `more` shows.
    pub(crate) fn snapshot_with(&self, more: &mut dyn FnMut(&mut Visit<'_>)) -> Snapshot {
        let inner = &*self.0;
        let (sums, ports) = inner.ports.sums();
        Snapshot::collect((inner.node.clone(), inner.backend.clone()), |see| {
            let name = |rail: usize| inner.rails.get(rail).map_or_else(|| rail.to_string(), rail_name);
            sums.visit(&name, see);
            for rail in &inner.rails {
                let name = rail_name(rail);
                for folder in &rail.counters {
                    read_counters(folder, &mut |counter, value| {
                        see(&is::RAIL_COUNTERS, &[&name, counter], Value::Count(value));
                    });
                }
            }
            see(&is::NODE, &[&inner.node, env!("CARGO_PKG_VERSION")], Value::Count(1));
            let (registered, quarantined) = (inner.memory.registered(), inner.memory.quarantined());
            see(&is::PORTS, &[], Value::Count(ports as u64));
            see(&is::REGISTERED, &[], Value::Count(registered.bytes));
            see(&is::REGIONS, &[], Value::Count(registered.regions));
            see(&is::QUARANTINED, &[], Value::Count(quarantined.bytes));
            more(see);
        })
    }
}

fn rail_name(rail: &Rail) -> String {
    format!("{}/{}", rail.device, rail.port)
}

/// How long the kernel keeps what it has read, in milliseconds: it lies among the counters, and counts nothing.
const NO_COUNTER: &str = "lifespan";

/// Each file of the folder that holds one number and nothing else. A folder that is not there, or a counter that the
/// driver does not have, shows nothing.
fn read_counters(folder: &Path, see: &mut dyn FnMut(&str, u64)) {
    let Ok(files) = fs::read_dir(folder) else {
        return;
    };
    let mut names: Vec<_> = files.flatten().map(|file| file.file_name()).collect();
    names.sort();
    for name in names.into_iter().filter(|name| name != NO_COUNTER) {
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        if let (Some(name), Ok(value)) = (name.to_str(), text.trim().parse()) {
            see(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_a_rail_are_read_and_what_is_none_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("sent_pkts", "8786\n"),
            ("rcvd_pkts", "18446744073709551615"),
            ("lifespan", "12\n"),
            ("link_layer", "10 ms\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::create_dir(folder.path().join("odd")).unwrap();
        let mut seen = Vec::new();
        read_counters(folder.path(), &mut |name, value| seen.push((name.to_owned(), value)));
        assert_eq!(seen, [("rcvd_pkts".to_owned(), u64::MAX), ("sent_pkts".to_owned(), 8786)]);
        read_counters(Path::new("/no/such/folder"), &mut |name, _| panic!("{name}"));
    }

    /// Whoever reads holds the lock for as long as he likes: a port counts all the same.
    #[test]
    fn a_port_waits_for_no_reader() {
        use pegaflow_core::{
            Bounds, ChannelId, Class, Op, State, Subscriber,
            observe::{Accepted, On},
        };
        let ports = Arc::new(Ports::default());
        let mut recorder = Recorder::of(Some(Arc::clone(&ports)));
        let reading = ports.lock();
        let (done, finished) = std::sync::mpsc::channel();
        let port = std::thread::spawn(move || {
            let on = On { channel: ChannelId::from_bits(1), class: Class::Kv };
            recorder.met(on, "peer", &Bounds::of(Class::Kv));
            recorder.channel(on, State::Up { epoch: 1 });
            recorder.accepted(on, Accepted { op: Some(Op::Write), bytes: 1, blocks: 1 });
            recorder.sleeps();
            done.send(()).unwrap();
            recorder
        });
        finished.recv_timeout(std::time::Duration::from_secs(30)).expect("the port counts while somebody reads");
        drop(reading);
        let recorder = port.join().unwrap();
        assert_eq!(recorder.snapshot().sum("pegaflow_transfers_accepted_total", &[]), 1);
    }
}
