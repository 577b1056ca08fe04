//! How this backend's failures are told.

use pegaflow_core::{BackendError, Cause, backend::Parcel};

/// The backend's name.
pub(crate) const NAME: &str = "inproc";

/// The peer's memory was deregistered, and something was still to be moved there or from there.
pub(crate) const MEMORY_GONE: Cause = Cause::Transport { status: 1, vendor: 0 };
/// A message was sent and the peer has no slot free.
pub(crate) const NO_SLOT: Cause = Cause::Transport { status: 2, vendor: 0 };

pub(crate) fn error(message: impl Into<String>) -> BackendError {
    BackendError::new(NAME, message)
}

/// A parcel that names something of this process by a number.
pub(crate) fn named(number: u64) -> Parcel {
    let process = u64::from(std::process::id());
    Parcel { bytes: [process.to_le_bytes(), number.to_le_bytes()].concat(), files: Vec::new() }
}

/// The number in a parcel. It comes from the peer, who may be another process with numbers of its own.
pub(crate) fn number_in(parcel: &Parcel) -> Result<u64, BackendError> {
    let (words, []) = parcel.bytes.as_chunks::<8>() else { return Err(error("a parcel that holds no whole words")) };
    let &[process, number] = words else { return Err(error("a parcel that holds no process and no number")) };
    match (u64::from_le_bytes(process), u64::from(std::process::id())) {
        (theirs, ours) if theirs == ours => Ok(u64::from_le_bytes(number)),
        (theirs, ours) => Err(error(format!("the peer is process {theirs}: only nodes of process {ours} are reached"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_from_its_parcel() {
        assert_eq!(number_in(&named(7)).unwrap(), 7);
    }

    #[test]
    fn what_no_peer_of_this_process_made_is_refused() {
        let of = |bytes: &[u8]| Parcel { bytes: bytes.to_vec(), files: Vec::new() };
        for bytes in [&[][..], &[1; 8], &[1; 15], &[1; 24]] {
            assert!(number_in(&of(bytes)).is_err(), "{bytes:?}");
        }
        let said = number_in(&of(&[1; 16])).unwrap_err().message;
        assert!(said.contains("only nodes of process"), "{said}");
    }
}
