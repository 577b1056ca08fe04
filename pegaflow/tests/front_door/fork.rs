//! A board, and a session with its figures, in a child of a fork.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pegaflow::ApiMisuse;
use pegaflow::rendezvous::RendezvousError;

use super::rendezvous::{LONG, board_with, lone_board};

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(child: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn alarm(seconds: u32) -> u32;
    fn _exit(status: c_int) -> !;
}

/// The number of the first thing that `body` finds wrong in a child, 0 for none, 99 for a panic.
fn in_a_child(body: impl FnOnce() -> u8) -> c_int {
    // SAFETY: the child runs `body`, which waits for no other thread of this process, and ends here: by the alarm, if it
    // waits all the same.
    match unsafe { fork() } {
        0 => {
            // SAFETY: no handler is installed, so the signal ends the child.
            unsafe { alarm(20) };
            let found = catch_unwind(AssertUnwindSafe(body)).unwrap_or(99);
            // SAFETY: does not return.
            unsafe { _exit(found.into()) }
        }
        child => {
            let mut status = -1;
            // SAFETY: a child of this process, waited for once.
            assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
            if status & 0x7f == 0 { status >> 8 } else { -status }
        }
    }
}

fn forked<T>(given: Result<T, RendezvousError>) -> bool {
    matches!(given, Err(RendezvousError::Misuse(ApiMisuse::Forked)))
}

/// In the child it says so, and its drop waits for no thread; the parent's goes on.
#[test]
fn a_board_is_dead_in_a_child() {
    let (board, address) = lone_board("here");
    let mut held = Some(board);
    let found = in_a_child(|| {
        let Some(board) = held.take() else { return 1 };
        if !forked(board.publish_blocking("key", Vec::new())) {
            return 2;
        }
        if !forked(board.fetch_blocking("here", "key", None, LONG)) {
            return 3;
        }
        if !forked(board.post_blocking("here", "key", Vec::new(), LONG)) {
            return 4;
        }
        drop(board);
        0
    });
    assert_eq!(found, 0);
    let board = held.unwrap();
    board.publish_blocking("key", b"value".to_vec()).unwrap();
    let other = board_with("other", &[("here", &address)]);
    assert_eq!(other.fetch_blocking("here", "key", None, LONG).unwrap().bytes, b"value");
}

/// The thread that serves figures is not there, and neither is whoever may hold the lock of a recorder's home.
#[test]
fn figures_are_dead_in_a_child() {
    let mut config = super::session::config();
    config.metrics.listen = "0".parse().unwrap();
    let session = pegaflow::Session::open(&config, "a").unwrap();
    let at = session.metrics_addr().unwrap();
    let port = session.node().port(session.metrics().recorder()).unwrap();
    let mut held = Some((session, port));
    let found = in_a_child(|| {
        drop(held.take());
        0
    });
    assert_eq!(found, 0);
    std::net::TcpStream::connect(at).unwrap();
    let (session, port) = held.unwrap();
    assert_eq!(session.metrics().snapshot().sum("pegaflow_ports", &[]), 1);
    drop(port);
    assert_eq!(session.metrics().snapshot().sum("pegaflow_ports", &[]), 0);
}
