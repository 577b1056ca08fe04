//! Children that do not outlive who started them.

use std::{
    os::unix::process::CommandExt,
    process::{self, Command},
};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Lets the kernel kill what `command` starts once the thread that starts it has ended, however that ends: a program of
/// somebody else's does not look whether its starter is still there.
pub(crate) fn end_with_starter(command: &mut Command) {
    let starter = Pid::from_raw(process::id().cast_signed());
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended before it was asked for.
        if getppid() == starter { Ok(()) } else { Err(rustix::io::Errno::CHILD.into()) }
    };
    // SAFETY: between fork and exec it makes two system calls and nothing else: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}
