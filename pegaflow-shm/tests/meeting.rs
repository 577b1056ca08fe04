//! How a node meets others over TCP: sockets that a test holds stand for the peers.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod numbered;

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, AllocateOptions, Audience, Cause, ChannelId, Class, ConnectError, DeviceEvent, Event, MemoryError, Node,
    NodeOptions, Port, Refusal, State, Window, backend::Domain,
};
use rustix::{
    event::EventfdFlags,
    net::{AddressFamily, SocketType},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn node(domain: Arc<dyn Domain>) -> Node {
    let options = NodeOptions { runtime_dir: "/nowhere/at/all".into(), ..NodeOptions::new("here") };
    Node::new(domain, options).unwrap()
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

/// The node's own address, with another port: it ends with its four bytes of IP and its port.
fn address_at(node: &Node, at: SocketAddr) -> Vec<u8> {
    let mut bytes = node.address();
    let port = bytes.len() - 2;
    assert_eq!(bytes[port - 4..port], Ipv4Addr::LOCALHOST.octets());
    bytes[port..].copy_from_slice(&at.port().to_le_bytes());
    bytes
}

fn own_port(node: &Node) -> SocketAddr {
    let bytes = node.address();
    let port = u16::from_le_bytes(bytes[bytes.len() - 2..].try_into().unwrap());
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port of 127.0.0.1 that nobody listens at, until somebody does with this socket.
fn reserved() -> (OwnedFd, SocketAddr) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let at = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    (socket, at)
}

/// Takes one dial, reads its Hello, and refuses it.
fn refuse(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    let mut peer = until("a dial", || listener.accept().ok()).0;
    peer.set_nonblocking(false).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut header = [0; 6];
    peer.read_exact(&mut header).unwrap();
    assert_eq!((header[4], header[5]), (1, 0), "a Hello without descriptors");
    // Refuse, one byte of reason: another backend.
    peer.write_all(&[1, 0, 0, 0, 3, 0, 1]).unwrap();
    // Until the dialler has closed, so that nothing of it is lost.
    let _ = peer.read_to_end(&mut Vec::new());
}

fn state(port: &mut dyn Port, channel: ChannelId) -> Option<State> {
    port.poll(&mut []);
    port.state(channel)
}

fn end(port: &mut dyn Port, channel: ChannelId) -> State {
    until("the end of a dial", || {
        state(port, channel).filter(|state| matches!(state, State::Broken(_) | State::Closed))
    })
}

/// An address that drops packets is given its whole time, and delays nobody.
#[test]
fn a_dial_that_nobody_answers_holds_up_no_other() {
    // A queue of one that is full: the kernel drops what else knocks.
    let (full, at) = reserved();
    rustix::net::listen(&full, 0).unwrap();
    let waiting = TcpStream::connect(at).unwrap();
    let node = node(numbered::lenient());
    let mut port = node.port(()).unwrap();
    // Longer than all that is waited for meanwhile.
    let dropped = port.dial(&address_at(&node, at), Class::Kv, 10 * PATIENCE).unwrap();
    for _ in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = port.dial(&address_at(&node, listener.local_addr().unwrap()), Class::Bulk, PATIENCE).unwrap();
        refuse(&listener);
        assert_eq!(end(&mut port, other), State::Broken(Cause::Refused(Refusal::Backend)));
    }
    assert_eq!(state(&mut port, dropped), Some(State::Connecting));

    let (begin, patience) = (Instant::now(), Duration::from_millis(300));
    let short = port.dial(&address_at(&node, at), Class::Kv, patience).unwrap();
    assert_eq!(end(&mut port, short), State::Broken(Cause::Unreachable));
    assert!(begin.elapsed() >= patience, "after {:?} of {patience:?}", begin.elapsed());

    // Room for one more: he who still waits is the next.
    let listener = TcpListener::from(full);
    drop((listener.accept().unwrap(), waiting));
    refuse(&listener);
    assert_eq!(end(&mut port, dropped), State::Broken(Cause::Refused(Refusal::Backend)));
}

/// Refused again and again, and then somebody listens.
#[test]
fn a_peer_that_comes_up_during_the_dial_is_found() {
    let (socket, at) = reserved();
    let node = node(numbered::lenient());
    let mut port = node.port(()).unwrap();
    let channel = port.dial(&address_at(&node, at), Class::Kv, PATIENCE).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        assert_eq!(state(&mut port, channel), Some(State::Connecting));
        std::thread::sleep(Duration::from_millis(10));
    }
    rustix::net::listen(&socket, 8).unwrap();
    refuse(&TcpListener::from(socket));
    assert_eq!(end(&mut port, channel), State::Broken(Cause::Refused(Refusal::Backend)));
}

