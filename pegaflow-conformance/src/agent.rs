//! The peer of a case: a node and a port of its own, doing what it is told.

pub(crate) mod loops;
pub(crate) mod storm;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use pegaflow_core::{
    Audience, ChannelId, Class, Counter, CounterId, Grant, Node, Op, Port, Region, Revoking, State, Then, Window,
};

use self::storm::Storm;
use crate::{
    Backend,
    held::Held,
    protocol::{Command, Reply, What},
    side::{self, Arrived, PATIENCE, Side},
};

/// How long the agent waits for a command before it polls again, where nothing happened.
const PAUSE: Duration = Duration::from_micros(100);

/// Does commands until there are no more.
pub(crate) fn serve(backend: Backend, commands: &Receiver<Command>, mut reply: impl FnMut(Reply)) {
    let mut agent = None;
    loop {
        let command = match &mut agent {
            Some(agent) => match next(agent, commands) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            },
            None => match commands.recv() {
                Ok(command) => command,
                Err(_) => return,
            },
        };
        // A failed assertion is the driver's to report.
        let done = catch_unwind(AssertUnwindSafe(|| match (&mut agent, command) {
            (agent, Command::Open { name, dir, limits }) => {
                *agent = Some(Agent::new(Side::open(backend, &name, Path::new(&dir), limits)));
                Reply::Nothing
            }
            (Some(agent), command) => agent.execute(command),
            (None, command) => Reply::Failed(format!("{command:?} before Open")),
        }));
        reply(done.unwrap_or_else(|panic| Reply::Failed(text_of(&*panic))));
    }
}

fn next(agent: &mut Agent, commands: &Receiver<Command>) -> Result<Command, RecvTimeoutError> {
    if agent.polling && agent.side.port.is_some() {
        let busy = agent.side.turn() > 0;
        if let Some(storm) = &mut agent.storm {
            storm.blow(&mut agent.side);
        }
        commands.recv_timeout(if busy { Duration::ZERO } else { PAUSE })
    } else {
        commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }
}

/// What a panic said.
pub(crate) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

struct Agent {
    side: Side,
    polling: bool,
    channels: Vec<ChannelId>,
    regions: Handles<Region>,
    grants: Handles<Grant>,
    counters: Handles<Counter>,
    held: Vec<Arrived>,
    storm: Option<Storm>,
}

impl Agent {
    fn new(side: Side) -> Self {
        Self {
            side,
            polling: true,
            channels: Vec::new(),
            regions: Handles::default(),
            grants: Handles::default(),
            counters: Handles::default(),
            held: Vec::new(),
            storm: None,
        }
    }

