//! Boards that talk to each other.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use pegaflow::config::HostPort;
use pegaflow::rendezvous::{MAX_VALUE_BYTES, Published, Rendezvous, RendezvousError, TcpBoard};

/// Longer than anything takes that is expected to happen.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Long enough to see that something does not happen.
const SHORT: Duration = Duration::from_millis(200);

/// An address that nobody listens at, outside the range from which the system takes ports for connections.
pub(crate) fn free_address() -> HostPort {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8000).unwrap();
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return format!("127.0.0.1:{port}").parse().unwrap();
        }
    }
}

/// A board at any port, and its address.
pub(crate) fn lone_board(name: &str) -> (TcpBoard, HostPort) {
    let board = TcpBoard::start(name, &"127.0.0.1:0".parse().unwrap(), BTreeMap::new()).unwrap();
    let address = HostPort::from(board.local_addr());
    (board, address)
}

/// A board that can ask `peers`.
pub(crate) fn board_with(name: &str, peers: &[(&str, &HostPort)]) -> TcpBoard {
    let peers = peers.iter().map(|(name, address)| ((*name).to_owned(), (*address).clone())).collect();
    TcpBoard::start(name, &"127.0.0.1:0".parse().unwrap(), peers).unwrap()
}

fn published(version: u64, bytes: &[u8]) -> Published {
    Published { version, bytes: bytes.to_vec() }
}

#[test]
fn what_is_published_is_fetched() {
    let (prefill, address) = lone_board("prefill");
    let decode = board_with("decode", &[("prefill", &address)]);
    prefill.publish_blocking("grant/0", b"first".to_vec()).unwrap();
    prefill.publish_blocking("empty", Vec::new()).unwrap();
    assert_eq!(decode.fetch_blocking("prefill", "grant/0", None, LONG).unwrap(), published(1, b"first"));
    assert_eq!(decode.fetch_blocking("prefill", "empty", None, LONG).unwrap(), published(1, b""));
    // However short the wait, what is there is found.
    assert_eq!(decode.fetch_blocking("prefill", "grant/0", None, Duration::ZERO).unwrap().version, 1);
    assert_eq!(decode.fetch_blocking("prefill", "grant/0", None, Duration::MAX).unwrap().version, 1);
}

#[test]
fn versions_count_from_one_for_each_key() {
    let (prefill, address) = lone_board("prefill");
    let decode = board_with("decode", &[("prefill", &address)]);
    for value in [b"a", b"b", b"c"] {
        prefill.publish_blocking("key", value.to_vec()).unwrap();
    }
    prefill.publish_blocking("other", b"x".to_vec()).unwrap();
    let fetch = |newer_than| decode.fetch_blocking("prefill", "key", newer_than, LONG).unwrap();
    assert_eq!(fetch(None), published(3, b"c"));
    assert_eq!(fetch(Some(0)), published(3, b"c"));
    assert_eq!(fetch(Some(2)), published(3, b"c"));
    assert_eq!(decode.fetch_blocking("prefill", "other", None, LONG).unwrap().version, 1);
}

#[test]
fn a_fetch_waits_for_a_newer_version() {
    let (prefill, address) = lone_board("prefill");
    let decode = board_with("decode", &[("prefill", &address)]);
    prefill.publish_blocking("key", b"old".to_vec()).unwrap();
    thread::scope(|scope| {
        let fetched = scope.spawn(|| decode.fetch_blocking("prefill", "key", Some(1), LONG));
        thread::sleep(SHORT);
        assert!(!fetched.is_finished(), "version 1 is not newer than version 1");
        prefill.publish_blocking("unrelated", Vec::new()).unwrap();
        prefill.publish_blocking("key", b"new".to_vec()).unwrap();
        assert_eq!(fetched.join().unwrap().unwrap(), published(2, b"new"));
    });
}

#[test]
fn a_fetch_waits_for_a_late_publisher() {
    let (prefill, address) = lone_board("prefill");
    let decode = board_with("decode", &[("prefill", &address)]);
    thread::scope(|scope| {
        let fetched = scope.spawn(|| decode.fetch_blocking("prefill", "late", None, LONG));
        thread::sleep(SHORT);
        prefill.publish_blocking("late", b"here".to_vec()).unwrap();
        assert_eq!(fetched.join().unwrap().unwrap(), published(1, b"here"));
    });
}