#[test]
fn a_dial_that_is_given_up_ends_at_once() {
    let (_socket, at) = reserved();
    let node = node(numbered::lenient());
    let mut port = node.port(()).unwrap();
    let channel = port.dial(&address_at(&node, at), Class::Kv, PATIENCE).unwrap();
    port.close(channel).unwrap();
    assert_eq!(end(&mut port, channel), State::Closed);
}

/// Whoever says what no node says is closed on, and the node goes on.
#[test]
fn garbage_from_the_network_ends_its_own_connection() {
    let node = node(numbered::lenient());
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[1, 0, 0, 0, 4, 1, 0], &[0, 0, 0, 0, 4, 0]] {
        let mut raw = TcpStream::connect(own_port(&node)).unwrap();
        raw.set_read_timeout(Some(PATIENCE)).unwrap();
        raw.write_all(garbage).unwrap();
        match raw.read(&mut [0; 8]) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("{other:?} for {garbage:?}"),
        }
    }
    TcpStream::connect(own_port(&node)).unwrap();
}

/// Whoever connects and says nothing does not keep his place; a node that waits for somebody to listen does.
#[test]
fn who_says_nothing_is_closed_on() {
    let node = node(numbered::lenient());
    let mut port = node.port(()).unwrap();
    let waits = port.dial(&node.address(), Class::Kv, 10 * PATIENCE).unwrap();
    let mut mute = TcpStream::connect(own_port(&node)).unwrap();
    mute.set_read_timeout(Some(2 * PATIENCE)).unwrap();
    assert_eq!(mute.read(&mut [0]).unwrap(), 0);
    assert_eq!(state(&mut port, waits), Some(State::Connecting));
}

/// A parcel with descriptors is refused where it is made; nothing is left of the channel.
#[test]
fn descriptors_are_refused_where_the_parcel_is_made() {
    let node = node(numbered::stubborn());
    let mut port = node.port(()).unwrap();
    for _ in 0..2 * u32::from(node.capabilities().max_channels) {
        let error = port.dial(&node.address(), Class::Kv, PATIENCE).unwrap_err();
        assert!(matches!(&error, ConnectError::Backend(why) if why.message.contains("2 descriptors")), "{error}");
        // What is left of it goes with the next poll, without a word.
        assert_eq!(port.poll(&mut [Event::NONE]), 0);
    }
    let region = node.allocate(4096, &AllocateOptions::default()).unwrap();
    let error = node.grant(&[Window::whole(&region)], Access::READ, Audience::Anyone).unwrap_err();
    assert!(matches!(&error, MemoryError::Backend(why) if why.message.contains("over TCP")), "{error}");
}

/// A node of one host is not sent into the network by an address that says so.
#[test]
fn an_address_of_the_other_way_is_refused() {
    let dir = std::env::temp_dir().join(format!("pegaflow-meeting-{}", std::process::id()));
    let options = NodeOptions { runtime_dir: dir.clone(), ..NodeOptions::new("unix") };
    let unix = Node::new(pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).unwrap(), options).unwrap();
    let tcp = node(numbered::stubborn());
    // The same name of the backend, as a forger would have it.
    let mut forged = tcp.address();
    let at = forged.windows(numbered::NAME.len()).position(|part| part == numbered::NAME.as_bytes()).unwrap();
    forged[at - 4..at].copy_from_slice(&3_u32.to_le_bytes());
    forged.splice(at..at + numbered::NAME.len(), *b"shm");
    let error = unix.port(()).unwrap().dial(&forged, Class::Kv, PATIENCE).unwrap_err();
    assert!(matches!(&error, ConnectError::Malformed { why, .. } if why.contains("another way")), "{error}");
    drop(unix);
    std::fs::remove_dir(dir).unwrap();
}

