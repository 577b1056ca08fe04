//! What the same work is compared with: the near side's part, and the far side's.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use pegaflow::{Session, config::BackendName, rdma_rail};
use pegaflow_bench::program::{self, Program};

use super::{
    args::Rival,
    end::End,
    job::{Job, Op, Word},
    moving::{self, nanoseconds},
    pool::{Lists, Pool},
    raw,
};
use crate::{Failure, line::PATIENCE};

/// Where the far side listens for the socket.
const SOCKET: &str = "bench/socket";
/// How long a program may run.
const PROGRAM_LIMIT: Duration = Duration::from_secs(100);
/// How often a program is run that succeeds and gives no figure: perftest says `inf` where it could not find out how fast the
/// processor's clock is, as happens on busy virtual machines.
const TRIES: u32 = 20;
/// Most bytes of block ids that are under way at once: fewer than any connection holds, so that neither side waits for the
/// other to read.
const IDS_UNDER_WAY: usize = 64 << 10;

/// What a rival's slice came to: seconds, or the median latency in microseconds where that is compared.
pub(super) type Figure = f64;

/// The rival's program for an operation, and Debian's package that has it; `None` where it is none.
pub(super) fn program(rival: Rival, op: Op) -> Option<(&'static str, &'static str)> {
    match (rival, op) {
        (Rival::Memcpy | Rival::Socket, _) => None,
        (Rival::Perftest, Op::Write) => Some(("ib_write_bw", "perftest")),
        (Rival::Perftest, Op::Read) => Some(("ib_read_bw", "perftest")),
        (Rival::Perftest, Op::Count | Op::Message) => Some(("ib_write_lat", "perftest")),
        (Rival::UcxPerftest, _) => Some(("ucx_perftest", "ucx-utils")),
    }
}

/// Fails where a program that is needed is not there.
pub(super) fn check_installed(rival: Rival, op: Op) -> Result<(), Failure> {
    match program(rival, op) {
        Some((name, package)) if !program::is_installed(name) => {
            Err(format!("{name} is not installed: it is in Debian's package {package} (apt install {package})").into())
        }
        _ => Ok(()),
    }
}

/// The near side's part.
pub(super) struct Near {
    rival: Rival,
    here: Lists,
    there: Lists,
    stream: Option<TcpStream>,
    receiver: raw::Receiver,
    bytes: Vec<u8>,
}

impl Near {
    pub(super) fn new(session: &Session, job: &Job, rival: Rival) -> Result<Self, Failure> {
        check_installed(rival, job.op)?;
        let stream = match rival {
            Rival::Socket => {
                let address: SocketAddr = String::from_utf8(session.fetch(&job.far, SOCKET)?)?.parse()?;
                let stream = TcpStream::connect_timeout(&address, session.patience())
                    .map_err(|error| format!("the rival's connection to {address}: {error}"))?;
                Some(patient(stream)?)
            }
            _ => None,
        };
        let (here, there) = (Lists::new(job, 2), Lists::new(job, 3));
        Ok(Self { rival, here, there, stream, receiver: raw::Receiver::new(job), bytes: Vec::new() })
    }

    /// As much work as so many of our transfers.
    pub(super) fn slice(
        &mut self,
        session: &Session,
        end: &mut End,
        job: &Job,
        transfers: u64,
    ) -> Result<Figure, Failure> {
        match self.rival {
            Rival::Memcpy => {
                let (here, there) = (self.here.fresh(transfers)?, self.there.fresh(transfers)?);
                let time = raw::copy(job, &end.pool, end.remote()?, here, there).ok_or_else(|| {
                    let backend = session.config().backend;
                    format!("--against memcpy: backend {backend} does not map the peer's memory, so that no thread here can copy there; socket is a rival on every backend")
                })?;
                Ok(time.as_secs_f64())
            }
            Rival::Socket => {
                end.line.say(&Word::Rival(transfers))?;
                let Word::RivalReady(_) = end.line.next_word()? else { return Err("the peer is out of step".into()) };
                let figure = self.socket(&end.pool, job, transfers)?;
                end.line.say(&Word::RivalEnd)?;
                Ok(figure)
            }
            Rival::Perftest | Rival::UcxPerftest => {
                let mut tries = TRIES;
                loop {
                    let said = run_program(session, end, job, transfers)?;
                    tries -= 1;
                    match read(self.rival, job, transfers, &said) {
                        Err(error) if tries > 0 => tracing::warn!(%error, tries, "the rival is run again"),
                        figure => return figure,
                    }
                }
            }
        }
    }

