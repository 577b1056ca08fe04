//! Serves a board.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::{
    Inner, Published,
    wire::{Answer, Request},
};

/// Most connections at once; others wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// Longest time that a request may take to come, or an answer to go.
const FRAME_TIME: Duration = Duration::from_secs(10);
/// Longest time that a fetch waits here; the client asks again.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Most KiB of values that are on their way in at once; others wait until they are on the board, which has its own
/// bound.
const MAX_INCOMING_KIB: usize = 64 << 10;
/// Longest time that a refused client is listened to, so that it gets to read why.
const LINGER: Duration = Duration::from_secs(1);

pub(super) async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the board can't be served");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let room = Arc::new(Semaphore::new(MAX_INCOMING_KIB));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (inner, room) = (Arc::clone(&inner), Arc::clone(&room));
                tokio::spawn(async move {
                    if let Err(error) = one(stream, &inner, &room).await {
                        tracing::debug!(%peer, %error, "a rendezvous connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a rendezvous connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn one(mut stream: TcpStream, inner: &Inner, room: &Semaphore) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let request = Request::read(&mut stream, room);
    let answer = match timeout(FRAME_TIME, request).await.map_err(late)? {
        Ok(Request::Fetch { key, newer_than, wait_ms }) => {
            let wait = Duration::from_millis(wait_ms.into()).min(MAX_WAIT);
            let mut more = [0];
            tokio::select! {
                found = inner.board.get(&key, newer_than, wait) => found.map_or(Answer::Nothing, Answer::Value),
                // A client that left does not keep its place until the wait is over.
                read = stream.read(&mut more) => match read? {
                    0 => return Ok(()),
                    _ => Answer::Refused("more than one request".to_owned()),
                },
            }
        }
        Ok(Request::Post { key, value }) => match inner.board.put(&key, value) {
            Ok(version) => Answer::Value(Arc::new(Published { version, bytes: Vec::new() })),
            Err(error) => Answer::Refused(error.to_string()),
        },
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Answer::Refused(error.to_string()),
        Err(error) => return Err(error),
    };
    timeout(FRAME_TIME, answer.write(&mut stream)).await.map_err(late)??;
    if matches!(answer, Answer::Refused(_)) {
        // Closing with bytes unread would reset the connection, and the reason with it.
        stream.shutdown().await?;
        let _ = timeout(LINGER, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    }
    Ok(())
}
