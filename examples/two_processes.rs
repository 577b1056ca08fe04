//! Two processes, two blocks: `cargo run --release -p pegaflow --example two_processes`.
//!
//! The decode process grants its pages; the prefill process writes blocks 0 and 1 into its pages 7 and 3, then counts.

use std::time::{Duration, Instant};

use pegaflow::config::Config;
use pegaflow::{
    Access, Audience, Batch, Class, CounterId, Event, Op, Piece, Plane, Port, Session, Shape, Table, Then, Window,
};

const CONFIG: &str = r#"
    [node.prefill]
    listen = "127.0.0.1:7310"
    role = "prefill"
    [node.decode]
    listen = "127.0.0.1:7311"
    role = "decode"
    [[channel]]
    from = "prefill"
    to = "decode"
    class = "kv"
"#;
const BLOCK: u32 = 16 << 10;
const TABLE: Table<'_> = Table {
    planes: &[Plane { window: 0, offset: 0 }],
    blocks: 8,
    stride_bytes: BLOCK as u64,
    split: 1,
    split_bytes: 0,
};
const SHAPE: Shape<'_> = Shape::Paged(TABLE, &[Piece::whole(BLOCK)]);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let decode = std::env::args().any(|argument| argument == "decode");
    let session = Session::open(
        &Config::parse(CONFIG, "example")?,
        if decode { "decode" } else { "prefill" },
    )?;
    let (mut port, pool) = (session.node().port(())?, session.allocate(8 * BLOCK as u64)?);
    let (mut events, soon) = ([Event::NONE; 8], Instant::now() + Duration::from_secs(10));
    if decode {
        let channel = session.connect(&mut port, "prefill", Class::Kv)?;
        let (grant, counter) = (
            session
                .node()
                .grant(&[Window::whole(&pool)], Access::WRITE, Audience::Anyone)?,
            port.counter(channel)?,
        );
        let counter = counter.ok_or("no counter is free")?;
        session.publish("counter", counter.id().to_bits().to_le_bytes())?;
        session.publish("pages", grant.as_bytes())?;
        while counter.value() < 1 && session.waiter().wait(&mut port, &mut events, soon) > 0 {}
        let mut page = [0; BLOCK as usize];
        pool.read(7 * BLOCK as u64, &mut page)?;
        println!("decode: page 7 holds {:?}", std::str::from_utf8(&page[..5])?);
    } else {
        let mut child = std::process::Command::new(std::env::current_exe()?)
            .arg("decode")
            .spawn()?;
        let channel = session.connect(&mut port, "decode", Class::Kv)?;
        let pages = session.import(channel, "decode", "pages")?;
        let counter = CounterId::from_bits(u32::from_le_bytes(
            session.fetch("decode", "counter")?.as_slice().try_into()?,
        ));
        pool.write(0, b"hello")?;
        let plan = session
            .node()
            .plan(Op::Write, (&[Window::whole(&pool)], SHAPE), (&pages, SHAPE))?;
        let (here, there, then) = (&[0, 1], &[7, 3], Then::Count(counter));
        let _accepted = port.submit(
            channel,
            &Batch {
                plan: &plan,
                planes: 0..1,
                here,
                there,
                then,
                deadline: soon,
                tag: 1,
            },
        )?;
        while !events.iter().any(|event| matches!(event, Event::Ended { tag: 1, .. })) {
            session.waiter().wait(&mut port, &mut events, soon);
        }
        println!("prefill: {:?}, decode: {}", events[0], child.wait()?);
    }
    Ok(())
}
