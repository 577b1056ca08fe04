//! Lives and those who watch them. A peer is this test program, started again: see `ends_of_a_process`.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::FileExt, process::CommandExt},
    },
    process::{Child, ChildStdin, Command as Process, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{MemfdFlags, SealFlags},
    thread::futex::{OWNER_DIED, WAITERS},
};

use super::{
    Life, sys,
    watch::{End, Pages, Watch, WatchId, Watches},
};
use crate::{
    Bounds, Class,
    backend::Parcel,
    node::{
        control::{Command, Identity, Mailbox},
        inbox::Met,
    },
};

/// Set in the environment of a child: how it is to end.
const END: &str = "PEGAFLOW_LIFE_END";

/// A process with a life, and the life's page.
struct Peer {
    child: Child,
    orders: ChildStdin,
    file: OwnedFd,
}

impl Peer {
    fn start(end: &str) -> Self {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "node::life::tests::ends_of_a_process", "--nocapture"])
            .env(END, end)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let file = output
            .lines()
            .map(Result::unwrap)
            .find_map(|line| line.split_once("life at ").map(|(_, at)| at.to_owned()));
        let file = format!("/proc/{}/fd/{}", child.id(), file.expect("said before anything happens"));
        let file = File::options().read(true).write(true).open(file).unwrap().into();
        Self { child, orders, file }
    }

    /// Lets it end, and waits until it has.
    fn end(mut self, end: &str) {
        if end == "killed" {
            self.child.kill().unwrap();
        }
        let _ = self.orders.write_all(b"end\n");
        self.child.wait().unwrap();
    }
}

/// The child: begins a life, and ends as it was told to, once it is told to.
fn live_and_end(how: &str) {
    let limit = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, limit).unwrap();
    let life = Life::begin().unwrap();
    println!("life at {}", life.file.as_raw_fd());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    match how {
        "killed" => std::thread::park(),
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        "another program" => panic!("{}", Process::new("true").exec()),
        "panic" => {
            std::mem::forget(life);
            panic!("as it was told to");
        }
        "panic through the owner" => panic!("as it was told to"),
        "in order" => {
            drop(life);
            std::process::abort();
        }
        other => panic!("{other}"),
    }
}

/// In whatever way a process ends, its life says so, and one that has ended in order before does not.
#[test]
fn ends_of_a_process() {
    if let Some(how) = std::env::var_os(END) {
        live_and_end(how.to_str().unwrap());
        return;
    }
    let died = ["killed", "exit", "abort", "another program", "panic"];
    let silent = ["panic through the owner", "in order"];
    for (how, expected) in died.map(|how| (how, End::Died)).into_iter().chain(silent.map(|how| (how, End::Silent))) {
        let peer = Peer::start(how);
        let pages = Pages::of_peer(&peer.file).unwrap();
        let waiter = std::thread::spawn(move || pages.wait());
        // So that it waits and does not only look, most times.
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished(), "{how}: it lives");
        let late = Pages::of_peer(&peer.file).unwrap();
        peer.end(how);
        assert_eq!(waiter.join().unwrap(), expected, "{how}");
        assert_eq!(late.wait(), expected, "{how}: seen by who looks afterwards");
    }
}

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::new().unwrap())
}

/// The next watch that has told of a death.
fn told(mailbox: &Mailbox) -> WatchId {
    loop {
        match mailbox.take() {
            Some(Command::Died { watch }) => return watch,
            Some(other) => panic!("{other:?}"),
            None => {
                let mut readable = [PollFd::from_borrowed_fd(mailbox.fd(), PollFlags::IN)];
                rustix::event::poll(&mut readable, None).unwrap();
                rustix::io::read(mailbox.fd(), &mut [0_u8; 8]).unwrap();
            }
        }
    }
}

/// The kernel wakes one; and one who has ended before takes nobody's wake away.
#[test]
fn all_who_watch_a_peer_are_told_of_its_death() {
    let peer = Peer::start("killed");
    let mailbox = mailbox();
    let begin = |id| Watch::begin(&peer.file, WatchId(id), Arc::clone(&mailbox)).unwrap();
    let mut watches: Vec<_> = (0..8).map(begin).collect();
    std::thread::sleep(Duration::from_millis(20));
    drop(watches.remove(3));
    drop(watches.remove(0));
    peer.end("killed");
    let mut ids: Vec<_> = watches.iter().map(|_| told(&mailbox).0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 4, 5, 6, 7]);
    drop(watches);
    assert!(mailbox.take().is_none(), "each has told once");
}

