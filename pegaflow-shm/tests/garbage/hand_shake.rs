//! Whoever connects may say anything: his connection ends, or his channel, and nobody else's.

use std::{os::fd::OwnedFd, time::Duration};

use rustix::{
    event::EventfdFlags,
    fs::{MemfdFlags, SealFlags},
};

use crate::{
    random,
    raw::{HEADER, Hello, REFUSE, Raw, WELCOME, frame},
    served::{Served, Way},
};

/// Reasons of a refusal, as they travel.
const VERSION: u8 = 0;
const BACKEND: u8 = 1;
const FAILED: u8 = 3;
const NOT_ME: u8 = 4;

/// Runs over a node of each kind; afterwards it must serve as before.
fn each(run: impl Fn(&Served)) {
    for served in [Way::Unix, Way::Tcp].into_iter().filter_map(Served::start) {
        println!("{:?}", served.way);
        run(&served);
        served.still_serves();
    }
}

#[test]
fn silence_and_noise() {
    let random = random();
    each(|served| {
        let mut random = random.clone();
        let _mute: Vec<_> = (0..20).map(|_| Raw::connect(served)).collect();
        for _ in 0..200 {
            let mut bytes: Vec<u8> = (0..random.usize(1..300)).map(|_| random.u8(..)).collect();
            if random.bool() {
                // A header that may be true.
                let length = u32::try_from(bytes.len()).unwrap();
                bytes.splice(..0, [&length.to_le_bytes()[..], &[random.u8(..10), 0]].concat());
            }
            let raw = Raw::connect(served);
            raw.say(&bytes, &[]);
            raw.says_no_more();
            raw.is_closed_on();
        }
    });
}

#[test]
fn a_hello_cut_at_every_length() {
    each(|served| {
        let hello = Hello::overheard(served);
        for length in 0..hello.bytes.len() {
            let raw = Raw::connect(served);
            raw.say(&hello.bytes[..length], &hello.files());
            raw.says_no_more();
            assert!(raw.hears().is_none(), "an answer to {length} bytes");
        }
        let raw = Raw::connect(served);
        raw.say(&hello.bytes, &hello.files());
        assert_eq!(raw.hears().unwrap().kind, WELCOME, "the whole is taken");
    });
}

/// In every place there could be one.
#[test]
fn lengths_that_lie() {
    each(|served| {
        let hello = Hello::overheard(served);
        for at in (0..hello.bytes.len() - 4).filter(|at| !(1..HEADER).contains(at)) {
            for lie in [u32::MAX, i32::MAX.unsigned_abs(), 0] {
                let mut bytes = hello.bytes.clone();
                bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
                let raw = Raw::connect(served);
                raw.say(&bytes, &hello.files());
                raw.says_no_more();
                raw.is_closed_on();
            }
        }
    });
}

#[test]
fn hellos_for_somebody_else_are_refused_with_the_reason() {
    each(|served| {
        let hello = Hello::overheard(served);
        let [backend, to, incarnation, _] = hello.parts();
        let changed = |at: usize, byte: u8| {
            let mut bytes = hello.bytes.clone();
            bytes[at] = byte;
            bytes
        };
        for (bytes, why) in [
            (changed(HEADER, 7), VERSION),
            (changed(HEADER + 2, 0), VERSION),
            (changed(backend + 4, b'X'), BACKEND),
            (changed(to + 4, b'X'), NOT_ME),
            (changed(incarnation, !hello.bytes[incarnation]), NOT_ME),
        ] {
            let raw = Raw::connect(served);
            raw.say(&bytes, &hello.files());
            let answer = raw.hears().unwrap();
            assert_eq!((answer.kind, answer.body), (REFUSE, vec![why]));
            raw.is_closed_on();
        }
    });
}

#[test]
fn frames_out_of_turn() {
    let import = |count: u32| {
        let words = [&1_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes(), &0_u32.to_le_bytes(), &count.to_le_bytes()];
        frame(6, &words.concat())
    };
    let (ready, bye) = (frame(4, &[]), frame(5, &[]));
    each(|served| {
        let hello = Hello::overheard(served);
        // Before a Hello, and while it is not answered, nothing else is right.
        for first in [&frame(2, &[]), &frame(3, &[0]), &ready, &bye, &import(1), &frame(8, &[0; 8]), &frame(9, &[])] {
            let raw = Raw::connect(served);
            raw.say(first, &[]);
            assert!(raw.hears().is_none());
            let raw = Raw::connect(served);
            raw.say(&[&hello.bytes[..], first].concat(), &hello.files());
            raw.is_closed_on();
        }
        // Once both have met: what nobody asked, what is said a second time, and what is none.
        let welcome = [&[1, 0][..], &[0; 8], &hello.bytes[hello.parts()[3] + 1..]].concat();
        let late = [
            hello.bytes.clone(),
            frame(2, &welcome),
            frame(3, &[0]),
            [&ready[..], &ready].concat(),
            [&bye[..], &bye].concat(),
            frame(7, &[0; 8]),
            frame(8, &[0; 8]),
            frame(4, &[1]),
            frame(9, &[]),
            vec![0xff; 64],
        ];
        for late in &late {
            let raw = Raw::connect(served);
            raw.say(&hello.bytes, &hello.files());
            assert_eq!(raw.hears().unwrap().kind, WELCOME);
            raw.say(late, &[]);
            raw.is_closed_on();
        }
        // What is asked of grants that are not there is answered, so often as it is asked.
        let raw = Raw::connect(served);
        raw.say(&hello.bytes, &hello.files());
        assert_eq!(raw.hears().unwrap().kind, WELCOME);
        for count in [1, 16, 17, u32::MAX] {
            raw.say(&import(count), &[]);
            assert_eq!(raw.hears().unwrap().kind, 8, "denied");
        }
    });
}

