//! The stand-in through its C entry points.
#![expect(clippy::cast_possible_truncation, reason = "the numbers here are small, or low bytes are wanted")]

mod events;
mod failures;
mod lies;
mod queues;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod rig;
mod schedules;
mod set_up;
mod threads;
mod transfers;