#[test]
fn a_fetch_and_a_post_wait_for_a_late_node() {
    let address = free_address();
    let decode = board_with("decode", &[("prefill", &address)]);
    thread::scope(|scope| {
        let fetched = scope.spawn(|| decode.fetch_blocking("prefill", "key", None, LONG));
        let posted = scope.spawn(|| decode.post_blocking("prefill", "for you", b"hello".to_vec(), LONG));
        thread::sleep(SHORT);
        let prefill = TcpBoard::start("prefill", &address, BTreeMap::new()).unwrap();
        prefill.publish_blocking("key", b"up".to_vec()).unwrap();
        assert_eq!(fetched.join().unwrap().unwrap(), published(1, b"up"));
        posted.join().unwrap().unwrap();
        assert_eq!(prefill.fetch_blocking("prefill", "for you", None, LONG).unwrap(), published(1, b"hello"));
    });
}

#[test]
fn two_boards_ask_each_other_at_once() {
    let (left_address, right_address) = (free_address(), free_address());
    let peers = |name: &str, address: &HostPort| BTreeMap::from([(name.to_owned(), address.clone())]);
    let left = TcpBoard::start("left", &left_address, peers("right", &right_address)).unwrap();
    let right = TcpBoard::start("right", &right_address, peers("left", &left_address)).unwrap();
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for (own, other, name) in [(&left, "right", "left"), (&right, "left", "right")] {
            let both = &both;
            scope.spawn(move || {
                both.wait();
                for round in 0..50_u64 {
                    own.publish_blocking("round", round.to_le_bytes().to_vec()).unwrap();
                    own.post_blocking(other, &format!("from {name}"), round.to_le_bytes().to_vec(), LONG).unwrap();
                    // Version `round + 1` or a later one: the other may be a round ahead.
                    let seen = own.fetch_blocking(other, "round", Some(round), LONG).unwrap();
                    assert!(seen.version > round);
                    assert_eq!(seen.bytes, (seen.version - 1).to_le_bytes());
                }
            });
        }
    });
    let last = left.fetch_blocking("left", "from right", None, LONG).unwrap();
    assert_eq!(last, published(50, &49_u64.to_le_bytes()));
}

#[test]
fn a_node_asks_itself_without_a_connection() {
    let (board, _) = lone_board("self");
    board.post_blocking("self", "key", b"mine".to_vec(), Duration::ZERO).unwrap();
    assert_eq!(board.fetch_blocking("self", "key", None, Duration::ZERO).unwrap(), published(1, b"mine"));
    let error = board.fetch_blocking("self", "none", None, Duration::ZERO).unwrap_err();
    assert!(error.to_string().contains("this node has not published it"), "{error}");
}

#[test]
fn the_largest_value_passes_and_one_byte_more_does_not() {
    let (prefill, address) = lone_board("prefill");
    let decode = board_with("decode", &[("prefill", &address)]);
    let value: Vec<u8> = (0..MAX_VALUE_BYTES).map(|index| u8::try_from(index % 251).unwrap()).collect();
    decode.post_blocking("prefill", "large", value.clone(), LONG).unwrap();
    assert!(decode.fetch_blocking("prefill", "large", None, LONG).unwrap().bytes == value);

    let longer = vec![0; MAX_VALUE_BYTES + 1];
    for error in [
        decode.post_blocking("prefill", "large", longer.clone(), LONG).unwrap_err(),
        prefill.publish_blocking("large", longer).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "bytes of a value: 16777217, expected at most 16777216");
    }
    let error = decode.fetch_blocking("prefill", &"k".repeat(257), None, LONG).unwrap_err();
    assert_eq!(error.to_string(), "bytes of a key: 257, expected at most 256");
}

