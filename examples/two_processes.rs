//! Two processes, two blocks: `cargo run --release -p pegaflow --example two_processes`.

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use pegaflow::{config::Config, *};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/pegaflow.toml");
const BLOCK: u32 = 16 << 10;
const PLANES: &[Plane] = &[Plane { window: 0, offset: 0 }];
const SHAPE: Shape<'_> = Shape::Paged(Table::plain(PLANES, 8, BLOCK as u64), &[Piece::whole(BLOCK)]);

fn main() -> Result<(), Box<dyn Error>> {
    let decode = std::env::args().any(|argument| argument == "decode");
    let session = Session::open(&Config::load(CONFIG)?, if decode { "decode" } else { "prefill" })?;
    let pool = session.allocate(8 * u64::from(BLOCK))?;
    if decode { receive(&session, &pool) } else { send(&session, &pool) }
}

/// Grants its pages, and waits until somebody has counted.
fn receive(session: &Session, pool: &Region) -> Result<(), Box<dyn Error>> {
    let (mut port, mut events) = (session.node().port(())?, [Event::NONE; 8]);
    let channel = session.connect(&mut port, "prefill", Class::Kv)?;
    let counter = port.counter(channel)?.ok_or("no counter is free")?;
    let grant = session.node().grant(&[Window::whole(pool)], Access::WRITE, Audience::Channel(channel))?;
    session.publish("counter", counter.id().to_bits().to_le_bytes())?;
    session.publish("pages", grant.as_bytes())?;
    while counter.value() < 1 && session.waiter().wait(&mut port, &mut events, soon()) > 0 {}
    let mut word = [0; 5];
    pool.read(7 * u64::from(BLOCK), &mut word)?;
    println!("decode: page 7 begins with {:?}", std::str::from_utf8(&word)?);
    Ok(())
}

/// Writes its blocks 0 and 1 into the pages 7 and 3, then counts.
fn send(session: &Session, pool: &Region) -> Result<(), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?).arg("decode").spawn()?;
    let (mut port, mut events) = (session.node().port(())?, [Event::NONE; 8]);
    let channel = session.connect(&mut port, "decode", Class::Kv)?;
    let pages = session.import(channel, "decode", "pages")?;
    let counter = CounterId::from_bits(u32::from_le_bytes(session.fetch("decode", "counter")?.as_slice().try_into()?));
    pool.write(0, b"hello")?;
    let plan = session.node().plan(Op::Write, (&[Window::whole(pool)], SHAPE), (&pages, SHAPE))?;
    let (here, there, then, deadline) = (&[0, 1], &[7, 3], Then::Count(counter), soon());
    let batch = Batch { plan: &plan, planes: 0..1, here, there, then, deadline, tag: 1 };
    assert!(matches!(port.submit(channel, &batch)?, Submitted::Accepted(_)));
    let ended = loop {
        session.waiter().wait(&mut port, &mut events, soon());
        if let Some(ended) = events.iter().find(|event| matches!(event, Event::Ended { tag: 1, .. })) {
            break *ended;
        }
    };
    println!("prefill: {ended:?}; decode: {}", child.wait()?);
    Ok(())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}
