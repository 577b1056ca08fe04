//! The chores as they are typed, against stand-ins for the programs that they call.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder that is the whole search path of the chore under test. Each stand-in in it writes its name and its
/// arguments to a journal.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Puts a program there that does `body`, in the words of /bin/sh, after its line in the journal. It is a link to
    /// one script that nobody writes: a program that is open for writing in any process can't be started.
    pub(crate) fn with(self, program: &str, body: &str) -> Self {
        fs::write(self.path(&format!("{program}.body")), body).expect("what a stand-in does");
        symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand-in"), self.path(program)).expect("a stand-in");
        self
    }

    /// The usual ones: a cargo that does `cargo`, a current rustc, a C linker.
    fn complete(cargo: &str) -> Self {
        Self::new().with("cargo", cargo).with("rustc", RUSTC).with("cc", "")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn xtask(&self, arguments: &[&str], require: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            .env("CARGO", self.path("cargo"))
            .env("PATH", self.folder.path())
            .env("PEGAFLOW_REQUIRE", require)
            .output()
            .expect("xtask starts")
    }

    /// What ran, in order, without the questions after versions.
    pub(crate) fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("journal")).unwrap_or_default();
        text.lines().filter(|line| !line.ends_with("--version")).map(str::to_owned).collect()
    }
}

const RUSTC: &str = "echo 'rustc 1.999.0 (0000000 2030-01-01)'";
const HOST_TESTS: &str = "cargo test --workspace --all-features --locked";

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn test_runs_the_host_tests_and_shows_what_it_skips() {
    let bench = Bench::complete("echo 'test result: ok.'");
    let output = bench.xtask(&["test"], "shm");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(bench.journal(), [HOST_TESTS]);

    let shown = stdout(&output);
    assert!(shown.contains("1.999.0"), "the needs come with what was found: {shown}");
    assert!(shown.contains("test result: ok."), "cargo's own output passes through: {shown}");
    let skips: Vec<&str> = shown.lines().filter(|line| line.starts_with("SKIPPED: ")).collect();
    assert_eq!(skips.len(), 4, "{shown}");
    assert!(skips.iter().any(|line| line.contains("a real Prometheus") && line.contains("no apt-get")), "{shown}");
    assert!(skips.iter().any(|line| line.contains("UCX") && line.contains("not built yet")), "{shown}");
    for hosts in ["a virtual", "two virtual"] {
        let of = |line: &&str| line.contains(&format!("rdma suite on {hosts}")) && line.contains("missing: apt-get");
        assert!(skips.iter().any(of), "{shown}");
    }
}