#[test]
fn many_wait_for_one_key() {
    let (trainer, address) = lone_board("trainer");
    let replica = Arc::new(board_with("replica", &[("trainer", &address)]));
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let replica = Arc::clone(&replica);
            thread::spawn(move || replica.fetch_blocking("trainer", "weights", None, LONG).unwrap())
        })
        .collect();
    thread::sleep(SHORT);
    trainer.publish_blocking("weights", vec![7; 1 << 20]).unwrap();
    for thread in waiting {
        assert_eq!(thread.join().unwrap(), published(1, &vec![7; 1 << 20]));
    }
}

#[test]
fn a_node_that_is_not_up_is_named_with_the_last_cause() {
    let address = free_address();
    let decode = board_with("decode", &[("prefill", &address)]);
    let expected = format!("no `key` from node `prefill` at {address} within 200ms: Connection refused (os error 111)");
    let started = Instant::now();
    let error = decode.fetch_blocking("prefill", "key", None, SHORT).unwrap_err();
    assert!(started.elapsed() >= SHORT, "gave up early");
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, RendezvousError::NoAnswer { .. }));
    assert_eq!(decode.post_blocking("prefill", "key", Vec::new(), SHORT).unwrap_err().to_string(), expected);
}

#[test]
fn a_node_that_is_up_without_the_key_is_told_from_one_that_says_nothing() {
    let (_prefill, address) = lone_board("prefill");
    let decode = board_with("decode", &[("prefill", &address)]);
    let error = decode.fetch_blocking("prefill", "key", None, SHORT).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no `key` from node `prefill` at {address} within 200ms: the node is up and has not published it")
    );

    // A process that is stopped looks like this: the system takes the connection, nobody reads it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = HostPort::from(silent.local_addr().unwrap());
    let decode = board_with("decode", &[("prefill", &address)]);
    let error = decode.fetch_blocking("prefill", "key", None, SHORT).unwrap_err().to_string();
    assert!(error.ends_with("the node accepted the connection and did not answer"), "{error}");
}

#[test]
fn a_node_of_no_known_address_is_named() {
    let address = free_address();
    let decode = board_with("decode", &[("prefill", &address), ("trainer", &address)]);
    let error = decode.fetch_blocking("prefil", "key", None, LONG).unwrap_err();
    assert_eq!(error.to_string(), "no address is known for node `prefil`; known: prefill, trainer");
}

#[test]
fn an_address_in_use_is_named() {
    let (_first, address) = lone_board("prefill");
    let error = TcpBoard::start("prefill", &address, BTreeMap::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "node `prefill` can't listen at {address}: Address already in use (os error 98) \
             (is the node running already?)"
        )
    );
}

#[test]
fn dropping_a_board_frees_its_address() {
    let (first, address) = lone_board("prefill");
    let decode = board_with("decode", &[("prefill", &address)]);
    first.publish_blocking("key", b"1".to_vec()).unwrap();
    decode.fetch_blocking("prefill", "key", None, LONG).unwrap();
    // One fetch is waiting when the node goes, and gets the next one's value.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| decode.fetch_blocking("prefill", "next", None, LONG));
        thread::sleep(SHORT);
        drop(first);
        let second = TcpBoard::start("prefill", &address, BTreeMap::new()).unwrap();
        second.publish_blocking("next", b"2".to_vec()).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), published(1, b"2"));
    });
}

#[test]
fn the_trait_works_in_an_executor_and_its_blocking_form_too() {
    let (prefill, address) = lone_board("prefill");
    let decode: Arc<dyn Rendezvous> = Arc::new(board_with("decode", &[("prefill", &address)]));
    // A runtime with neither I/O nor timers: the board brings its own.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        decode.post("prefill", "key", b"1".to_vec(), LONG).await.unwrap();
        prefill.publish("key", b"2".to_vec()).await.unwrap();
        assert_eq!(decode.fetch("prefill", "key", Some(1), LONG).await.unwrap(), published(2, b"2"));
        assert_eq!(prefill.fetch_blocking("prefill", "key", None, LONG).unwrap(), published(2, b"2"));
        // A fetch that is dropped while it waits is over.
        let mut fetch = decode.fetch("prefill", "never", None, LONG);
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(fetch.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    });
}
