//! A thousand at once.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    random,
    raw::{Hello, Raw},
    served::{Served, Way},
};

/// Both ends are in this process, and who says a good Hello costs the node some descriptors more.
fn room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(now.saturating_sub(500) / 8).unwrap_or(usize::MAX).min(1000)
}

/// Half of them say nothing, others anything, and a hundred would be peers: a port has room for more. All stay.
#[test]
fn a_thousand_at_once() {
    let (count, mut random) = (room(), random());
    println!("{count} connections");
    for served in [Way::Unix, Way::Tcp].into_iter().filter_map(Served::start) {
        let hello = Hello::overheard(&served);
        let crowd: Vec<_> = (0..count)
            .map(|number| {
                let raw = Raw::connect(&served);
                match number % 10 {
                    0..=4 => {}
                    5..=8 => raw.say(&(0..random.usize(1..100)).map(|_| random.u8(..)).collect::<Vec<_>>(), &[]),
                    _ => raw.say(&hello.bytes, &hello.files()),
                }
                raw
            })
            .collect();
        served.still_serves();
        drop(crowd);
        served.still_serves();
    }
}

/// Sets a flag when it goes.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whoever connects and goes, again and again, as fast as he can: others get their turn.
#[test]
fn a_storm_of_connections() {
    for served in [Way::Unix, Way::Tcp].into_iter().filter_map(Served::start) {
        let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        if Raw::try_connect(&served).is_some() {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            // Also where it does not: the threads end before the panic goes on.
            let _stop = Stop(&stop);
            for _ in 0..10 {
                served.still_serves();
            }
        });
        println!("{:?}: {count:?} connections", served.way);
    }
}
