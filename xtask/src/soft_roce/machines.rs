//! The hosts of one run, from their start to their end; every wait has a bound.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use super::output::{Line, Output, Stream};
use super::qemu::{self, Control};
use super::{CABLE_HUNG, HOST_DID_NOT_COME_UP, PAST_THE_TIMEOUT, Plan, script};
use crate::error::{At, Error};

/// From the start to the command. It takes some 5 s on an idle machine; the slack is for a busy one.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// From the command's end to the power switch.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(30);
/// From QEMU's start to its listening on the cables.
const CABLE_LIMIT: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);
/// How much of a log is shown where a host failed.
const LAST_LINES: usize = 15;

/// Boots the hosts, gives `print` each line of their commands' output, and tells each command's exit status.
pub(super) fn run(
    plan: &Plan,
    kernel: &Kernel,
    print: &mut dyn FnMut(&Line) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    // Under /tmp whatever TMPDIR says: the path of a socket has 108 bytes.
    let base = Path::new("/tmp");
    sweep(base);
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base).at(base)?;
    let control = Control(folder.path().to_owned());
    let _held = hold(folder.path())?;
    let mut running = Running { machines: Vec::new() };
    for host in 0..plan.hosts {
        let path = control.script(host);
        fs::write(&path, script::script(plan, host)).at(&path)?;
        running.start(qemu::command(plan, kernel, &control, host)?)?;
        if plan.hosts == 2 && host == 0 {
            running.wait_for_cables(plan, &control)?;
        }
    }
    let each = (0..plan.hosts).flat_map(|host| Stream::ALL.map(|stream| (host, stream)));
    let mut outputs: Vec<Output> =
        each.map(|(host, stream)| Output::new(host, stream, control.output(host, stream))).collect();
    let end = watch(plan, &control, &mut running, &mut outputs, print)?;
    running.end();
    for output in &mut outputs {
        output.finish(print)?;
    }
    Ok((0..plan.hosts).map(|host| verdict(&control, host, end, plan)).collect())
}

const PREFIX: &str = "pegaflow-soft-roce-";

/// Says that a run's folder is in use, until its process ends.
fn hold(folder: &Path) -> Result<File, Error> {
    // Locked before it has its name: else somebody could sweep in between.
    let (unnamed, path) = (folder.join("in-use.new"), folder.join("in-use"));
    let file = File::create(&unnamed).at(&unnamed)?;
    file.lock().and_then(|()| fs::rename(&unnamed, &path)).at(&path)?;
    Ok(file)
}

/// Removes what runs left behind that were ended by a signal; their output may be large. One that does not say yet that
/// it is in use is let be, and so is what can't be removed.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().filter_map(Result::ok) {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let left = || File::open(entry.path().join("in-use")).is_ok_and(|file| file.try_lock().is_ok());
        if ours && left() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Why there is nothing more to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All hosts are off.
    Off,
    PastTheTimeout,
    /// The emulated cable of this host takes no packet any more: the emulator's, and nobody's who runs in it.
    CableHung(u8),
    /// A host did not come up, or went before its command had ended; without it the other has nothing to do.
    Lost,
}

fn watch(
    plan: &Plan,
    control: &Control,
    running: &mut Running,
    outputs: &mut [Output],
    print: &mut dyn FnMut(&Line) -> Result<(), Error>,
) -> Result<End, Error> {
    let start = Instant::now();
    let mut all_ended: Option<Instant> = None;
    loop {
        let off = running.off()?;
        let ended = |host: u8| status(control, host).is_some();
        let mut hosts = 0..plan.hosts;
        if off.iter().all(|off| *off) {
            return Ok(End::Off);
        } else if hosts.clone().all(ended) {
            if all_ended.get_or_insert_with(Instant::now).elapsed() > POWER_OFF_LIMIT {
                return Ok(End::Off);
            }
        } else if start.elapsed() > plan.timeout {
            return Ok(End::PastTheTimeout);
        }
        let gone = hosts.clone().zip(&off).any(|(host, off)| *off && !ended(host));
        if gone || (start.elapsed() > BOOT_LIMIT && !hosts.all(|host| control.up(host).exists())) {
            return Ok(End::Lost);
        }
        if let Some(host) = (0..plan.hosts).find(|host| cable_hung(control, *host)) {
            return Ok(End::CableHung(host));
        }
        let mut news = false;
        for output in outputs.iter_mut() {
            news |= output.follow(print)?;
        }
        if !news {
            thread::sleep(TICK);
        }
    }
}

