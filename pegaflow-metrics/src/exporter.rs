//! The exporter: a node's figures over HTTP, for Prometheus and for people.
//!
//! One thread, so many connections at once, so long each: a scraper that reads slowly, or never, costs a connection for a
//! while and nothing else.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::sync::{Semaphore, oneshot};

use crate::{Metrics, catalogue as is, open_metrics, snapshot::Value};

/// Connections at once.
pub const MOST_CONNECTIONS: usize = 8;
/// How long one may take, from its first byte to its last.
pub const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;

const INDEX: &str = "Pegaflow. /metrics is for Prometheus, /stats.json has the same figures with percentiles.\n";

/// Serves a node's figures until it is dropped: `GET /metrics` (OpenMetrics) and `GET /stats.json` (a
/// [`Snapshot`](crate::Snapshot)).
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
    /// A child of a fork has no such thread.
    process: u32,
}

/// How its requests ended.
#[derive(Debug, Default)]
struct Requests([AtomicU64; 4]);

const RESULTS: [&str; 4] = ["served", "unknown", "refused", "late"];
const SERVED: usize = 0;
const UNKNOWN: usize = 1;
const REFUSED: usize = 2;
const LATE: usize = 3;

impl Requests {
    fn count(&self, result: usize) {
        self.0[result].fetch_add(1, Ordering::Relaxed);
    }
}

impl Exporter {
    /// Begins to serve at `listen`; port 0 for any that is free.
    ///
    /// # Errors
    /// The address can't be listened at, or there is no thread.
    pub fn start(metrics: Metrics, listen: SocketAddr) -> io::Result<Self> {
        Self::start_with(metrics, listen, CONNECTION_LIMIT)
    }

    fn start_with(metrics: Metrics, listen: SocketAddr, limit: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, metrics, limit) => {}
                    // Dropped or told: either is the end.
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("pegaflow-figures".to_owned()).spawn(serve)?;
        Ok(Self { address, thread: Some(thread), stop: Some(stop), process: process::id() })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if self.process != process::id() {
            std::mem::forget((self.stop.take(), self.thread.take()));
            return;
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, metrics: Metrics, limit: Duration) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener).inspect_err(|error| {
        tracing::error!(%error, "figures are not exported");
    }) else {
        return;
    };
    let (room, requests) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), Arc::new(Requests::default()));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptor is free, say: it is tried again, and not at once.
                tracing::warn!(%error, "a connection for figures was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            requests.count(REFUSED);
            continue;
        };
        let (metrics, requests) = (metrics.clone(), Arc::clone(&requests));
        tokio::spawn(async move {
            let answers = Arc::clone(&requests);
            let service = service_fn(move |request| {
                let answer = answer(&request, &metrics, &answers);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(limit, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a request for figures"),
                Err(_) => requests.count(LATE),
            }
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, requests: &Requests) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let known = matches!(path, "/" | "/metrics" | "/stats.json");
    if !known {
        requests.count(UNKNOWN);
        return plain(StatusCode::NOT_FOUND, format!("no such page: {path}; there are /metrics and /stats.json\n"));
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        requests.count(UNKNOWN);
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "figures are read with GET\n".to_owned());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    requests.count(SERVED);
    if path == "/" {
        return plain(StatusCode::OK, INDEX.to_owned());
    }
    let snapshot = metrics.snapshot_with(&mut |see| {
        for (result, count) in RESULTS.iter().zip(&requests.0) {
            see(&is::SCRAPES, &[result], Value::Count(count.load(Ordering::Relaxed)));
        }
    });
    let made = if path == "/metrics" {
        open_metrics::encode(snapshot).map_err(|error| error.to_string()).map(|text| (open_metrics::CONTENT_TYPE, text))
    } else {
        serde_json::to_string(&snapshot).map_err(|error| error.to_string()).map(|text| ("application/json", text))
    };
    match made {
        Ok((kind, text)) => {
            let mut response = Response::new(Full::new(Bytes::from(text)));
            response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpStream};

    use pegaflow_core::{Node, NodeOptions};

    use super::*;

    /// Who sends nothing, or only half of a head, is ended when his time is over, and counted.
    #[test]
    fn who_takes_too_long_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = NodeOptions::new("slow");
        options.runtime_dir = folder.path().to_owned();
        let domain = pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).unwrap();
        let metrics = Metrics::new(&Node::new(domain, options).unwrap());
        let exporter = Exporter::start_with(metrics, ([127, 0, 0, 1], 0).into(), Duration::from_millis(50)).unwrap();
        let mut slow = [0; MOST_CONNECTIONS].map(|_| TcpStream::connect(exporter.local_addr()).unwrap());
        for (at, stream) in slow.iter_mut().enumerate() {
            if at % 2 == 0 {
                io::Write::write_all(stream, b"GET /met").unwrap();
            }
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // Its end, or a reset, and not the time above.
            let read = stream.read(&mut [0; 16]);
            assert!(!read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        }
        let mut stream = TcpStream::connect(exporter.local_addr()).unwrap();
        io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.contains(r#"result="late"} 8"#), "{text}");
    }
}
