use std::ffi::c_int;

use super::super::Origin;

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(child: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

/// Whether `body` says so in a child.
fn in_a_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `body`, which waits for nobody and allocates nothing, and ends here.
    match unsafe { fork() } {
        0 => {
            let status = c_int::from(!body());
            // SAFETY: does not return.
            unsafe { _exit(status) }
        }
        child => {
            let mut status = -1;
            // SAFETY: a child of this process, waited for once.
            assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
            status == 0
        }
    }
}

/// Each process has a number of its own, whoever of its ancestors had asked.
#[test]
fn an_origin_is_of_one_process() {
    let parents = Origin::here();
    assert!(parents.is_here());
    assert!(in_a_child(|| {
        let dead = !parents.is_here();
        let own = Origin::here();
        let grandchild = || !parents.is_here() && !own.is_here() && Origin::here().is_here();
        dead && own.is_here() && !parents.is_here() && in_a_child(grandchild) && own.is_here()
    }));
    // One that has not asked itself, between two that have.
    assert!(in_a_child(|| in_a_child(|| !parents.is_here() && Origin::here().is_here())));
    assert!(parents.is_here() && Origin::here().is_here());
}
