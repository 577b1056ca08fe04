//! Asks other nodes' boards, again and again until the time is up.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::timeout};

use super::{
    MAX_KEY_BYTES, MAX_VALUE_BYTES, Published, RendezvousError,
    board::within,
    wire::{Answer, Request},
};
use crate::config::HostPort;

/// Pause before a node that is not up is asked again.
const AGAIN: Duration = Duration::from_millis(20);
/// Longest time that one request asks the node to wait.
const MAX_ASK: Duration = Duration::from_secs(30);
/// Least time for a request to be answered, however short the wait: looking takes a moment too.
const LEAST: Duration = Duration::from_secs(1);
/// What a request may take beside the time that it asks the node to wait.
const ROUND_TRIP: Duration = Duration::from_secs(10);

type Peers = BTreeMap<String, HostPort>;

pub(super) async fn fetch(
    peers: &Peers,
    node: &str,
    key: &str,
    newer_than: Option<u64>,
    wait: Duration,
) -> Result<Published, RendezvousError> {
    within("bytes of a key", key.len(), MAX_KEY_BYTES)?;
    let ask = |left: Duration| Request::Fetch {
        key: key.to_owned(),
        newer_than: newer_than.unwrap_or(0),
        wait_ms: u32::try_from(left.min(MAX_ASK).as_millis()).unwrap_or(u32::MAX),
    };
    request(peers, node, key, wait, ask).await
}

pub(super) async fn post(
    peers: &Peers,
    node: &str,
    key: &str,
    value: &[u8],
    wait: Duration,
) -> Result<(), RendezvousError> {
    within("bytes of a key", key.len(), MAX_KEY_BYTES)?;
    within("bytes of a value", value.len(), MAX_VALUE_BYTES)?;
    let ask = |_| Request::Post { key: key.to_owned(), value: value.to_vec() };
    request(peers, node, key, wait, ask).await.map(|_| ())
}

async fn request(
    peers: &Peers,
    node: &str,
    key: &str,
    wait: Duration,
    ask: impl Fn(Duration) -> Request,
) -> Result<Published, RendezvousError> {
    let Some(address) = peers.get(node) else {
        return Err(RendezvousError::UnknownNode { node: node.to_owned(), known: peers.keys().cloned().collect() });
    };
    let named = || (node.to_owned(), address.to_string(), key.to_owned());
    let started = Instant::now();
    let mut last: Option<String> = None;
    loop {
        let left = wait.saturating_sub(started.elapsed());
        // A node that has nothing says so shortly before the time is up, and is told from one that says nothing.
        let asked = (left - (left / 10).min(ROUND_TRIP / 100)).min(MAX_ASK);
        let limit = left.max(LEAST.saturating_sub(started.elapsed())).min(asked + ROUND_TRIP);
        let asking = Instant::now();
        let mut seen = "connecting, no answer";
        match timeout(limit, once(address, &ask(asked), &mut seen)).await {
            Ok(Ok(Answer::Value(value))) => return Ok(Arc::unwrap_or_clone(value)),
            Ok(Ok(Answer::Refused(why))) => {
                let (node, address, key) = named();
                return Err(RendezvousError::Refused { node, address, key, why });
            }
            Ok(Ok(Answer::Nothing)) => last = Some("the node is up and has not published it".to_owned()),
            Ok(Err(error)) => last = Some(error.to_string()),
            // An attempt that the end of the wait cut short says less than the one before it.
            Err(_) if last.is_some() && asking.elapsed() < LEAST / 2 => {}
            Err(_) => last = Some(seen.to_owned()),
        }
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            let (node, address, key) = named();
            return Err(RendezvousError::NoAnswer { node, address, key, waited: wait, last: last.unwrap_or_default() });
        }
        tokio::time::sleep(AGAIN.min(left)).await;
    }
}

/// One request. `seen` says what has been seen of the node, for when the time is up in the middle of it.
async fn once(address: &HostPort, request: &Request, seen: &mut &'static str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect((address.host(), address.port())).await?;
    *seen = "the node accepted the connection and did not answer";
    request.write(&mut stream).await?;
    Answer::read(&mut stream).await
}
