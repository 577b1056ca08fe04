//! The cable between two hosts, and what befalls it. Needs root on both, and another way to the agents' server.

use std::{process::Command as Process, sync::mpsc::channel};

use serde::{Deserialize, Serialize};

use crate::{far::Line, pair::Context};

/// Set on both hosts where a cable may be harmed: its interface, which has the same name on both.
pub(crate) const CABLE: &str = "PEGAFLOW_CABLE";

/// What is wrong with one end of the cable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// What the interface sends meets this; in the words of netem (man tc-netem).
    Netem(String),
    /// The interface is down.
    Down,
}

impl Fault {
    /// Nothing that is sent arrives, and nobody is told.
    pub(crate) fn cut() -> Self {
        Self::Netem("loss 100%".to_owned())
    }

    /// The commands that bring it about, whatever was wrong before.
    fn commands(&self, interface: &str) -> Vec<String> {
        let up = format!("ip link set {interface} up");
        match self {
            Self::None => vec![up, format!("tc qdisc replace dev {interface} root pfifo")],
            Self::Netem(what) => vec![up, format!("tc qdisc replace dev {interface} root netem {what}")],
            Self::Down => vec![format!("ip link set {interface} down")],
        }
    }
}

/// Brings a fault about at this host's end.
pub(crate) fn befall(fault: &Fault) -> Result<(), String> {
    let interface = std::env::var(CABLE).map_err(|_| format!("{CABLE} is not set on this host"))?;
    for command in fault.commands(&interface) {
        let mut words = command.split(' ');
        let output = Process::new(words.next().unwrap_or_default()).args(words).output();
        let output = output.map_err(|error| format!("{command}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    Ok(())
}

/// Both ends of the cable; as good as new again once dropped.
pub(crate) struct Cable {
    far: Line,
}

impl Cable {
    pub(crate) fn new(context: &Context) -> Self {
        // No agent is started on this line, so none answers.
        Self { far: Line::open(channel().0, context.backend.patience) }
    }

    /// A cable with something wrong at both ends from the start.
    pub(crate) fn with(context: &Context, fault: &Fault) -> Self {
        let mut cable = Self::new(context);
        cable.both(fault);
        cable
    }

    #[track_caller]
    pub(crate) fn both(&mut self, fault: &Fault) {
        self.far.cable(fault).expect("the other end of the cable");
        self.here(fault);
    }

    /// At this end alone.
    #[track_caller]
    pub(crate) fn here(&mut self, fault: &Fault) {
        befall(fault).expect("this end of the cable");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let healed = [self.far.cable(&Fault::None), befall(&Fault::None)];
        // In a failing case it is not the cause of the failure; in any other the next case fails for it.
        for why in healed.into_iter().filter_map(Result::err) {
            eprintln!("the cable was not healed: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_brought_about_whatever_was_before() {
        assert_eq!(Fault::None.commands("rail0"), ["ip link set rail0 up", "tc qdisc replace dev rail0 root pfifo"]);
        let cut = ["ip link set rail0 up", "tc qdisc replace dev rail0 root netem loss 100%"];
        assert_eq!(Fault::cut().commands("rail0"), cut);
        assert_eq!(Fault::Down.commands("rail0"), ["ip link set rail0 down"]);
    }
}
