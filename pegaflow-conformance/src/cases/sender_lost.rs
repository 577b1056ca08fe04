//! The peer is killed or stopped while it is the one that sends, or that dials: what the receiver sees.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, ApiMisuse, Audience, Cause, Class, Counter, Grant, Outcome, Port, Quarantined, Region, Revoked, Revoking,
    State, Window,
};
use rustix::process::Signal;

use super::{
    Case,
    flow::{Flow, Kind, LIMITS, works},
};
use crate::{
    agent::storm::call,
    pair::{Context, Pair},
    placement::Peer,
    protocol::{Command, Limits, Reply},
    side::{PATIENCE, Side, far, read, seeded},
};

pub(super) const CASES: &[Case] = &[
    Case::apart("sender_killed_amid_writes", |context| killed(context, Kind::Writes)),
    Case::apart("sender_killed_amid_reads", |context| killed(context, Kind::Reads)),
    Case::apart("sender_killed_amid_messages", |context| killed(context, Kind::Messages)),
    Case::apart("sender_stopped_amid_writes", |context| stopped(context, Kind::Writes)),
    Case::apart("sender_stopped_amid_reads", |context| stopped(context, Kind::Reads)),
    Case::apart("sender_stopped_amid_messages", |context| stopped(context, Kind::Messages)),
    Case::apart("dialler_killed_amid_its_dial", dialler_killed),
    Case::apart("dialler_stopped_amid_its_dial", dialler_stopped),
];

const BLOCKS: u32 = 8;

/// What the peer sends: into the driver's memory, out of it, or messages.
struct Gale {
    kind: Kind,
    region: Region,
    grant: Grant,
    counter: Counter,
    /// Messages that came, all of them as they should be.
    heard: u64,
}

impl Gale {
    fn new(context: &Context, pair: &mut Pair, kind: Kind) -> Self {
        let block_bytes = context.bulk(64 << 10);
        let bytes = u64::from(block_bytes) * u64::from(BLOCKS);
        let region = pair.here.allocate(bytes);
        region.write(0, &seeded(9, bytes)).expect("its whole");
        let to = Audience::Channel(pair.channel);
        let grant = pair.here.node().grant(&[Window::whole(&region)], Access::READ_WRITE, to).expect("a grant");
        let on = pair.channel;
        let counter = pair.here.port().counter(on).expect("up").expect("free");
        let channel = pair.there;
        let lent = grant.as_bytes().to_vec();
        pair.call(match kind {
            Kind::Writes => Command::Storm { channel, grant: lent, block_bytes, counter: Some(counter.id().to_bits()) },
            Kind::Reads => Command::Pull { channel, grant: Some(lent), block_bytes },
            Kind::Messages => Command::Pull { channel, grant: None, block_bytes },
        });
        let mut made = Self { kind, region, grant, counter, heard: 0 };
        made.grows(pair, 3);
        made
    }

    /// Looks at what has come; gives how many transfers that is.
    fn look(&mut self, side: &mut Side) -> u64 {
        while let Some(message) = side.log.messages.pop_front() {
            assert!(side.bytes_of(message) == call(self.heard), "message {} of the peer", self.heard);
            self.heard += 1;
            side.port().release(message.slot).expect("it is held");
        }
        if self.kind == Kind::Writes { self.counter.value() } else { self.heard }
    }

    /// Waits for so many more.
    fn grows(&mut self, pair: &mut Pair, more: u64) {
        if self.kind == Kind::Reads {
            // The owner of what is read hears nothing of it.
            let ended = |pair: &mut Pair| match pair.call(Command::Tally) {
                Reply::Tally(tally) => tally.ended,
                other => panic!("{other:?} for a tally"),
            };
            let before = ended(pair);
            pair.call_until("more reads", |pair| (ended(pair) >= before + more).then_some(()));
            return;
        }
        let before = self.look(&mut pair.here);
        pair.here.until("more of the peer", |side| (self.look(side) >= before + more).then_some(()));
    }

