//! Agents in the manner of NIXL over Pegaflow: `cargo run --release -p pegaflow --example nixl_shaped`.
//!
//! [`agent::Agent`] stands on the contract alone and shows how far it carries callers that think in descriptor lists.
//! What follows is two agents in one process, polled in turn by one thread.

mod agent;
mod descriptor;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use agent::{Agent, Request, Result, Status};
use pegaflow::{Op, Outcome, Session, config::Config};

const BYTES: usize = 64 << 10;
const BLOCK: u64 = BYTES as u64;
/// Far more than one poll copies: such a transfer is still in flight when its post returns.
const LARGE: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let config = config()?;
    let (left, right) = (Session::open(&config, "prefill")?, Session::open(&config, "decode")?);
    let (mut prefill, mut decode) = (Agent::new(left.node(), PATIENCE)?, Agent::new(right.node(), PATIENCE)?);

    let (mine, source) = prefill.allocate(4 * BLOCK + LARGE)?;
    let (theirs, target) = decode.allocate(4 * BLOCK + LARGE)?;
    prefill.register(&[mine])?;
    decode.register(&[theirs.part(0, 4 * BLOCK), theirs.part(4 * BLOCK, LARGE)])?;
    let blob = decode.metadata()?;
    let peer = prefill.load(&blob)?;
    wait(|| {
        decode.progress();
        Ok(prefill.ready(&peer))
    })?;
    println!("loaded `{peer}` from a blob of {} bytes", blob.len());

    // Descriptors 0 and 2 of here into 3 and 1 of there, told by name when they are there.
    let blocks = |whole: descriptor::Descriptor| (0..4).map(move |at| whole.part(at * BLOCK, BLOCK));
    let (here, there): (Vec<_>, Vec<_>) = (blocks(mine).collect(), blocks(theirs).collect());
    for (at, letter) in (0..4).zip(b'a'..) {
        source.write(at * BLOCK, &[letter; BYTES])?;
    }
    let lists = prefill.prepare(Op::Write, &here, &peer, &there)?;
    let mut request = prefill.make(&lists, &[0, 2], &[3, 1], Some(b"request 7 is there"));
    prefill.post(&mut request)?;
    let status = finish(&mut prefill, &request)?;
    let told = notified(&mut decode, "prefill")?;
    println!("write: {status:?}; decode was told {told:?} and has {:?}", letters(&target)?);
    assert_eq!((status, letters(&target)?.as_str()), (Status::Done, "-c-a"));

    // The same request once more, and an answer by a notification alone.
    source.write(0, &[b'A'; BYTES])?;
    prefill.post(&mut request)?;
    assert_eq!(finish(&mut prefill, &request)?, Status::Done);
    prefill.release(request);
    assert!(decode.notify("prefill", b"thank you")?);
    let answered = notified(&mut decode, "prefill")?.len() + notified_by(&mut prefill, &mut decode)?;
    println!("posted again: decode has {:?}; {answered} notifications", letters(&target)?);
    assert_eq!((letters(&target)?.as_str(), answered), ("-c-A", 2));

    // Back again: what decode has in descriptor 1 comes into 3 of here.
    let lists_back = prefill.prepare(Op::Read, &here, &peer, &there)?;
    let mut back = prefill.make(&lists_back, &[3], &[1], None);
    prefill.post(&mut back)?;
    println!("read: {:?}; prefill has {:?}", finish(&mut prefill, &back)?, letters(&source)?);
    assert_eq!(letters(&source)?, "Abcc");
    prefill.release(back);

    // Released in flight: nobody is told, and the next transfer is none the worse.
    let large = |whole: descriptor::Descriptor| [whole.part(4 * BLOCK, LARGE)];
    let lists_large = prefill.prepare(Op::Write, &large(mine), &peer, &large(theirs))?;
    let mut request = prefill.make(&lists_large, &[0], &[0], Some(b"never"));
    let posted = prefill.post(&mut request)?;
    prefill.release(request);
    wait(|| Ok(prefill.in_flight() == 0))?;
    let mut request = prefill.make(&lists, &[1], &[0], Some(b"after"));
    prefill.post(&mut request)?;
    let status = finish(&mut prefill, &request)?;
    let told = notified(&mut decode, "prefill")?;
    println!("released while {posted:?}; the next one: {status:?}, decode was told {told:?}");
    assert_eq!((posted, status, told), (Status::InProgress, Status::Done, vec!["after".to_owned()]));

    // What is wrong is refused, with the reason.
    let beyond = theirs.part(4 * BLOCK - 1, 2);
    for refused in [
        prefill.prepare(Op::Write, &here, &peer, &[beyond]).err(),
        prefill.prepare(Op::Write, &here, "nobody", &there).err(),
        prefill.register(&[mine.part(1, mine.bytes)]).err(),
        prefill.load(b"garbage").err(),
        {
            let mut bad = prefill.make(&lists, &[4], &[0], None);
            prefill.post(&mut bad).err()
        },
    ] {
        println!("refused: {}", refused.ok_or("something wrong was let pass")?);
    }

    // Invalidated with a transfer in flight: that one ends, and later ones are refused.
    let mut late = prefill.make(&lists_large, &[0], &[0], None);
    prefill.post(&mut late)?;
    prefill.invalidate(&peer)?;
    let status = finish(&mut prefill, &late)?;
    wait(|| Ok(decode.notify("prefill", b"still there?").is_err()))?;
    let refused = prefill.post(&mut request).err().ok_or("a request to a forgotten peer was let pass")?;
    println!("invalidated: {status:?}; then: {refused}");
    assert_eq!((status, prefill.ready(&peer)), (Status::Ended(Outcome::Cancelled), false));
    println!("done");
    Ok(())
}

/// Two nodes of this process. Nobody fetches from their boards: the blob goes from hand to hand.
fn config() -> Result<Config> {
    let (one, two) = (TcpListener::bind("127.0.0.1:0")?.local_addr()?, TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    let text = format!(
        "[node.prefill]\nlisten = \"{one}\"\nrole = \"prefill\"\n[node.decode]\nlisten = \"{two}\"\nrole = \"decode\"\n"
    );
    Ok(Config::parse(&text, "the example's own config")?)
}

fn wait(mut over: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !over()? {
        if Instant::now() >= until {
            return Err("nothing came of it in time".into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

fn finish(agent: &mut Agent, request: &Request) -> Result<Status> {
    wait(|| Ok(agent.status(request)? != Status::InProgress))?;
    agent.status(request)
}

/// Waits until something has come from `peer`.
fn notified(agent: &mut Agent, peer: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    wait(|| {
        let taken = agent.notifications()?.remove(peer).unwrap_or_default();
        texts.extend(taken.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
        Ok(!texts.is_empty())
    })?;
    Ok(texts)
}

/// Waits for decode's answer; decode has to be polled for it to leave.
fn notified_by(prefill: &mut Agent, decode: &mut Agent) -> Result<usize> {
    let mut count = 0;
    wait(|| {
        decode.progress();
        count += prefill.notifications()?.remove("decode").map_or(0, |taken| taken.len());
        Ok(count > 0)
    })?;
    Ok(count)
}

/// The first letter of each of the four blocks.
fn letters(region: &pegaflow::Region) -> Result<String> {
    let letter = |at: u64| {
        let mut letter = [0];
        region.read(at * BLOCK, &mut letter)?;
        Ok(if letter[0] == 0 { '-' } else { char::from(letter[0]) })
    };
    (0..4).map(letter).collect()
}
