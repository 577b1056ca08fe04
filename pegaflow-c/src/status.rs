//! How a call ends: a status, and a text per thread.

use std::{
    cell::RefCell,
    ffi::CString,
    panic::{AssertUnwindSafe, catch_unwind},
};

use pegaflow::{ApiMisuse, ConnectError, Error, MemoryError, Short, rendezvous::RendezvousError};

/// How a call ended: 0 and above as it should, below 0 as a failure whose text `pf_last_error` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum pf_status {
    /// Done.
    PF_OK = 0,
    /// Nothing was taken: as many transfers are in flight as the channel holds. Poll, and submit again.
    PF_FULL_TRANSFERS = 1,
    /// Nothing was taken: the transfers in flight hold as many block ids as the channel has room for.
    PF_FULL_BLOCKS = 2,
    /// Nothing was taken: the peer has no room for a message until it releases one.
    PF_FULL_MESSAGES = 3,
    /// All counters of the channel are taken.
    PF_FULL_COUNTERS = 4,
    /// `pf_port_arm`: there is something already. Poll, and don't sleep.
    PF_READY = 5,
    /// The caller's buffer is too short; the length that is needed is told, and nothing was copied.
    PF_SHORT_BUFFER = 6,
    /// Nothing was taken: the peer has taken the plan's grant back.
    PF_REVOKED = 7,
    /// Nothing was asked: as many revokes are under way on the channel as it holds. Poll, and ask again.
    PF_FULL_REVOKES = 8,
    /// A NULL or misaligned pointer, a text that is not UTF-8, a number that names nothing, a struct of another version.
    PF_BAD_ARGUMENT = -1,
    /// The program broke a rule that it could have known; nothing was done.
    PF_MISUSE = -2,
    /// Memory could not be had, registered, granted or reached.
    PF_MEMORY = -3,
    /// A node, listener, channel or import did not come about.
    PF_CONNECT = -4,
    /// The config.
    PF_CONFIG = -5,
    /// The backend is not in this build, or can't work here.
    PF_BACKEND = -6,
    /// The exchange of small values before the first transfer.
    PF_RENDEZVOUS = -7,
    /// A defect of the library. A port in which it happened takes nothing but `pf_port_free` any more.
    PF_PANIC = -100,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: pf_status,
    text: String,
}

impl Failure {
    pub(crate) fn new(status: pf_status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self::new(pf_status::PF_BAD_ARGUMENT, text)
    }
}

impl From<ApiMisuse> for Failure {
    fn from(error: ApiMisuse) -> Self {
        Self::new(pf_status::PF_MISUSE, error.to_string())
    }
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Misuse(error) => error.into(),
            error => Self::new(pf_status::PF_MEMORY, error.to_string()),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Misuse(error) => error.into(),
            error => Self::new(pf_status::PF_CONNECT, error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Config(_) | Error::NoSuchChannel { .. } => pf_status::PF_CONFIG,
            Error::NotInThisBuild { .. } | Error::Unavailable(_) => pf_status::PF_BACKEND,
            Error::Connect(ConnectError::Misuse(_)) | Error::Rendezvous(RendezvousError::Misuse(_)) => {
                pf_status::PF_MISUSE
            }
            Error::Rendezvous(_) => pf_status::PF_RENDEZVOUS,
            _ => pf_status::PF_CONNECT,
        };
        Self::new(status, error.to_string())
    }
}

/// The bound that was reached, as a status.
pub(crate) fn full(short: Short) -> pf_status {
    match short {
        Short::Transfers => pf_status::PF_FULL_TRANSFERS,
        Short::Blocks => pf_status::PF_FULL_BLOCKS,
        Short::Messages => pf_status::PF_FULL_MESSAGES,
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Does `call`: nothing unwinds out of here, and a failure leaves its text to this thread.
pub(crate) fn guard(call: impl FnOnce() -> Result<pf_status, Failure>) -> pf_status {
    let failure = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(status)) => return status,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind");
            Failure::new(pf_status::PF_PANIC, format!("a panic inside the library: {said}"))
        }
    };
    let Failure { status, text } = failure;
    let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
    // A thread that is ending has no text any more; the status still says what happened.
    let _ = LAST.try_with(|last| last.replace(text));
    status
}

/// As [`guard`], for a call that gives a count: a failure is its negative status.
pub(crate) fn count(call: impl FnOnce() -> Result<i32, Failure>) -> i32 {
    let mut given = 0;
    let status = guard(|| {
        given = call()?;
        Ok(pf_status::PF_OK)
    });
    if status == pf_status::PF_OK { given } else { status as i32 }
}

/// Shows this thread's text to `show`; empty where nothing has failed.
pub(crate) fn last<T>(show: impl FnOnce(&CString) -> T) -> Option<T> {
    LAST.try_with(|last| last.try_borrow().ok().map(|text| show(&text))).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_at_the_boundary_and_leaves_its_text() {
        assert_eq!(guard(|| panic!("seven {}", 7)), pf_status::PF_PANIC);
        assert_eq!(last(|text| text.to_string_lossy().into_owned()).unwrap(), "a panic inside the library: seven 7");
        assert_eq!(count(|| panic!("again")), pf_status::PF_PANIC as i32);
    }

    /// Whichever call finds it.
    #[test]
    fn a_mistake_of_the_program_has_one_status() {
        let forked = || ApiMisuse::Forked;
        let connect = || ConnectError::from(forked());
        let front = [Error::from(connect()), Error::from(RendezvousError::from(forked()))].map(Failure::from);
        let core = [Failure::from(forked()), MemoryError::from(forked()).into(), connect().into()];
        for failure in front.into_iter().chain(core) {
            assert_eq!((failure.status, failure.text), (pf_status::PF_MISUSE, forked().to_string()));
        }
    }

    #[test]
    fn a_text_with_a_nul_is_kept() {
        assert_eq!(guard(|| Err(Failure::argument("a\0b"))), pf_status::PF_BAD_ARGUMENT);
        assert_eq!(last(|text| text.to_string_lossy().into_owned()).unwrap(), "a\u{fffd}b");
    }
}