    /// The peer is gone for good, and the memory its owner's.
    fn ends_for_good(mut self, pair: &mut Pair) {
        let on = pair.channel;
        self.look(&mut pair.here);
        match pair.here.port().revoke(&self.grant, on, PATIENCE) {
            Ok(Revoking::Asked) => {
                let epoch = self.grant.epoch();
                assert_eq!(pair.here.revoked(epoch, Some(Revoked::Unproven)), Revoked::Fenced);
            }
            // Forgotten, which is after the proof.
            Err(ApiMisuse::UnknownChannel(_)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(pair.here.node().quarantined(), Quarantined::default());
        let bytes = self.region.bytes();
        if self.kind != Kind::Writes {
            assert!(read(&self.region, 0, bytes) == seeded(9, bytes), "it was not to be written");
        }
        let mine = vec![0x55; usize::try_from(bytes).expect("memory")];
        self.region.write(0, &mine).expect("its whole");
        let came = self.look(&mut pair.here);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(50) {
            pair.here.turn();
            assert!(read(&self.region, 0, bytes) == mine, "a byte of the dead landed");
            assert_eq!(self.look(&mut pair.here), came, "something of the dead came");
        }
    }
}

/// The channel breaks; what came before is whole, counted and in order; what this side had under way ends once each, and
/// is quiet; the memory is this side's alone; the channel to another peer works.
fn killed(context: &Context, kind: Kind) {
    let mut pair = Pair::with(context, LIMITS);
    let mut neighbour = Pair::new(context);
    let copies = pair.capabilities().copies_in_poll;
    let mut flow = Flow::new(&mut pair, Kind::Writes);
    let mut gale = Gale::new(context, &mut pair, kind);
    for _ in 0..6 {
        flow.submit(&mut pair, far());
    }
    pair.here.turn();
    pair.peer.kill();
    let channel = pair.channel;
    let state = pair.here.until("the end of the channel", |side| {
        gale.look(side);
        side.log.state(channel).filter(|state| !matches!(state, State::Up { .. }))
    });
    let State::Broken(cause) = state else { panic!("{state:?}") };
    assert!(cause == Cause::PeerGone || !copies && matches!(cause, Cause::Transport { .. }), "{cause:?}");
    pair.here.quiet();
    assert_eq!(pair.here.log.ends.len(), 6, "each ended once, before the channel");
    for end in &pair.here.log.ends {
        assert!(end.outcome == Outcome::Done || end.outcome == Outcome::Failed(cause), "{end:?}");
    }
    gale.ends_for_good(&mut pair);
    works(&mut neighbour);
}

/// The channel stays up, and what this side has under way is done or ends by its deadline, not before. When the peer goes
/// on, so does what it sends, and nothing of it is missing.
fn stopped(context: &Context, kind: Kind) {
    let mut pair = Pair::with(context, LIMITS);
    let mut flow = Flow::new(&mut pair, Kind::Writes);
    let mut gale = Gale::new(context, &mut pair, kind);
    for round in 0..3 {
        pair.peer.signal(Signal::STOP);
        let (begin, mut deadlines, mut seen) = (Instant::now(), HashMap::new(), pair.here.log.ends.len());
        for part in 1..=3 {
            let deadline = begin + Duration::from_millis(20 * part);
            deadlines.insert(flow.submit(&mut pair, deadline), deadline);
        }
        while begin.elapsed() < Duration::from_millis(100) {
            pair.here.turn();
            gale.look(&mut pair.here);
            let now = Instant::now();
            for end in &pair.here.log.ends[seen..] {
                match end.outcome {
                    Outcome::Done => {}
                    Outcome::DeadlinePassed => assert!(now >= deadlines[&end.tag], "{end:?} came early"),
                    _ => panic!("round {round}: {end:?}"),
                }
            }
            seen = pair.here.log.ends.len();
        }
        assert_eq!(seen, flow.submitted as usize, "each has ended by its deadline");
        assert!(matches!(pair.here.log.state(pair.channel), Some(State::Up { .. })), "{:?}", pair.here.log.states);
        pair.peer.signal(Signal::CONT);
        gale.grows(&mut pair, 3);
    }
    let sent = calm(&mut pair, &mut gale);
    if kind != Kind::Reads {
        pair.here.until("all that was sent", |side| (gale.look(side) >= sent).then_some(()));
        assert_eq!(gale.look(&mut pair.here), sent, "each once");
    }
    pair.here.quiet();
    works(&mut pair);
}

/// Ends what blows, releasing meanwhile; gives how many transfers it was.
fn calm(pair: &mut Pair, gale: &mut Gale) -> u64 {
    pair.peer.begin(Command::Calm);
    let begin = Instant::now();
    loop {
        match pair.peer.answer_within(Duration::from_micros(50)) {
            Some(Reply::Value(sent)) => return sent,
            Some(other) => panic!("{other:?} for a number"),
            None => {}
        }
        pair.here.turn();
        gale.look(&mut pair.here);
        assert!(begin.elapsed() < 2 * pair.here.patience, "no answer from the agent");
    }
}

/// A node that listens, and a folder for those who dial it.
fn listener(context: &Context) -> (Side, tempfile::TempDir) {
    let dir = tempfile::Builder::new().prefix("pegaflow-").tempdir().expect("a folder");
    let mut here = Side::open(context.backend, "driver", dir.path(), Limits::USUAL);
    here.listen(Class::Kv);
    (here, dir)
}

fn dialler(context: &Context, dir: &tempfile::TempDir) -> Peer {
    let mut peer = Peer::start(context.backend, context.placement);
    let dir = dir.path().display().to_string();
    peer.call(Command::Open { name: "agent".to_owned(), dir, limits: Limits::USUAL });
    peer
}

/// A peer that lives dials, and a message goes either way.
fn serves(here: &mut Side, peer: &mut Peer, dialled: u32) {
    let known = here.log.states.len();
    let text = b"from a dialler".to_vec();
    peer.begin(Command::Send { channel: dialled, message: text.clone() });
    let message = here.message();
    assert_eq!(here.bytes_of(message), text);
    here.port().release(message.slot).expect("it is held");
    let begin = Instant::now();
    while peer.answer_within(Duration::from_micros(50)).is_none() {
        here.turn();
        assert!(begin.elapsed() < 2 * here.patience, "no answer from the agent");
    }
    here.send(message.channel, b"back", known as u64);
    here.done(known as u64);
    match peer.call(Command::Messages { count: 1, release: true }) {
        Reply::Messages(all) => assert_eq!(all, [b"back"]),
        other => panic!("{other:?} for messages"),
    }
}

fn dials(here: &Side, peer: &mut Peer) -> u32 {
    match peer.call(Command::Dial { address: here.node().address(), class: 0 }) {
        Reply::Handle(dialled) => dialled,
        other => panic!("{other:?} for a channel"),
    }
}

/// Who is dialled hears nothing of it, or of a channel that breaks; the next one who dials is served.
fn dialler_killed(context: &Context) {
    let (mut here, dir) = listener(context);
    for delay_us in [0, 300, 1000, 3000, 10_000, 30_000] {
        let mut peer = dialler(context, &dir);
        let known = here.log.states.len();
        peer.begin(Command::Dial { address: here.node().address(), class: 0 });
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_micros(delay_us) {
            here.turn();
        }
        peer.kill();
        let mut next = dialler(context, &dir);
        let dialled = dials(&here, &mut next);
        serves(&mut here, &mut next, dialled);
        // Each that came up but the last has ended, and with a cause that fits.
        here.until("the ends of those of the dead", |side| {
            let states = &side.log.states[known..];
            let up = states.iter().filter(|(_, state)| matches!(state, State::Up { .. })).count();
            let over = states.iter().filter(|(_, state)| match state {
                State::Broken(cause) => {
                    assert!(matches!(cause, Cause::PeerGone | Cause::Transport { .. }), "{cause:?}");
                    true
                }
                State::Closed => panic!("nobody closes"),
                _ => false,
            });
            (up <= over.count() + 1).then_some(())
        });
    }
}

/// A dialler that is stopped holds up nobody else; when it goes on it is served as well.
fn dialler_stopped(context: &Context) {
    let (mut here, dir) = listener(context);
    for delay_us in [0, 300, 1000, 3000, 10_000] {
        let mut slow = dialler(context, &dir);
        slow.begin(Command::Dial { address: here.node().address(), class: 0 });
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_micros(delay_us) {
            here.turn();
        }
        slow.signal(Signal::STOP);
        let mut next = dialler(context, &dir);
        let dialled = dials(&here, &mut next);
        serves(&mut here, &mut next, dialled);
        slow.signal(Signal::CONT);
        let Reply::Handle(dialled) = slow.answer() else { panic!("no channel") };
        serves(&mut here, &mut slow, dialled);
    }
}