    fn execute(&mut self, command: Command) -> Reply {
        match command {
            Command::Open { .. } => unreachable!("done by `serve`"),
            Command::Address => return Reply::Bytes(self.side.node().address()),
            Command::Listen { class } => self.side.listen(Class::ALL[class]),
            Command::Dial { address, class } => {
                let channel = self.side.dial(&address, Class::ALL[class]);
                return Reply::Handle(self.enter(channel));
            }
            Command::NextChannel => return self.next_channel(),
            Command::WaitEnd { channel } => {
                let state = self.side.end_of_channel(self.channel(channel));
                return Reply::Text(format!("{state:?}"));
            }
            Command::Allocate { bytes } => return Reply::Handle(self.regions.put(self.side.allocate(bytes))),
            Command::Fill { region, seed } => {
                let region = self.regions.get(region);
                region.write(0, &side::seeded(seed, region.bytes())).expect("its whole");
            }
            Command::Hash { region, start, end } => {
                return Reply::Value(side::hash(&side::read(self.regions.get(region), start, end)));
            }
            Command::Grant { windows, leave, channel } => {
                let windows: Vec<_> = windows
                    .into_iter()
                    .map(|(region, start, end)| Window::new(self.regions.get(region), start..end))
                    .collect();
                let to = channel.map_or(Audience::Anyone, |channel| Audience::Channel(self.channel(channel)));
                let grant = self.side.node().grant(&windows, leave.into(), to).expect("a grant");
                let bytes = grant.as_bytes().to_vec();
                let handle = self.grants.put(grant);
                return Reply::Grant { handle, bytes };
            }
            Command::WriteBack { channel, grant, region, counter } => self.write_back(channel, &grant, region, counter),
            Command::Counter { channel } => {
                let channel = self.channel(channel);
                if let Some(counter) = self.side.port().counter(channel).expect("a channel that is up") {
                    let bits = counter.id().to_bits();
                    let handle = self.counters.put(counter);
                    return Reply::Counter { handle, bits };
                }
            }
            Command::Value { counter } => return Reply::Value(self.counters.get(counter).value()),
            Command::Aborted { counter } => return Reply::Value(self.counters.get(counter).aborted()),
            Command::Revoke { grant, channel } => {
                let channel = self.channel(channel);
                let asked = self.side.port().revoke(self.grants.get(grant), channel, 10 * PATIENCE);
                assert_eq!(asked, Ok(Revoking::Asked));
            }
            Command::WaitRevoked { grant } => {
                let how = self.side.revoked(self.grants.get(grant).epoch(), None);
                return Reply::Text(format!("{how:?}"));
            }
            Command::WaitCounter { counter, at_least } => {
                let counter = self.counters.get(counter);
                let value = self.side.until(&format!("a counter to be {at_least}"), |_| {
                    Some(counter.value()).filter(|value| *value >= at_least)
                });
                return Reply::Value(value);
            }
            Command::Messages { count, release } => return self.messages(count, release),
            Command::Release { count } => {
                for message in self.held.drain(..count) {
                    self.side.port().release(message.slot).expect("it is held");
                }
            }
            Command::Send { channel, message } => {
                let channel = self.channel(channel);
                // Dialled from here it may be up there only, so far.
                self.side.up(channel);
                self.side.send(channel, &message, u64::MAX);
                let ends = self.side.log.ends.len();
                self.side.until("the end of a message", |side| (side.log.ends.len() > ends).then_some(()));
            }
            Command::Close { channel } => {
                let channel = self.channel(channel);
                self.side.port().close(channel).expect("a channel of this port");
            }
            Command::Storm { channel, grant, block_bytes, counter } => {
                let channel = self.channel(channel);
                self.storm = Some(Storm::new(&mut self.side, channel, &grant, (block_bytes, counter)));
            }
            Command::Pull { channel, grant, block_bytes } => {
                let channel = self.channel(channel);
                self.storm = Some(match grant {
                    Some(grant) => Storm::of_reads(&mut self.side, channel, &grant, block_bytes),
                    None => Storm::of_messages(&self.side, channel),
                });
            }
            Command::Calm => {
                let storm = self.storm.take().expect("a storm");
                return Reply::Value(storm.calm(&mut self.side));
            }
            Command::StormIs => {
                let storm = self.storm.as_ref().expect("a storm");
                return Reply::Text(storm.state().to_owned());
            }
            Command::LimitDescriptors { to } => return Reply::Value(crate::sys::limit_descriptors(to)),
            Command::LimitMemory { beyond } => crate::sys::limit_memory(beyond),
            Command::ProcessorTime => return Reply::Value(crate::sys::processor_time_ms()),
            Command::Held => {
                // Waits for the reaper.
                drop(self.side.allocate(64));
                return Reply::Held(Held::now());
            }
            Command::Drop(what) => self.drop(what),
            Command::Polling(on) => self.polling = on,
            Command::Tally => return Reply::Tally(self.side.tally()),
            Command::Watch { channel, region, slots, slot_bytes, counter } => {
                let channel = self.channel(channel);
                let counter = counter.map(|counter| self.counters.get(counter));
                let region = self.regions.get(region);
                return Reply::Value(loops::watch(&mut self.side, channel, region, (slots, slot_bytes), counter));
            }
            Command::Echo { channel, rounds, grant, counter } => {
                let channel = self.channel(channel);
                loops::echo(&mut self.side, channel, rounds, &grant, CounterId::from_bits(counter));
            }
            Command::Outlive => return Reply::Value(crate::sys::start_shadow().expect("a process").into()),
            Command::Fork => return Reply::Value(crate::sys::start_child().expect("a child").into()),
            Command::Steady { messages, warm } => {
                return Reply::Value(loops::steady(&mut self.side, messages, warm));
            }
        }
        Reply::Nothing
    }

    fn channel(&self, handle: u32) -> ChannelId {
        self.channels[handle as usize]
    }

    fn enter(&mut self, channel: ChannelId) -> u32 {
        self.channels.push(channel);
        u32::try_from(self.channels.len() - 1).expect("few channels")
    }

    fn next_channel(&mut self) -> Reply {
        let known = &self.channels;
        let (channel, epoch) = self.side.until("a peer to dial", |side| {
            let up = side.log.states.iter().filter_map(|(channel, state)| match state {
                State::Up { epoch } if !known.contains(channel) => Some((*channel, *epoch)),
                _ => None,
            });
            up.min()
        });
        let handle = self.enter(channel);
        Reply::Channel { handle, epoch }
    }

    fn messages(&mut self, count: usize, release: bool) -> Reply {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let message = self.side.message();
            all.push(self.side.bytes_of(message));
            if release {
                self.side.port().release(message.slot).expect("it is held");
            } else {
                self.held.push(message);
            }
        }
        Reply::Messages(all)
    }

    fn write_back(&mut self, channel: u32, grant: &[u8], region: u32, counter: Option<u32>) {
        let channel = self.channel(channel);
        let remote = self.side.node().import(channel, grant, PATIENCE).expect("an import");
        let region = self.regions.get(region);
        let bytes = u32::try_from(region.bytes()).expect("a block");
        let plan = self.side.blocks(Op::Write, region, &remote, bytes, 1);
        let then = counter.map_or(Then::Nothing, |bits| Then::Count(CounterId::from_bits(bits)));
        self.side.submit(channel, &plan, &[0], then, u64::MAX - 1);
        self.side.done(u64::MAX - 1);
    }

    fn drop(&mut self, what: What) {
        match what {
            What::Region(handle) => drop(self.regions.take(handle)),
            What::Grant(handle) => drop(self.grants.take(handle)),
            What::Counter(handle) => drop(self.counters.take(handle)),
            What::Port => self.side.port = None,
            What::Node => drop::<Option<Node>>(self.side.node.take()),
        }
    }
}

/// Values by position; a dropped one leaves its place empty.
struct Handles<T>(Vec<Option<T>>);

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Handles<T> {
    fn put(&mut self, value: T) -> u32 {
        self.0.push(Some(value));
        u32::try_from(self.0.len() - 1).expect("few handles")
    }

    fn get(&self, handle: u32) -> &T {
        self.0[handle as usize].as_ref().expect("dropped before")
    }

    fn take(&mut self, handle: u32) -> Option<T> {
        self.0[handle as usize].take()
    }
}