/// What a port is told is bounded, though it does not look: nothing that it is told of can be said twice.
#[test]
fn who_repeats_himself_is_closed_on() {
    each(|served| {
        let hello = Hello::overheard(served);
        for said in [frame(4, &[]), frame(5, &[])] {
            let raw = Raw::connect(served);
            raw.say(&hello.bytes, &hello.files());
            assert_eq!(raw.hears().unwrap().kind, WELCOME);
            served.while_nobody_polls(|| {
                raw.say(&[&said[..], &said].concat(), &[]);
                // Nothing more is read of it, whatever it says: its socket fills.
                std::thread::sleep(Duration::from_millis(50));
            });
            // The port has taken its end of the channel down.
            assert!(raw.hears().is_none());
        }
    });
}

/// Any byte of a Hello as anything: it is answered, or closed on.
#[test]
fn hellos_that_are_not_quite_right() {
    let random = random();
    each(|served| {
        let (mut random, hello) = (random.clone(), Hello::overheard(served));
        for _ in 0..400 {
            let mut bytes = hello.bytes.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(HEADER..bytes.len());
                bytes[at] = random.u8(..);
            }
            let raw = Raw::connect(served);
            raw.say(&bytes, &hello.files());
            raw.says_no_more();
            raw.is_closed_on();
        }
    });
}

/// Descriptors that are missing, too many, or of another kind. The last would make who wakes its peer block for ever.
#[test]
fn descriptors_that_are_not_what_they_should_be() {
    let Some(served) = Served::start(Way::Unix) else { return };
    let hello = Hello::overheard(&served);
    // The last is the page of the node's life.
    let real = || <[OwnedFd; 3]>::try_from(hello.files()).unwrap();
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let eventfd = || rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let memfd = |bytes: u64, seals: SealFlags| {
        let file = rustix::fs::memfd_create("garbage", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&file, bytes).unwrap();
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        file
    };
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    let (_reader, pipe) = std::io::pipe().unwrap();
    let [segment, wake, life] = real();
    let copy = |file: &OwnedFd| file.try_clone().unwrap();
    let cases = [
        ("none", vec![]),
        ("one", vec![copy(&segment)]),
        ("the other way round", vec![copy(&wake), copy(&segment)]),
        ("no memory", vec![null(), copy(&wake)]),
        ("memory that may shrink", vec![memfd(1 << 20, SealFlags::empty()), copy(&wake)]),
        ("memory too short", vec![memfd(4096, SealFlags::SHRINK), copy(&wake)]),
        ("memory that can't be written", vec![memfd(1 << 20, SealFlags::SHRINK | SealFlags::WRITE), copy(&wake)]),
        ("no eventfd, a file", vec![copy(&segment), null()]),
        ("no eventfd, an epoll", vec![copy(&segment), epoll]),
        ("no eventfd, memory", vec![copy(&segment), copy(&segment)]),
        ("no eventfd, a pipe", vec![copy(&segment), pipe.into()]),
    ];
    for (what, mut files) in cases {
        let too_few = files.len() < 2;
        files.push(copy(&life));
        let raw = Raw::connect(&served);
        let mut bytes = hello.bytes.clone();
        bytes[5] = u8::try_from(files.len()).unwrap();
        raw.say(&bytes, &files);
        // Too few are garbage; others are looked at by the backend.
        match raw.hears() {
            None => assert!(too_few, "{what}"),
            Some(answer) => assert_eq!((answer.kind, answer.body), (REFUSE, vec![FAILED]), "{what}"),
        }
        raw.is_closed_on();
    }
    // More than are said: they belong to no frame, and the connection ends once they are more than any carries.
    let raw = Raw::connect(&served);
    for _ in 0..200 {
        raw.say(&[0], &[eventfd(), eventfd(), eventfd()]);
    }
    raw.is_closed_on();
    served.still_serves();
}
