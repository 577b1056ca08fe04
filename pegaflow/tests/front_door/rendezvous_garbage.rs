//! What a board does with bytes that are none of ours.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use pegaflow::config::HostPort;

use crate::rendezvous::{LONG, board_with, lone_board};

/// A request as the wire has it, with the lengths that are given rather than those of key and value.
fn request(kind: u8, versions: (u16, u16), lengths: (u32, u32), rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"PGFr".to_vec();
    bytes.extend(versions.0.to_le_bytes());
    bytes.extend(versions.1.to_le_bytes());
    bytes.push(kind);
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(lengths.0.to_le_bytes());
    bytes.extend(lengths.1.to_le_bytes());
    bytes.extend(rest);
    bytes
}

fn connect(address: &HostPort) -> TcpStream {
    TcpStream::connect((address.host(), address.port())).unwrap()
}

/// Sends `bytes` and gives everything that comes back until the board closes.
fn talk(address: &HostPort, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.set_read_timeout(Some(LONG)).unwrap();
    // The board may have closed already; what it said is what counts.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the board did not close"),
    }
    answer
}

/// The reason in an answer that is a refusal.
fn reason(answer: &[u8]) -> &str {
    assert_eq!(answer.get(..5), Some(&b"PGFr\x02"[..]), "{answer:?}");
    std::str::from_utf8(&answer[17..]).unwrap()
}

#[test]
fn a_request_that_is_none_is_refused_with_a_reason() {
    let (board, address) = lone_board("board");
    for (bytes, why) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "no Pegaflow rendezvous request"),
        (request(9, (1, 1), (1, 0), b"k"), "no kind of request"),
        (request(0, (1, 1), (1, 1), b"kv"), "no kind of request"),
        (request(0, (7, 8), (1, 0), b"k"), "protocol versions 7 to 8"),
        (request(0, (1, 1), (2, 0), b"\xff\xff"), "a key that is not UTF-8"),
        (request(0, (1, 1), (257, 0), &[b'k'; 257]), "a key of 257 bytes"),
        (request(1, (1, 1), (1, u32::MAX), b"k"), "a value of 4294967295"),
    ] {
        let answer = talk(&address, &bytes);
        assert!(reason(&answer).contains(why), "{:?}: {}", bytes, reason(&answer));
    }
    board.publish_blocking("still", b"works".to_vec()).unwrap();
}

/// The reason arrives although the client was still sending when it was refused.
#[test]
fn a_value_too_long_is_refused_while_it_is_sent() {
    let (_board, address) = lone_board("board");
    let bytes = request(1, (1, 1), (1, 17 << 20), &vec![b'k'; 1 + (17 << 20)]);
    let answer = talk(&address, &bytes);
    assert!(reason(&answer).contains("a value of 17825792"), "{}", reason(&answer));
}

#[test]
fn more_than_one_request_is_refused() {
    let (_board, address) = lone_board("board");
    let mut waiting = request(0, (1, 1), (1, 0), b"k");
    waiting[17..21].copy_from_slice(&60_000_u32.to_le_bytes());
    let answer = talk(&address, &[waiting, b"more".to_vec()].concat());
    assert_eq!(reason(&answer), "more than one request");
}

#[test]
fn garbage_is_survived() {
    let (board, address) = lone_board("board");
    let other = board_with("other", &[("board", &address)]);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        let mut bytes: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        if random.bool() {
            let lengths = (random.u32(..300), random.u32(..400));
            bytes = request(random.u8(..3), (1, 1), lengths, &bytes);
        }
        let answer = talk(&address, &bytes);
        assert!(answer.is_empty() || answer.starts_with(b"PGFr"), "{bytes:?} {answer:?}");
    }
    board.publish_blocking("key", b"value".to_vec()).unwrap();
    assert_eq!(other.fetch_blocking("board", "key", None, LONG).unwrap().bytes, b"value");
}

/// More connections than there are places: each leaves its place when its client goes, in the middle of a wait too.
#[test]
fn clients_that_leave_leave_their_places() {
    let (board, address) = lone_board("board");
    let other = board_with("other", &[("board", &address)]);
    let mut waiting = request(0, (1, 1), (5, 0), b"never");
    waiting[17..21].copy_from_slice(&60_000_u32.to_le_bytes());
    let connections: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = connect(&address);
            stream.write_all(&waiting).unwrap();
            stream
        })
        .collect();
    drop(connections);
    board.publish_blocking("key", b"value".to_vec()).unwrap();
    assert_eq!(other.fetch_blocking("board", "key", None, LONG).unwrap().bytes, b"value");
}

/// What listens at a peer's address may be something else altogether.
#[test]
fn an_answer_that_is_none_is_named() {
    let other_program = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = HostPort::from(other_program.local_addr().unwrap());
    thread::spawn(move || {
        for stream in other_program.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let board = board_with("board", &[("web", &address)]);
    let error = board.fetch_blocking("web", "key", None, std::time::Duration::from_millis(100)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no Pegaflow rendezvous answer") || text.contains("reset"), "{text}");
}