/// A watch ends though its peer lives, however far its thread has come. One whose wake was lost would never.
#[test]
fn a_watch_can_be_ended_at_any_time() {
    let life = Life::begin().unwrap();
    let file = life.share().unwrap();
    let mailbox = mailbox();
    for round in 0..3000_u32 {
        let watch = Watch::begin(&file, WatchId(round.into()), Arc::clone(&mailbox)).unwrap();
        for _ in 0..round % 300 {
            std::hint::spin_loop();
        }
        if round % 16 == 0 {
            std::thread::yield_now();
        }
        drop(watch);
    }
    assert!(mailbox.take().is_none(), "nobody has died");
}

fn met(incarnation: u64, life: &Life) -> Met {
    let (bounds, parcel) = (Bounds::of(Class::Kv), Parcel::default());
    Met { name: "peer".to_owned(), incarnation, bounds, parcel, life: Some(life.share().unwrap()) }
}

/// By its page, and not by what it says of itself: so nobody's death is taken for another's.
#[test]
fn a_peer_is_watched_once_and_oneself_never() {
    let (one, other) = (Life::begin().unwrap(), Life::begin().unwrap());
    let myself = Identity { name: "here".to_owned(), incarnation: 7, backend: "test" };
    let mut watches = Watches::new(mailbox());
    let first = watches.over(&myself, &mut met(1, &one)).unwrap();
    let again = watches.over(&myself, &mut met(1, &one)).unwrap();
    let liar = watches.over(&myself, &mut met(1, &other)).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert!(!Arc::ptr_eq(&first, &liar));
    assert!(watches.over(&myself, &mut met(7, &one)).is_none());
    let id = first.id();
    drop((first, again));
    assert_ne!(watches.over(&myself, &mut met(1, &one)).unwrap().id(), id, "it had ended with the last connection");
}

/// A page as a peer would make it, with this word.
fn page(word: u32, seals: SealFlags, bytes: u64) -> OwnedFd {
    let file = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&file, bytes).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    let file = File::from(file);
    file.write_all_at(&word.to_ne_bytes(), 0).unwrap();
    file.into()
}

/// Garbage is a peer that looks dead, or one that its socket must tell of.
#[test]
fn words_that_no_node_writes_hurt_nobody() {
    let size = rustix::param::page_size() as u64;
    let marked = [OWNER_DIED, OWNER_DIED | WAITERS, OWNER_DIED | 77, u32::MAX];
    let silent = [0, 1, 77, WAITERS];
    for (word, expected) in
        marked.map(|word| (word, End::Died)).into_iter().chain(silent.map(|word| (word, End::Silent)))
    {
        let pages = Pages::of_peer(&page(word, SealFlags::SHRINK, size)).unwrap();
        assert_eq!(pages.wait(), expected, "{word:#x}");
    }
    // One that lives, and then is something else; and one whose page is emptied.
    for (spoil, expected) in [(WAITERS | 78, End::Silent), (OWNER_DIED, End::Died), (0, End::Silent)] {
        let file = page(WAITERS | 77, SealFlags::SHRINK, size);
        let pages = Arc::new(Pages::of_peer(&file).unwrap());
        let waiting = Arc::clone(&pages);
        let waiter = std::thread::spawn(move || waiting.wait());
        std::thread::sleep(Duration::from_millis(10));
        if spoil == 0 {
            use rustix::fs::FallocateFlags;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, flags, 0, size).unwrap();
        } else {
            File::from(file.try_clone().unwrap()).write_all_at(&spoil.to_ne_bytes(), 0).unwrap();
        }
        // Until the waiter begins to wait there is nobody to be woken.
        while !waiter.is_finished() {
            sys::wake_all(pages.wake.word());
            std::thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), expected, "{spoil:#x}");
    }
}

#[test]
fn a_file_that_is_no_page_of_a_life_is_refused() {
    let size = rustix::param::page_size() as u64;
    let refused = |file: OwnedFd| Pages::of_peer(&file).unwrap_err().to_string();
    assert!(refused(page(0, SealFlags::GROW, size)).contains("not sealed"));
    for bytes in [4, size - 1, size + 1, 512 * size] {
        let said = refused(page(0, SealFlags::SHRINK, bytes));
        assert!(said.contains(&format!("{bytes} bytes: expected {size}")), "{said}");
    }
    for path in ["/dev/null", "/proc/self/exe", "/"] {
        let _ = refused(File::open(path).unwrap().into());
    }
    refused(std::io::pipe().unwrap().0.into());
    // And nobody but its owner writes one.
    let life = Life::begin().unwrap();
    let file = File::from(life.share().unwrap());
    assert!(file.write_all_at(&OWNER_DIED.to_ne_bytes(), 0).is_err());
    assert!(file.set_len(0).is_err());
}
