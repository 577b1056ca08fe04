//! Rivals that are programs of their own: perftest's and UCX's. Each is started on both sides, the server first, and tells
//! its figures on standard output.

use std::{
    env, fs,
    io::{self, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::sys::child::end_with_starter;

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);

/// Whether the shell would find `name`.
#[must_use]
pub fn is_installed(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// A TCP port of this host that nobody has; whoever is told so must be quick to take it.
///
/// # Errors
/// None is free.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("0.0.0.0:0")?.local_addr()?.port())
}

/// Whether somebody listens on a TCP port of this host, without disturbing him: by proc(5), /proc/net/tcp. A program that
/// takes one connection would take a trial for its client.
#[must_use]
pub fn listens(port: u16) -> bool {
    let ending = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (local, _, state) = (words.next(), words.next(), words.next());
            local.is_some_and(|local| local.ends_with(&ending)) && state == Some("0A")
        })
    })
}

/// A process that does not outlive this one's interest, nor the thread that started it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
}

impl Program {
    /// Starts `command`; what it says on standard output is kept for [`output`](Self::output), what it complains of goes
    /// with it.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        end_with_starter(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Ok(Self { child: child.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?, name })
    }

    /// Waits until it listens on `port`.
    ///
    /// # Errors
    /// It has ended, or does not listen within half a minute.
    pub fn listening(&mut self, port: u16) -> io::Result<()> {
        let begun = Instant::now();
        while !listens(port) {
            if self.child.try_wait()?.is_some() {
                return self.output(Duration::ZERO).and(Err(io::Error::other(format!("{} ended", self.name))));
            }
            if begun.elapsed() > START_LIMIT {
                return Err(io::Error::other(format!("{} does not listen within {START_LIMIT:?}", self.name)));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits for its end and gives what it said. It says a page at most, which a pipe holds.
    ///
    /// # Errors
    /// It failed, with what it said; or it still runs after `limit`.
    pub fn output(&mut self, limit: Duration) -> io::Result<String> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if begun.elapsed() > limit {
                return Err(io::Error::other(format!("{} runs longer than {limit:?}", self.name)));
            }
            thread::sleep(LOOK);
        };
        let (mut said, mut complaints) = (String::new(), String::new());
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut said)?;
        }
        if let Some(mut err) = self.child.stderr.take() {
            err.read_to_string(&mut complaints)?;
        }
        if status.success() {
            return Ok(said);
        }
        // The last words are the reason; before them they show their settings.
        let all = format!("{said}\n{complaints}");
        let last: Vec<&str> = all.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = last[last.len().saturating_sub(4)..].join("; ");
        Err(io::Error::other(format!("{}: {status}: {last}", self.name)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The bytes a second that `ib_write_bw` or `ib_read_bw` says in its table: the average in MiB/s, which is the fourth
/// column of the row that begins with the size.
#[must_use]
pub fn perftest_bytes_per_second(said: &str, size: u64) -> Option<f64> {
    Some(column(said, size, 3)? * f64::from(1 << 20))
}

/// The median in microseconds that `ib_write_lat` says: `t_typical`, the fifth column. It is half of the time there and
/// back.
#[must_use]
pub fn perftest_median_us(said: &str, size: u64) -> Option<f64> {
    column(said, size, 4)
}

fn column(said: &str, size: u64, number: usize) -> Option<f64> {
    let size = size.to_string();
    let row = said.lines().find(|line| line.split_whitespace().next() == Some(&size))?;
    row.split_whitespace().nth(number)?.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0)
}

/// What `ucx_perftest -f` says at the end: messages a second over the whole run, and the median in microseconds.
#[must_use]
pub fn ucx_rate_and_median_us(said: &str) -> Option<(f64, f64)> {
    let row = said.lines().rev().find(|line| line.split_whitespace().count() == 8)?;
    let numbers: Vec<f64> = row.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [_, median, .., rate] = numbers[..] else {
        return None;
    };
    (numbers.len() == 8 && rate > 0.0).then_some((rate, median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_perftest_says() {
        let bandwidth = "\
 #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
 65536      2048             0.00               49.19              0.000787
---------------------------------------------------------------------------------------";
        assert_eq!(perftest_bytes_per_second(bandwidth, 65536), Some(49.19 * 1_048_576.0));
        assert_eq!(perftest_bytes_per_second(bandwidth, 4096), None);
        let latency = "\
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]
 64      1000          9.21           79.65        10.02               10.60             2.90            22.05";
        assert_eq!(perftest_median_us(latency, 64), Some(10.02));
    }

    #[test]
    fn figures_are_found_in_what_ucx_says() {
        let said = "\
|     Test     | # iterations | 50.0%ile | average | overall |  average |  overall |  average  |  overall  |
+--------------+--------------+----------+---------+---------+----------+----------+-----------+-----------+
                       20000      2.785    14.176    14.176     1102.18    1102.18       70540       70541
";
        assert_eq!(ucx_rate_and_median_us(said), Some((70541.0, 2.785)));
        assert_eq!(ucx_rate_and_median_us("Waiting for connection...\n"), None);
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo settings; echo 'no such device' >&2; exit 3"]);
        let error = Program::start(command).unwrap().output(Duration::from_secs(20)).unwrap_err().to_string();
        assert!(error.contains("sh: exit status: 3") && error.contains("no such device"), "{error}");
        assert!(is_installed("sh") && !is_installed("no-such-program"));
    }

    /// This process starts itself anew, and that one a program, and then ends without a word to it.
    #[test]
    fn a_program_ends_with_its_starter() {
        const STARTER: &str = "PEGAFLOW_TEST_STARTER";
        if env::var_os(STARTER).is_some() {
            let mut sleep = Command::new("sleep");
            sleep.arg("600");
            let program = Program::start(sleep).unwrap();
            println!("program {}", program.child.id());
            // No drop is run.
            std::process::abort();
        }
        let test = "program::tests::a_program_ends_with_its_starter";
        let mut starter = Command::new(env::current_exe().unwrap());
        let said = starter.args(["--exact", test, "--nocapture"]).env(STARTER, "1").output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let (_, number) = said.split_once("program ").unwrap_or_else(|| panic!("no program was started: {said}"));
        let number: u32 = number.split_whitespace().next().unwrap().parse().unwrap();
        // Gone, or dead and nobody's.
        let runs = || {
            let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
        };
        assert!(
            (0..600).any(|_| !runs() || (thread::sleep(Duration::from_millis(50)), false).1),
            "{number} still runs"
        );
    }

    #[test]
    fn who_listens_is_seen() {
        let port = free_port().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port));
        // Somebody else may have been quicker; then somebody listens too.
        assert!(listens(port) || listener.is_err());
    }
}