#[test]
fn quick_looks_for_nothing_and_says_so() {
    let bench = Bench::complete("echo 'test result: ok. 3 passed; 0 failed; 1 ignored;'");
    let output = bench.xtask(&["test", "--quick"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = stdout(&output);
    assert!(!shown.contains("needs of"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("SKIPPED: ") && line.contains("--quick")), "{shown}");
    assert!(shown.ends_with("host tests: 3 passed, 0 failed, 1 skipped\n"), "{shown}");
}

#[test]
fn virtual_hosts_that_can_not_be_installed_are_a_skip() {
    let bench = Bench::complete("").with("apt-get", "exit 100").with("sudo", "\"$@\"");
    for (arguments, told) in
        [(["test"].as_slice(), "apt-get update` failed"), (&["test", "--no-install"], "--no-install")]
    {
        let output = bench.xtask(arguments, "");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown = stdout(&output);
        let told = |line: &str| line.starts_with("SKIPPED: ") && line.contains("virtual") && line.contains(told);
        assert!(shown.lines().any(told), "{arguments:?}: {shown}");
    }
}

#[test]
fn failing_host_tests_fail_the_chore() {
    let bench = Bench::complete("exit 101");
    let output = bench.xtask(&["test", "--quick"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("`cargo test --workspace --all-features --locked` failed"), "{output:?}");
    assert!(!stdout(&output).contains("passed"), "{output:?}");
}

#[test]
fn required_backend_that_is_absent_is_a_failure() {
    for (require, arguments, told) in [
        ("rdma", ["test"].as_slice(), "missing: apt-get"),
        ("rdma", &["test", "--quick"], "--quick"),
        ("shm,ucx", &["test", "--quick"], "not built yet"),
    ] {
        let bench = Bench::complete("");
        let output = bench.xtask(arguments, require);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(told), "{output:?}");
        assert!(bench.journal().is_empty(), "nothing runs before it is told: {:?}", bench.journal());
    }
}

#[test]
fn unknown_requirement_is_an_error() {
    let output = Bench::complete("").xtask(&["test", "--quick"], "shm,roce");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = stderr(&output);
    assert!(told.contains("\"roce\"") && told.contains("shm, rdma, ucx"), "{told}");
}

#[test]
fn nothing_is_installed_where_that_is_refused() {
    let bench = Bench::new().with("cargo", "").with("rustc", RUSTC).with("apt-get", "");
    let output = bench.xtask(&["test", "--no-install"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = stderr(&output);
    assert!(told.contains("apt-get install --yes --no-install-recommends gcc libc6-dev"), "{told}");
    assert!(bench.journal().is_empty(), "{:?}", bench.journal());
}

#[test]
fn missing_packages_are_installed_before_the_tests() {
    let bench = Bench::new();
    let linker = bench.path("cc");
    let install = format!("case $1 in install) : > '{}' ;; esac", linker.display());
    // Whoever runs this, root or not: sudo runs what it is given.
    let bench = bench.with("cargo", "").with("rustc", RUSTC).with("apt-get", &install).with("sudo", "\"$@\"");
    let output = bench.xtask(&["test"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let journal: Vec<String> = bench.journal().into_iter().filter(|line| !line.starts_with("sudo")).collect();
    let install = "apt-get install --yes --no-install-recommends ";
    assert_eq!(journal[..2], ["apt-get update".to_owned(), format!("{install}gcc libc6-dev")], "{output:?}");
    assert!(journal[3].starts_with(install) && journal[3].contains("qemu-system-x86"), "{journal:?}");
    assert_eq!(journal[4..], [HOST_TESTS], "the hosts are still not there, so nothing of them runs: {output:?}");
}

#[test]
fn installation_that_brings_nothing_is_a_failure() {
    let bench = Bench::new().with("cargo", "").with("rustc", RUSTC).with("apt-get", "").with("sudo", "\"$@\"");
    let output = bench.xtask(&["test"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("missing: C linker"), "{output:?}");
    assert!(!bench.journal().contains(&HOST_TESTS.to_owned()), "{:?}", bench.journal());
}

#[test]
fn old_rust_is_told_with_the_way_out() {
    let old = "echo 'rustc 1.80.1 (0000000 2024-08-06)'";
    let bench = Bench::new().with("cargo", "").with("rustc", old).with("cc", "");
    let output = bench.xtask(&["test"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("rustup update stable"), "{output:?}");
}

#[test]
fn ci_runs_its_steps_in_order() {
    let bench = Bench::complete("");
    let output = bench.xtask(&["ci"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        bench.journal(),
        [
            "cargo fmt --all --check",
            "cargo clippy --workspace --all-targets --all-features --locked -- -D warnings",
            "cargo clippy --package pegaflow --no-default-features --locked -- -D warnings",
            "cargo doc --workspace --no-deps --all-features --locked",
            "cargo deny check bans licenses sources",
            HOST_TESTS,
        ]
    );
}

#[test]
fn ci_treats_warnings_of_rustdoc_as_errors() {
    let bench = Bench::complete("case $1 in doc) [ \"$RUSTDOCFLAGS\" = '-D warnings' ] ;; esac");
    let output = bench.xtask(&["ci"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn ci_stops_at_the_first_failure_and_shows_the_rest_as_not_run() {
    let bench = Bench::complete("case \"$1 $2\" in 'clippy --workspace') exit 101 ;; esac");
    let output = bench.xtask(&["ci"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(bench.journal().len(), 2, "{:?}", bench.journal());
    let shown = stdout(&output);
    let row = |name: &str| shown.lines().rfind(|line| line.starts_with(name)).unwrap_or("").to_owned();
    assert!(row("format ").contains("passed"), "{shown}");
    assert!(row("lints ").contains("FAILED"), "{shown}");
    for name in ["docs ", "dependencies ", "tests "] {
        assert!(row(name).contains("not run"), "{shown}");
    }
}

#[test]
fn ci_names_the_components_that_the_toolchain_lacks() {
    let bench = Bench::complete("case $1 in fmt|clippy) exit 101 ;; esac");
    let output = bench.xtask(&["ci"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("rustup component add rustfmt clippy"), "{output:?}");
    assert!(bench.journal().is_empty(), "{:?}", bench.journal());
}

#[test]
fn ci_brings_cargo_deny_unless_refused() {
    let without_deny = "case \"$1 $2\" in 'deny --version') exit 101 ;; esac";
    let bench = Bench::complete(without_deny);
    let output = bench.xtask(&["ci"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let installed =
        bench.journal().into_iter().find(|line| line.starts_with("cargo install cargo-deny --locked --version "));
    assert!(installed.is_some(), "{:?}", bench.journal());

    let bench = Bench::complete(without_deny);
    let output = bench.xtask(&["ci", "--no-install"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("cargo install cargo-deny"), "{output:?}");
    assert!(!bench.journal().iter().any(|line| line.contains("install")), "{:?}", bench.journal());
}

#[test]
fn help_tells_the_exit_codes() {
    for arguments in [
        ["--help"].as_slice(),
        &["test", "--help"],
        &["ci", "--help"],
        &["bench", "--help"],
        &["bench", "instructions", "--help"],
        &["bench", "counts", "--help"],
        &["soft-roce", "run", "--help"],
        &["soft-roce", "pair", "--help"],
    ] {
        let output = Bench::new().xtask(arguments, "");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(stdout(&output).contains("Exit codes:"), "{arguments:?}");
    }
}

/// What the bench `per_block` prints, with the medians of its raw loop, of Pegaflow, and of their difference.
const PER_BLOCK: &str = "echo '1024 scattered blocks of 8 bytes a transfer, 101 rounds in turn:
raw loop          7.3 ns a block [7.2, 7.4]
pegaflow         11.4 ns a block [11.3, 11.6]
difference        4.1 ns a block [4.0, 4.2]'";

/// A callgrind that counts 200 instructions a block of the raw loop and 290 of ours, and 777 once.
const CALLGRIND: &str = r#"
for word; do case $word in --callgrind-out-file=*) file=${word#*=} ;; esac; transfers=$word kind=$before before=$word; done
case $kind in raw) each=200 ;; *) each=290 ;; esac
total=$((777 + transfers * 1024 * each))
printf 'events: Ir\nfn=(1) per_block::repeat\n0 777\nfn=(2) post\n0 %s\ntotals: %s\n' $((total - 777)) $total > "$file""#;

/// A cargo that has built `bench` of pegaflow-bench there.
fn cargo_that_built(bench: &Bench, name: &str) -> String {
    let path = bench.path(name).display().to_string();
    let message = format!(
        r#"{{"manifest_path":"/w/pegaflow-bench/Cargo.toml","target":{{"kind":["bench"],"name":"{name}"}},"executable":"{path}"}}"#
    );
    format!("case $* in *'--bench {name} --locked'*) echo '{message}' ;; *) exit 101 ;; esac")
}

#[test]
fn instructions_are_counted_beside_the_raw_loop() {
    let bench = Bench::new();
    let cargo = cargo_that_built(&bench, "per_block");
    let bench = bench.with("cargo", &cargo).with("cc", "").with("valgrind", CALLGRIND).with("per_block", PER_BLOCK);
    let output = bench.xtask(&["bench", "instructions", "--json"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let object: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("one object and nothing else");
    let instructions = &object["instructions_per_block"];
    assert_eq!((&instructions["raw"], &instructions["pegaflow"]), (&200.0.into(), &290.0.into()), "{object}");
    assert_eq!(object["ns_per_block"]["difference"]["median"], 4.1, "{object}");
    assert_eq!(object["functions"][0]["name"], "post", "{object}");

    let output = bench.xtask(&["bench", "instructions"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = stdout(&output);
    assert!(shown.lines().any(|line| line.starts_with("instructions ") && line.ends_with("<= 100  within")), "{shown}");
    assert!(shown.contains("steady_state_allocates_nothing"), "{shown}");
}

#[test]
fn figure_over_its_budget_is_shown_and_fails_nothing() {
    let bench = Bench::new();
    let cargo = cargo_that_built(&bench, "per_block");
    let dear = CALLGRIND.replace("each=290", "each=500");
    let bench = bench.with("cargo", &cargo).with("cc", "").with("valgrind", &dear).with("per_block", PER_BLOCK);
    let output = bench.xtask(&["bench", "instructions"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let over = |line: &str| line.starts_with("instructions ") && line.ends_with("<= 100  OVER");
    assert!(stdout(&output).lines().any(over), "{output:?}");
}

#[test]
fn bench_says_how_to_install_what_it_lacks() {
    for arguments in [["--no-install"].as_slice(), &["--json"]] {
        let bench = Bench::new().with("cargo", "").with("cc", "").with("apt-get", "");
        let output = bench.xtask(&[&["bench", "instructions"], arguments].concat(), "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("apt-get install --yes --no-install-recommends valgrind"), "{output:?}");
        let output = bench.xtask(&[&["bench", "counts"], arguments].concat(), "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("perftest"), "{output:?}");
        assert!(bench.journal().is_empty(), "{:?}", bench.journal());
    }
}

#[test]
fn bench_that_cargo_does_not_tell_of_is_an_error() {
    let bench = Bench::new().with("cargo", "echo '{}'").with("cc", "").with("valgrind", CALLGRIND);
    let output = bench.xtask(&["bench", "instructions"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = "cargo told no executable for the bench per_block of pegaflow-bench";
    assert!(stderr(&output).contains(told), "{output:?}");
}

#[test]
fn odd_bench_is_a_usage_error() {
    for arguments in [["bench"].as_slice(), &["bench", "speed"], &["bench", "counts", "--xml"]] {
        let output = Bench::new().xtask(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}

#[test]
fn unknown_command_is_a_usage_error() {
    let output = Bench::new().xtask(&["tests"], "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
