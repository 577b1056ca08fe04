//! Garbage, end to end: a peer that says anything, by its socket or in shared memory, breaks its own channel and nothing
//! else, and whoever is there goes on being served.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod crowd;
mod hand_shake;
#[path = "../numbered/mod.rs"]
mod numbered;
mod raw;
mod ring;
mod served;
mod tap;

use std::time::{Duration, Instant};

/// Long past it, something is lost.
const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Random numbers that `PEGAFLOW_SEED` repeats.
fn random() -> fastrand::Rng {
    let seed = std::env::var("PEGAFLOW_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("repeat with PEGAFLOW_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
