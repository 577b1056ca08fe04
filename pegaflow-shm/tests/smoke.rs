//! to be replaced
use std::time::{Duration, Instant};
use pegaflow_core::*;
#[test]
fn oneself() {
    let dir = std::env::temp_dir().join(format!("pf-{}", std::process::id()));
    let mut options = NodeOptions::new("me");
    options.runtime_dir = dir;
    let node = Node::new(pegaflow_shm::open(&Default::default()).unwrap(), options).unwrap();
    let mut port = node.port(()).unwrap();
    port.listen(Class::Kv).unwrap();
    let ch = port.dial(&node.address(), Class::Kv, Duration::from_secs(5)).unwrap();
    let mut events = [Event::Counters { channel: ch }; 16];
    let mut ups = vec![];
    let t = Instant::now();
    while ups.len() < 2 && t.elapsed() < Duration::from_secs(5) {
        for e in 0..port.poll(&mut events) { println!("{:?}", events[e]); if let Event::Channel { channel, state: State::Up { .. } } = events[e] { ups.push(channel) } }
    }
    let other = *ups.iter().find(|c| **c != ch).unwrap();
    let a = node.allocate(1 << 20, &AllocateOptions::default()).unwrap();
    let b = node.allocate(1 << 20, &AllocateOptions::default()).unwrap();
    a.write(0, &[7; 4096]).unwrap();
    let grant = node.grant(&[Window::whole(&b)], Access::WRITE, Audience::Anyone).unwrap();
    let remote = node.import(ch, grant.as_bytes(), Duration::from_secs(5)).unwrap();
    let planes = [Plane { window: 0, offset: 0 }];
    let table = Table { planes: &planes, blocks: 256, stride_bytes: 4096, split: 1, split_bytes: 0 };
    let pieces = [Piece::whole(4096)];
    let plan = node.plan(Op::Write, (&[Window::whole(&a)], Shape::Paged(table, &pieces)), (&remote, Shape::Paged(table, &pieces))).unwrap();
    let counter = port.counter(other).unwrap().unwrap();
    let s = port.submit(ch, &Batch { plan: &plan, planes: 0..1, here: &[0], there: &[9], then: Then::Count(counter.id()), deadline: Instant::now() + Duration::from_secs(5), tag: 5 }).unwrap();
    println!("{s:?}");
    assert!(matches!(port.send(ch, b"hello", Instant::now() + Duration::from_secs(1), 6).unwrap(), Submitted::Accepted(_)));
    let mut done = 0;
    while done < 4 && t.elapsed() < Duration::from_secs(5) {
        for e in 0..port.poll(&mut events) { println!("{:?}", events[e]); done += 1; if let Event::Message { slot, .. } = events[e] { assert_eq!(port.message(slot).unwrap(), b"hello"); port.release(slot).unwrap(); } }
    }
    assert_eq!(counter.value(), 1);
    let mut got = [0; 4096]; b.read(9 * 4096, &mut got).unwrap();
    assert_eq!(got, [7; 4096]);
    println!("{:?}", port.arm());
}