    fn socket(&mut self, pool: &Pool, job: &Job, transfers: u64) -> Result<Figure, Failure> {
        let mut stream = self.stream.as_ref().ok_or("the rival is not connected")?;
        let mut ack = [0];
        if !job.op.moves() {
            let mut message = vec![0; ping_bytes(job)];
            let mut latency = moving::histogram()?;
            for _ in 0..transfers {
                let begun = Instant::now();
                stream.write_all(&message)?;
                stream.read_exact(&mut message)?;
                latency.saturating_record(nanoseconds(begun.elapsed() / 2));
            }
            return Ok(micros(&latency, 0.5));
        }
        let blocks = job.blocks as usize;
        let (here, there) = (self.here.fresh(transfers)?, self.there.fresh(transfers)?);
        let mut lists = here.chunks_exact(blocks).zip(there.chunks_exact(blocks));
        let begun = Instant::now();
        if job.op == Op::Write {
            let mut under_way = 0;
            for (here, there) in lists {
                if under_way == job.depth {
                    stream.read_exact(&mut ack)?;
                    under_way -= 1;
                }
                stream.write_all(encode(there, &mut self.bytes))?;
                raw::send(stream, job, pool, here)?;
                under_way += 1;
            }
            for _ in 0..under_way {
                stream.read_exact(&mut ack)?;
            }
        } else {
            let depth = (job.depth as usize).min((IDS_UNDER_WAY / (4 * blocks)).max(1));
            let mut asked = std::collections::VecDeque::with_capacity(depth);
            loop {
                while asked.len() < depth
                    && let Some((here, there)) = lists.next()
                {
                    stream.write_all(encode(there, &mut self.bytes))?;
                    asked.push_back(here);
                }
                let Some(here) = asked.pop_front() else { break };
                self.receiver.receive(stream, job, pool, here)?;
            }
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// Runs the rival's program as client of the far side's; gives what it said.
fn run_program(session: &Session, end: &mut End, job: &Job, transfers: u64) -> Result<String, Failure> {
    end.line.say(&Word::Rival(transfers))?;
    let Word::RivalReady(port) = end.line.next_word()? else { return Err("the peer is out of step".into()) };
    let far = session.config().node(&job.far)?.listen.to_string();
    let host = far.rsplit_once(':').map_or(far.as_str(), |(host, _)| host);
    let said = Program::start(command(session, job, transfers, port, Some(host))?)?.output(PROGRAM_LIMIT)?;
    end.line.say(&Word::RivalEnd)?;
    Ok(said)
}

/// The far side's part.
pub(super) struct Far {
    rival: Rival,
    listener: Option<TcpListener>,
    stream: Option<TcpStream>,
    receiver: raw::Receiver,
}

impl Far {
    /// Before the near side's, which looks for it.
    pub(super) fn new(session: &Session, job: &Job, rival: Rival) -> Result<Self, Failure> {
        check_installed(rival, job.op)?;
        let listener = match rival {
            Rival::Socket => {
                let ip: IpAddr = session.board().local_addr().ip();
                let listener = TcpListener::bind((ip, 0))?;
                session.publish(SOCKET, listener.local_addr()?.to_string())?;
                Some(listener)
            }
            _ => None,
        };
        Ok(Self { rival, listener, stream: None, receiver: raw::Receiver::new(job) })
    }

    /// Serves one slice.
    pub(super) fn slice(&mut self, session: &Session, end: &mut End, job: &Job, transfers: u64) -> Result<(), Failure> {
        match self.rival {
            Rival::Memcpy => Err("memcpy asks nothing of the far side".into()),
            Rival::Socket => {
                if let Some(listener) = self.listener.take() {
                    self.stream = Some(patient(listener.accept()?.0)?);
                }
                end.line.say(&Word::RivalReady(0))?;
                // It leaves only once the port is moved on.
                end.line.poll()?;
                self.socket(&end.pool, job, transfers)?;
                end.line.hear(&Word::RivalEnd)
            }
            Rival::Perftest | Rival::UcxPerftest => {
                let port = program::free_port()?;
                let mut server = Program::start(command(session, job, transfers, port, None)?)?;
                server.listening(port)?;
                end.line.say(&Word::RivalReady(port))?;
                end.line.hear(&Word::RivalEnd)?;
                server.output(PROGRAM_LIMIT)?;
                Ok(())
            }
        }
    }

    fn socket(&mut self, pool: &Pool, job: &Job, transfers: u64) -> Result<(), Failure> {
        let mut stream = self.stream.as_ref().ok_or("the rival is not connected")?;
        if !job.op.moves() {
            let mut message = vec![0; ping_bytes(job)];
            for _ in 0..transfers {
                stream.read_exact(&mut message)?;
                stream.write_all(&message)?;
            }
            return Ok(());
        }
        let mut bytes = vec![0; 4 * job.blocks as usize];
        let mut ids = vec![0; job.blocks as usize];
        for _ in 0..transfers {
            stream.read_exact(&mut bytes)?;
            for (id, bytes) in ids.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *id = u32::from_le_bytes(*bytes);
            }
            if job.op == Op::Write {
                self.receiver.receive(stream, job, pool, &ids)?;
                stream.write_all(&[1])?;
            } else {
                raw::send(stream, job, pool, &ids)?;
            }
        }
        Ok(())
    }
}

/// A connection whose small writes leave at once, and that does not wait for ever.
fn patient(stream: TcpStream) -> Result<TcpStream, Failure> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn encode<'a>(ids: &[u32], bytes: &'a mut Vec<u8>) -> &'a [u8] {
    bytes.clear();
    bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    bytes
}