/// What the host wrote; a file that is there and empty is being written.
fn status(control: &Control, host: u8) -> Option<u8> {
    fs::read_to_string(control.status(host)).ok()?.trim().parse().ok()
}

/// The status of a host's command, or of what became of it, with its reason on stderr.
fn verdict(control: &Control, host: u8, end: End, plan: &Plan) -> u8 {
    if let Some(status) = status(control, host) {
        return status;
    }
    if let End::CableHung(hung) = end {
        if hung == host {
            eprintln!("soft-roce: host {host}: the emulated cable hung");
            last_lines(&control.console(host)).iter().for_each(|line| eprintln!("  its console: {line}"));
        }
        return CABLE_HUNG;
    }
    if end == End::PastTheTimeout {
        eprintln!("soft-roce: host {host} was ended after {} s (--timeout)", plan.timeout.as_secs());
        return PAST_THE_TIMEOUT;
    }
    let what = if control.up(host).exists() { "went before its command had ended" } else { "did not come up" };
    eprintln!("soft-roce: host {host} {what}");
    for (who, path) in [("QEMU", control.qemu(host)), ("its console", control.console(host))] {
        for line in last_lines(&path) {
            eprintln!("  {who}: {line}");
        }
    }
    HOST_DID_NOT_COME_UP
}

/// Whether the kernel has said again and again that a network device of a host sends nothing. Once may be a busy machine.
fn cable_hung(control: &Control, host: u8) -> bool {
    const TOO_OFTEN: usize = 3;
    let console = fs::read(control.console(host)).unwrap_or_default();
    String::from_utf8_lossy(&console).matches("NETDEV WATCHDOG").count() >= TOO_OFTEN
}

/// The end of a file that may not be there.
fn last_lines(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

/// QEMU's processes. They end with this, whatever way it goes.
struct Running {
    machines: Vec<Machine>,
}

struct Machine {
    child: Child,
    off: bool,
}

impl Running {
    fn start(&mut self, mut command: Command) -> Result<(), Error> {
        let child = command.spawn().map_err(start_error)?;
        self.machines.push(Machine { child, off: false });
        Ok(())
    }

    /// Host 1 dials its cables once, when it starts. Where host 0 does not come to listen, it is seen to be lost.
    fn wait_for_cables(&mut self, plan: &Plan, control: &Control) -> Result<(), Error> {
        let start = Instant::now();
        let all_listen = || (0..plan.rails).all(|rail| control.cable(rail).exists());
        while !all_listen() && start.elapsed() < CABLE_LIMIT && !self.off()?.contains(&true) {
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Which of them have ended.
    fn off(&mut self) -> Result<Vec<bool>, Error> {
        for machine in self.machines.iter_mut().filter(|machine| !machine.off) {
            machine.off = machine.child.try_wait().map_err(start_error)?.is_some();
        }
        Ok(self.machines.iter().map(|machine| machine.off).collect())
    }

    fn end(&mut self) {
        for machine in self.machines.iter_mut().filter(|machine| !machine.off) {
            // Either can only fail where it has ended already.
            drop(machine.child.kill());
            drop(machine.child.wait());
            machine.off = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn start_error(source: std::io::Error) -> Error {
    Error::Start { command: "setpriv --pdeathsig KILL qemu-system-x86_64".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let [used, left, new, other] = ["used", "left", "new", "other"].map(|name| {
            let prefix = if name == "other" { "" } else { PREFIX };
            let folder = base.path().join(format!("{prefix}{name}"));
            fs::create_dir(&folder).unwrap();
            folder
        });
        let _held = hold(&used).unwrap();
        drop(hold(&left).unwrap());
        drop(hold(&other).unwrap());
        sweep(base.path());
        assert!(used.exists() && new.exists() && other.exists());
        assert!(!left.exists());
    }
}
