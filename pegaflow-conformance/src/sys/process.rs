//! Processes that share with this one what a death would end.

use std::{
    ffi::{c_int, c_void},
    io::{self, Read, Write},
    os::fd::BorrowedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
    mm::{MapFlags, ProtFlags},
    process::{Pid, Signal, WaitOptions},
};

/// `linux/sched.h`, and the signal that a parent gets.
const CLONE_VM: c_int = 0x100;
const CLONE_FILES: c_int = 0x400;
const SIGCHLD: c_int = 17;

const STACK_BYTES: usize = 64 << 10;

unsafe extern "C" {
    fn clone(
        run: extern "C" fn(*mut c_void) -> c_int,
        stack: *mut c_void,
        flags: c_int,
        with: *mut c_void,
        ...
    ) -> c_int;
}

/// Starts a process that has this one's memory and descriptors in common with it, not copies: neither goes away before
/// both are gone. It does nothing, and ends when standard input does. Gives its process id.
pub(crate) fn start_shadow() -> io::Result<u32> {
    // Never freed: it is in use beyond this process.
    let stack = Box::leak(vec![0_u128; STACK_BYTES / size_of::<u128>()].into_boxed_slice());
    let top = stack.as_mut_ptr_range().end.cast();
    // SAFETY: `wait_for_the_input` runs on a stack of its own, aligned to 16 bytes; it touches nothing else of this
    // process's, and the system's library calls `_exit` behind it, which runs none of this process's code.
    let id = unsafe { clone(wait_for_the_input, top, CLONE_VM | CLONE_FILES | SIGCHLD, std::ptr::null_mut()) };
    u32::try_from(id).map_err(|_| io::Error::last_os_error())
}

/// Waits for the end of standard input, by raw system calls alone.
extern "C" fn wait_for_the_input(_: *mut c_void) -> c_int {
    // SAFETY: open as long as this process, or the wait ends at once.
    let input = unsafe { BorrowedFd::borrow_raw(0) };
    // Nothing is asked for: the end is always told.
    while rustix::event::poll(&mut [PollFd::from_borrowed_fd(input, PollFlags::empty())], None) == Err(Errno::INTR) {}
    0
}

/// A child of a fork, as it sees itself: what does not hold there it says, and ends.
pub(crate) struct Child {
    said: std::io::PipeWriter,
}

impl Child {
    pub(crate) fn holds(&mut self, what: &str, holds: bool) {
        if !holds {
            self.end(what);
        }
    }

    fn end(&mut self, wrong: &str) -> ! {
        let _ = self.said.write_all(wrong.as_bytes());
        exit_now(wrong.is_empty());
    }
}

/// Ends the process, and runs nothing of it on the way: no destructor, no handler.
fn exit_now(well: bool) -> ! {
    unsafe extern "C" {
        fn _exit(status: c_int) -> !;
    }
    // SAFETY: does not return.
    unsafe { _exit(c_int::from(!well)) }
}

/// Forks; gives the child's process id to the parent, and `None` to the child. The child has this one thread alone: a lock
/// that another held is held there for ever.
fn fork() -> io::Result<Option<Pid>> {
    unsafe extern "C" {
        fn fork() -> c_int;
    }
    // SAFETY: both callers end the child before it returns to code that does not know of it.
    match unsafe { fork() } {
        -1 => Err(io::Error::last_os_error()),
        id => Ok(Pid::from_raw(id)),
    }
}

/// Does `body` in a child of a fork, which then ends; what did not hold there is the error.
pub(crate) fn in_a_child(patience: Duration, body: impl FnOnce(&mut Child)) -> Result<(), String> {
    let (mut heard, said) = io::pipe().map_err(|error| error.to_string())?;
    let Some(id) = fork().map_err(|error| error.to_string())? else {
        let mut child = Child { said };
        let panicked = catch_unwind(AssertUnwindSafe(|| body(&mut child)));
        child.end(&panicked.err().map_or_else(String::new, |panic| crate::agent::text_of(&*panic)));
    };
    drop(said);
    let begin = Instant::now();
    let status = loop {
        match rustix::process::waitpid(Some(id), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => break status,
            Ok(None) | Err(Errno::INTR) => std::thread::sleep(Duration::from_millis(1)),
            Err(errno) => return Err(format!("waitpid: {errno}")),
        }
        if begin.elapsed() > patience {
            let _ = rustix::process::kill_process(id, Signal::KILL);
            let _ = rustix::process::waitpid(Some(id), WaitOptions::empty());
            return Err(format!("the child has not ended in {patience:?}"));
        }
    };
    let mut wrong = String::new();
    let _ = heard.read_to_string(&mut wrong);
    match status.exit_status() {
        Some(0) => Ok(()),
        Some(_) => Err(format!("in the child: {wrong}")),
        None => Err(format!("the child ended by signal {:?}", status.terminating_signal())),
    }
}

/// Maps a page of its own at an address where nothing is, and writes 7 there; `None` where something is.
pub(crate) fn take_place(address: usize) -> Option<&'static AtomicU8> {
    let at = std::ptr::with_exposed_provenance_mut::<c_void>(address);
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: nothing is replaced, by the flag.
    let page = unsafe { rustix::mm::mmap_anonymous(at, rustix::param::page_size(), access, flags) }.ok()?;
    // SAFETY: mapped just now, and never given back.
    let byte = unsafe { &*page.cast::<AtomicU8>() };
    byte.store(7, Ordering::Relaxed);
    (page == at).then_some(byte)
}

/// Forks a child that does nothing, and ends when standard input does. Gives its process id.
pub(crate) fn start_child() -> io::Result<u32> {
    let Some(id) = fork()? else {
        wait_for_the_input(std::ptr::null_mut());
        exit_now(true);
    };
    Ok(id.as_raw_nonzero().get().cast_unsigned())
}