/// What goes there and back; a count is 8 bytes in memory.
fn ping_bytes(job: &Job) -> usize {
    if job.op == Op::Message { job.block_bytes as usize } else { 8 }
}

/// A quantile of a histogram of nanoseconds.
pub(super) fn micros(latency: &Histogram<u64>, quantile: f64) -> f64 {
    Duration::from_nanos(latency.value_at_quantile(quantile)).as_secs_f64() * 1e6
}

/// Messages that a program is to send for so many transfers; it takes whole chains only.
fn messages(job: &Job, transfers: u64, chain: u64) -> u64 {
    let messages = if job.op.moves() { transfers * u64::from(job.blocks) } else { transfers };
    // ib_write_bw wants five at least.
    messages.max(16).next_multiple_of(chain)
}

fn size(job: &Job) -> u64 {
    if job.op.moves() { job.block_bytes.into() } else { ping_bytes(job) as u64 }
}

/// How the program is called, as server or to reach one at `host`.
fn command(session: &Session, job: &Job, transfers: u64, port: u16, host: Option<&str>) -> Result<Command, Failure> {
    let rival = job.rival.ok_or("no rival")?;
    let (name, _) = program(rival, job.op).ok_or("a rival that is no program")?;
    let mut command = Command::new(name);
    let size = size(job).to_string();
    if rival == Rival::Perftest {
        let config = &session.config().transport.rdma;
        let rail = rdma_rail(session.config())?;
        command.args(["--ib-dev", &rail.device, "--ib-port", &rail.port.to_string()]);
        command.args(["--gid-index", &rail.gid.to_string(), "--size", &size, "--port", &port.to_string()]);
        // No look at the processor's clock.
        command.arg("--CPU-freq");
        if job.op.moves() {
            // The depth and the chains of our queue pairs. It refuses fewer completions than one a chain.
            let chain = config.chain.to_string();
            let count = messages(job, transfers, config.chain.into());
            command.args(["--iters", &count.to_string(), "--tx-depth", &config.send_depth.to_string()]);
            command.args(["--post_list", &chain, "--cq-mod", &chain, "--noPeak"]);
        } else {
            command.args(["--iters", &messages(job, transfers, 1).to_string()]);
        }
        command.args(host);
        return Ok(command);
    }
    command.args(["-p", &port.to_string()]);
    if let Some(host) = host {
        let test = match job.op {
            Op::Write => "ucp_put_bw",
            Op::Read => "ucp_get",
            Op::Count | Op::Message => "ucp_am_lat",
        };
        let count = messages(job, transfers, 1).to_string();
        command.args(["-t", test, "-s", &size, "-n", &count, "-w", "100", "-f", host]);
        if job.op.moves() {
            let depth = u64::from(job.blocks) * u64::from(job.depth);
            command.args(["-O", &depth.min(1024).to_string()]);
        }
    }
    let over = if session.config().backend == BackendName::Shm { "posix,sysv,cma" } else { "tcp" };
    command.env("UCX_TLS", over);
    Ok(command)
}

/// The figure in what the program said.
fn read(rival: Rival, job: &Job, transfers: u64, said: &str) -> Result<Figure, Failure> {
    let size = size(job);
    let rate = match rival {
        Rival::Perftest if job.op.moves() => program::perftest_bytes_per_second(said, size),
        Rival::Perftest => return program::perftest_median_us(said, size).ok_or_else(|| unread(said)),
        _ => {
            let (rate, median_us) = program::ucx_rate_and_median_us(said).ok_or_else(|| unread(said))?;
            if !job.op.moves() {
                return Ok(median_us);
            }
            #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
            Some(rate * size as f64)
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
    let bytes = (transfers * job.transfer_bytes()) as f64;
    Ok(bytes / rate.ok_or_else(|| unread(said))?)
}

fn unread(said: &str) -> Failure {
    format!("no figure in what the rival said:\n{said}").into()
}