#[test]
fn a_listen_address_that_stands_for_all_is_refused_by_name() {
    let options = NodeOptions { listen: "0.0.0.0:0".parse().unwrap(), ..NodeOptions::new("here") };
    let error = Node::new(numbered::stubborn(), options).unwrap_err();
    assert!(matches!(error, ConnectError::BadListen { .. }), "{error}");
    assert!(error.to_string().contains("0.0.0.0:0"), "{error}");
}

#[test]
fn a_silence_out_of_range_is_refused_with_its_range() {
    for silence in [Duration::ZERO, Duration::from_millis(999), Duration::from_millis(3_600_001), Duration::MAX] {
        let options = NodeOptions { peer_silence: silence, ..NodeOptions::new("here") };
        let error = Node::new(numbered::lenient(), options).unwrap_err();
        assert!(matches!(error, ConnectError::BadSilence { .. }), "{error}");
        assert!(error.to_string().ends_with("expected 1s to 3600s"), "{error}");
    }
}

/// What stands between two nodes, and can cut the one who dials off: as if the other host had lost its power.
struct Between {
    at: SocketAddr,
    socket: mpsc::Receiver<TcpStream>,
}

impl Between {
    fn new(there: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (give, socket) = mpsc::channel();
        std::thread::spawn(move || {
            let (near, _) = listener.accept().unwrap();
            let far = TcpStream::connect(there).unwrap();
            give.send(near.try_clone().unwrap()).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || io::copy(&mut from, &mut to));
            }
        });
        Self { at, socket }
    }

    /// From here on nothing comes through, and nothing is acknowledged. The socket stays open.
    fn cut(&self) -> TcpStream {
        let socket = self.socket.recv_timeout(PATIENCE).unwrap();
        drop_all_that_comes(&socket);
        socket
    }
}

/// A filter by which the kernel takes no packet for the socket any more: socket(7), `SO_ATTACH_FILTER`.
fn drop_all_that_comes(socket: &TcpStream) {
    use std::ffi::{c_int, c_void};
    #[repr(C)]
    struct Instruction {
        code: u16,
        jump_true: u8,
        jump_false: u8,
        value: u32,
    }
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const Instruction,
    }
    unsafe extern "C" {
        fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, bytes: u32) -> c_int;
    }
    const SOL_SOCKET: c_int = 1;
    const SO_ATTACH_FILTER: c_int = 26;
    // Return 0: of the packet this many bytes are kept.
    let instruction = Instruction { code: 0x06, jump_true: 0, jump_false: 0, value: 0 };
    let program = Program { length: 1, instructions: &raw const instruction };
    let bytes = u32::try_from(size_of::<Program>()).unwrap();
    // SAFETY: the structs are those of linux/filter.h, and live until the call has returned.
    let set =
        unsafe { setsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_ATTACH_FILTER, (&raw const program).cast(), bytes) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// A host that vanishes is noticed, busy or idle, after the silence that its own node bears: not sooner, and before one
