//! Processes that share with this one what a death would end.

use std::{
    ffi::{c_int, c_void},
    io,
    os::fd::BorrowedFd,
};

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
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
