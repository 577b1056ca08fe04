//! What a fork means for nodes of one process, beyond what the suite holds: the child's own node, and what the parent's
//! threads see of a child.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    ffi::c_int,
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, AllocateOptions, Audience, Batch, ChannelId, Class, Event, Node, NodeOptions, Op, Outcome, Piece, Plane,
    Poller, Port, Shape, State, Submitted, Table, Then, Window,
};
use rustix::process::{Pid, Signal, WaitOptions};

const PATIENCE: Duration = Duration::from_secs(20);
const BYTES: u64 = 100_000;

unsafe extern "C" {
    fn fork() -> c_int;
    fn _exit(status: c_int) -> !;
}

/// A child that does `body` and ends; 0 is its status where `body` says that all is well.
fn child(body: impl FnOnce() -> bool) -> Pid {
    // SAFETY: the child runs `body`, which waits for no other thread of this process, and ends here.
    match unsafe { fork() } {
        0 => {
            // It does not outlive a test that fails.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let well = catch_unwind(AssertUnwindSafe(body)).unwrap_or(false);
            // SAFETY: does not return.
            unsafe { _exit(c_int::from(!well)) }
        }
        id => Pid::from_raw(id).unwrap(),
    }
}

/// The status of a child that has ended.
fn ended(child: Pid) -> Option<i32> {
    let (_, status) = rustix::process::waitpid(Some(child), WaitOptions::NOHANG).unwrap()?;
    Some(status.exit_status().unwrap_or_else(|| panic!("{status:?}")))
}

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

/// These tests look at all threads and descriptors of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder of this test's own, which goes away with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("pegaflow-fork-{test}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options(name: &str, dir: &Path) -> NodeOptions {
    NodeOptions { runtime_dir: dir.to_owned(), ..NodeOptions::new(name) }
}

fn open(options: NodeOptions) -> (Node, Poller<()>) {
    let domain = pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).unwrap();
    let node = Node::new(domain, options).unwrap();
    let port = node.port(()).unwrap();
    (node, port)
}

fn up(port: &mut Poller<()>, channel: ChannelId) -> bool {
    port.poll(&mut []);
    matches!(port.state(channel), Some(State::Up { .. }))
}

fn next(port: &mut Poller<()>) -> Event {
    let mut events = [Event::NONE];
    until("an event", || (port.poll(&mut events) == 1).then_some(events[0]))
}

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|at| (at % 251) as u8).collect()
}

/// Writes a pattern into what `grant` leads to, then says so.
fn write(node: &Node, port: &mut Poller<()>, channel: ChannelId, grant: &[u8]) {
    let here = node.allocate(BYTES, &AllocateOptions::default()).unwrap();
    here.write(0, &pattern()).unwrap();
    let remote = node.import(channel, grant, PATIENCE).unwrap();
    let (planes, pieces) = ([Plane { window: 0, offset: 0 }], [Piece::whole(1000)]);
    let table = Table { planes: &planes, blocks: 100, stride_bytes: 1000, split: 1, split_bytes: 0 };
    let shape = Shape::Paged(table, &pieces);
    let plan = node.plan(Op::Write, (&[Window::whole(&here)], shape), (&remote, shape)).unwrap();
    let ids: Vec<u32> = (0..100).collect();
    let deadline = Instant::now() + PATIENCE;
    let then = Then::Message(b"written");
    let batch = Batch { plan: &plan, planes: 0..1, here: &ids, there: &ids, then, deadline, tag: 1 };
    assert!(matches!(port.submit(channel, &batch), Ok(Submitted::Accepted(_))));
    loop {
        match next(port) {
            Event::Ended { outcome, .. } => return assert_eq!(outcome, Outcome::Done),
            Event::Channel { state, .. } => assert!(matches!(state, State::Up { .. }), "{state:?}"),
            _ => {}
        }
    }
}

