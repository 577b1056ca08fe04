//! How a host looks to QEMU.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::output::Stream;
use super::{Plan, kernel::Kernel};
use crate::error::{At, Error};

/// The files through which a host and this side speak; one folder for all hosts of a run.
#[derive(Debug)]
pub(super) struct Control(pub(super) PathBuf);

impl Control {
    /// What the host prints while it boots.
    pub(super) fn console(&self, host: u8) -> PathBuf {
        self.0.join(format!("console-{host}"))
    }

    /// What QEMU itself has to say.
    pub(super) fn qemu(&self, host: u8) -> PathBuf {
        self.0.join(format!("qemu-{host}"))
    }

    /// Run by the host.
    pub(super) fn script(&self, host: u8) -> PathBuf {
        self.0.join(format!("host-{host}.sh"))
    }

    /// Written by the host before it starts the command.
    pub(super) fn up(&self, host: u8) -> PathBuf {
        self.0.join(format!("up-{host}"))
    }

    /// Written by the host: the command's output. A file of a share, because a write to it returns when the bytes are
    /// on this side; what a serial port still holds when its host is switched off is lost.
    pub(super) fn output(&self, host: u8, stream: Stream) -> PathBuf {
        self.0.join(format!("{}-{host}", stream.name()))
    }

    /// Written by the host when the command has ended: its exit status.
    pub(super) fn status(&self, host: u8) -> PathBuf {
        self.0.join(format!("status-{host}"))
    }

    /// The socket that is the cable of a rail; host 0 listens.
    pub(super) fn cable(&self, rail: u8) -> PathBuf {
        self.0.join(format!("cable-{rail}"))
    }
}

/// QEMU as host number `host`.
pub(super) fn command(plan: &Plan, kernel: &Kernel, control: &Control, host: u8) -> Result<Command, Error> {
    // Whatever ends this process, a signal too, ends its hosts: the kernel does it, with no handler that could miss it.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]).args(arguments(plan, kernel, control, host));
    let path = control.qemu(host);
    let (said, too) = File::create(&path).and_then(|file| Ok((file.try_clone()?, file))).at(&path)?;
    command.stdin(Stdio::null()).stdout(said).stderr(too);
    Ok(command)
}

fn arguments(plan: &Plan, kernel: &Kernel, control: &Control, host: u8) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(OsString::from));
    // Plain emulation: /dev/kvm is often not there, and without it all machines behave alike.
    add(&["-accel", "tcg,thread=multi", "-cpu", "max"]);
    add(&["-smp", &plan.cpus.to_string(), "-m", &plan.mem_mb.to_string()]);
    add(&["-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults"]);
    // The clock is the ACPI timer, whose rate is fixed: 1.3 us a look, 0.6 with the TSC. But the kernel measures the
    // TSC's rate while it boots, and on a busy machine mismeasures it: clocks were seen to run 4.5 times too fast.
    let kernel_options = "console=ttyS0 panic=-1 quiet mitigations=off clocksource=acpi_pm";
    add(&["-append", &format!("{kernel_options} pegaflow_host={host}")]);
    all.extend(["-kernel".into(), kernel.image().into_os_string(), "-initrd".into(), kernel.initrd().into_os_string()]);
    all.extend(["-serial".into(), with_path("file:", &control.console(host), "")]);
    // `remap`: the machine's file system is many, and their inode numbers must stay apart.
    let options = ",security_model=none,multidevs=remap";
    let shares = [
        ("machine", Path::new("/"), ",readonly=on"),
        ("control", control.0.as_path(), ""),
        ("out", plan.out.as_path(), ""),
    ];
    for (tag, path, more) in shares {
        all.extend(["-virtfs".into(), with_path("local,path=", path, &format!(",mount_tag={tag}{options}{more}"))]);
    }
    for rail in 0..if plan.hosts == 2 { plan.rails } else { 0 } {
        let server = if host == 0 { "on" } else { "off" };
        let netdev = format!("stream,id=rail{rail},server={server},addr.type=unix,addr.path=");
        all.extend(["-netdev".into(), with_path(&netdev, &control.cable(rail), "")]);
        let device = format!("virtio-net-pci,netdev=rail{rail},mac=52:54:00:09:{rail:02x}:{host:02x}");
        all.extend(["-device".into(), device.into()]);
    }
    all
}

/// `before`, `path`, `after` as one word. QEMU reads a comma as the end of a value, and two as one comma.
fn with_path(before: &str, path: &Path, after: &str) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut word = before.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        word.extend(if *byte == b',' { b",,".as_slice() } else { std::slice::from_ref(byte) });
    }
    word.extend(after.as_bytes());
    OsString::from_vec(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(hosts: u8, rails: u8, host: u8) -> String {
        let plan = Plan { hosts, rails, out: PathBuf::from("/out,1"), ..Plan::default() };
        let all = arguments(&plan, &Kernel::in_folder("/kernel"), &Control(PathBuf::from("/control")), host);
        all.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn comma_in_a_path_stays_part_of_it() {
        assert!(words(1, 1, 0).contains("local,path=/out,,1,mount_tag=out,"), "{}", words(1, 1, 0));
    }

    #[test]
    fn each_rail_of_a_pair_is_a_cable() {
        assert!(!words(1, 2, 0).contains("-netdev"));
        for (host, server) in [(0, "on"), (1, "off")] {
            let words = words(2, 2, host);
            for rail in 0..2 {
                let netdev = format!("server={server},addr.type=unix,addr.path=/control/cable-{rail}");
                assert!(words.contains(&netdev), "{words}");
                assert!(words.contains(&format!("mac=52:54:00:09:0{rail}:0{host}")), "{words}");
            }
        }
    }

    #[test]
    fn machine_can_only_be_read() {
        assert!(words(1, 1, 0).contains("path=/,mount_tag=machine,security_model=none,multidevs=remap,readonly=on"));
    }
}