/// that bears more, though that was cut off earlier.
#[test]
fn a_host_that_vanishes_is_noticed_after_the_silence_of_the_config() {
    let quick = Duration::from_secs(1);
    let there = node(numbered::lenient());
    let mut there_port = there.port(()).unwrap();
    there_port.listen(Class::Kv).unwrap();
    let mut cut_off = |silence: Duration, busy: bool| {
        let options = NodeOptions { peer_silence: silence, ..NodeOptions::new("cut-off") };
        let node = Node::new(numbered::lenient(), options).unwrap();
        let mut port = node.port(()).unwrap();
        let between = Between::new(own_port(&there));
        let channel = port.dial(&address_at(&there, between.at), Class::Kv, PATIENCE).unwrap();
        until("a channel", || {
            there_port.poll(&mut []);
            state(&mut port, channel).filter(|state| matches!(state, State::Up { .. }))
        });
        let grant = there.allocate(4096, &AllocateOptions::default()).unwrap();
        let grant = there.grant(&[Window::whole(&grant)], Access::READ, Audience::Anyone).unwrap();
        let cut = (between.cut(), Instant::now());
        if busy {
            // It asks, and nobody answers.
            let error = node.import(channel, grant.as_bytes(), Duration::ZERO).unwrap_err();
            assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error}");
        }
        (cut, channel, port, node)
    };
    let (_kept, patient, mut patient_port, _node) = cut_off(Duration::from_secs(3600), false);
    std::thread::sleep(quick + quick / 2);
    for busy in [false, true] {
        let ((_kept, since), channel, mut port, _node) = cut_off(quick, busy);
        let mut events = [Event::NONE; 8];
        let cause = until("the end of the silence", || {
            let count = port.poll(&mut events);
            events[..count].iter().find_map(|event| match *event {
                Event::Channel { state: State::Broken(cause), .. } => Some(cause),
                _ => None,
            })
        });
        assert_eq!(cause, Cause::PeerSilent, "busy: {busy}, {channel}");
        assert!(since.elapsed() >= quick, "busy: {busy}, after {:?}", since.elapsed());
    }
    patient_port.poll(&mut [Event::NONE; 8]);
    let state = patient_port.state(patient);
    assert!(matches!(state, Some(State::Up { .. })), "{state:?}");
}

/// The control thread listens to the device, without any call of the application's, and ports hand out what it tells.
#[test]
fn what_the_device_says_is_attended() {
    let events = rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let (device, heard) = (events.try_clone().unwrap(), Arc::new(AtomicU64::new(0)));
    let log = Arc::clone(&heard);
    let node = node(numbered::speaking(events, move |events, tell| {
        let mut word = [0; 8];
        rustix::io::read(events, &mut word).expect("called only when there is something");
        log.fetch_add(u64::from_ne_bytes(word), Ordering::Relaxed);
        tell(3, DeviceEvent::PortDown);
    }));
    let mut port = node.port(()).unwrap();
    for said in 1..=100 {
        rustix::io::write(&device, &1_u64.to_ne_bytes()).unwrap();
        until("the device to be heard", || (heard.load(Ordering::Relaxed) == said).then_some(()));
        let told = until("the port to be told", || {
            let mut events = [Event::NONE];
            (port.poll(&mut events) == 1).then_some(events[0])
        });
        assert_eq!(told, Event::Device { rail: 3, what: DeviceEvent::PortDown });
    }
}

/// A descriptor at its end stays readable for ever: it is let go instead of asked again and again.
#[test]
fn a_device_that_is_gone_is_let_go() {
    let (events, mut device) = std::io::pipe().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let log = Arc::clone(&calls);
    let node = node(numbered::speaking(events.into(), move |events, _| {
        log.fetch_add(1, Ordering::Relaxed);
        let _ = rustix::io::read(events, &mut [0; 8]);
    }));
    device.write_all(b"last").unwrap();
    drop(device);
    until("its last words", || (calls.load(Ordering::Relaxed) >= 1).then_some(()));
    // The control thread has gone round many times when so many have been closed on.
    for _ in 0..20 {
        let mut raw = TcpStream::connect(own_port(&node)).unwrap();
        raw.set_read_timeout(Some(PATIENCE)).unwrap();
        raw.write_all(&[0, 0, 0, 0, 4, 0]).unwrap();
        let _ = raw.read(&mut [0; 8]);
    }
    assert!(calls.load(Ordering::Relaxed) <= 3, "{} calls", calls.load(Ordering::Relaxed));
}