/// A node that the child makes works: with itself, and with a node of its parent's, which is another process's.
#[test]
fn a_fresh_node_in_a_child_works() {
    let _alone = alone();
    let dir = Folder::new("fresh");
    let (node, mut port) = open(options("parent", &dir.0));
    port.listen(Class::Kv).unwrap();
    let region = node.allocate(BYTES, &AllocateOptions::default()).unwrap();
    let grant = node.grant(&[Window::whole(&region)], Access::WRITE, Audience::Anyone).unwrap();
    let (parents, of_child) = (node.address(), options("child", &dir.0));
    let id = child(|| {
        let (node, mut port) = open(of_child.clone());
        port.listen(Class::Kv).unwrap();
        let own = node.allocate(BYTES, &AllocateOptions::default()).unwrap();
        let own_grant = node.grant(&[Window::whole(&own)], Access::WRITE, Audience::Anyone).unwrap();
        for (address, grant) in [(node.address(), own_grant.as_bytes()), (parents.clone(), grant.as_bytes())] {
            let channel = port.dial(&address, Class::Kv, PATIENCE).unwrap();
            until("a channel", || up(&mut port, channel).then_some(()));
            write(&node, &mut port, channel, grant);
        }
        let mut bytes = vec![0; pattern().len()];
        own.read(0, &mut bytes).unwrap();
        // In order, with a thread that is its own.
        drop((port, node));
        bytes == pattern()
    });
    until("the child's message", || match next(&mut port) {
        Event::Message { channel, slot, .. } => {
            assert_eq!(port.peer(channel), Some("child"));
            port.release(slot).unwrap();
            Some(())
        }
        _ => None,
    });
    let mut bytes = vec![0; pattern().len()];
    region.read(0, &mut bytes).unwrap();
    assert!(bytes == pattern());
    assert_eq!(until("the child's end", || ended(id)), 0);
}

/// How often the control threads of this process have gone to sleep.
fn sleeps() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let count = |status: String| {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let control = field("Name:") == Some("pegaflow-ctl");
        control.then(|| field("voluntary_ctxt_switches:").unwrap().parse::<u64>().unwrap())
    };
    tasks.filter_map(|task| count(std::fs::read_to_string(task.unwrap().path().join("status")).ok()?)).sum()
}

/// The descriptors by which a thread is woken are the child's too.
#[test]
fn a_childs_drops_wake_no_thread_of_its_parents() {
    let _alone = alone();
    let dir = Folder::new("wake");
    let (node, mut port) = open(options("parent", &dir.0));
    port.listen(Class::Kv).unwrap();
    let pause = || std::thread::sleep(Duration::from_millis(20));
    let asleep = until("sleep", || {
        let before = sleeps();
        pause();
        (sleeps() == before).then_some(before)
    });
    let mut both = Some((port, node));
    let id = child(|| {
        drop(both.take());
        true
    });
    assert_eq!(until("the child's end", || ended(id)), 0);
    pause();
    assert_eq!(sleeps(), asleep);
}

/// Sockets that an epoll of this process still looks at, though this process has closed them.
fn looked_at_in_vain() -> Vec<String> {
    let mut stale = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
        let Ok(info) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
        for line in info.lines().filter(|line| line.starts_with("tfd:")) {
            let words: Vec<_> = line.split_whitespace().collect();
            let inode = words.iter().find_map(|word| word.strip_prefix("ino:")).unwrap();
            let fd: i32 = words[1].parse().unwrap();
            let now = std::fs::metadata(format!("/proc/self/fd/{fd}"));
            let same = now.is_ok_and(|now| {
                use std::os::unix::fs::MetadataExt;
                format!("{:x}", now.ino()) == inode
            });
            if !same {
                stale.push(line.to_owned());
            }
        }
    }
    stale
}

/// A socket that a child has too stays in an epoll when it is closed here, and says for ever that its peer is gone.
#[test]
fn a_connection_that_a_child_has_too_is_let_go() {
    let _alone = alone();
    let dir = Folder::new("epoll");
    let (node, mut port) = open(options("node", &dir.0));
    port.listen(Class::Kv).unwrap();
    let channel = port.dial(&node.address(), Class::Kv, PATIENCE).unwrap();
    until("a channel", || up(&mut port, channel).then_some(()));
    assert_eq!(looked_at_in_vain(), Vec::<String>::new());
    let (wait, mut go) = io::pipe().unwrap();
    let id = child(|| (&wait).read(&mut [0]).unwrap() == 1);
    port.close(channel).unwrap();
    until("the end", || {
        port.poll(&mut [Event::NONE; 8]);
        port.state(channel).is_none().then_some(())
    });
    until("the sockets to be let go", || looked_at_in_vain().is_empty().then_some(()));
    assert_eq!(ended(id), None, "the child has them all the time");
    go.write_all(&[1]).unwrap();
    assert_eq!(until("the child's end", || ended(id)), 0);
}

/// A lock that a thread of the parent's held is held for ever in the child.
#[test]
fn a_child_waits_for_no_lock_of_its_parents() {
    let _alone = alone();
    let dir = Folder::new("lock");
    let (node, _port) = open(options("node", &dir.0));
    let region = node.allocate(4096, &AllocateOptions::default()).unwrap();
    let grant = || node.grant(&[Window::whole(&region)], Access::READ, Audience::Anyone).unwrap();
    let (mut mine, stop) = (Some(grant()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(grant());
            }
        });
        let well = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..300 {
                let id = child(|| {
                    drop(mine.take());
                    true
                });
                assert_eq!(until("a child's end", || ended(id)), 0);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        well.unwrap();
    });
}
