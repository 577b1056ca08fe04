//! A C program, compiled against the header as a stranger's would be, and run.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

/// `cargo test` has built the library beside this test.
fn library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().to_owned()
}

/// Two nodes whose boards listen where nobody does, and sockets of their own.
fn config(runtime: &Path) -> String {
    let (left, right) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let node = |name: &str, at: &TcpListener| {
        format!("[node.{name}]\nlisten = \"{}\"\nrole = \"stage\"\n", at.local_addr().unwrap())
    };
    let shm = format!("[transport.shm]\nruntime_dir = \"{}\"\n", runtime.display());
    // A channel that nobody dials, to wait for.
    let channel = "[[channel]]\nfrom = \"right\"\nto = \"left\"\nclass = \"bulk\"\n";
    let patience = "[rendezvous]\nconnect_timeout_ms = 200\n";
    node("left", &left) + &node("right", &right) + channel + patience + &shm
}

#[test]
fn a_c_program_moves_blocks_and_is_refused_what_is_wrong() {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    // No skip: rustc links with the same compiler, so a machine that built this test has one under some name.
    let found = Command::new(&compiler).arg("--version").output();
    assert!(found.is_ok(), "no C compiler `{compiler}`: install gcc or clang, or name the one there is in CC");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let (program, file) = (folder.path().join("program"), folder.path().join("config.toml"));
    fs::write(&file, config(&folder.path().join("sockets"))).unwrap();

    let mut compile = Command::new(&compiler);
    compile.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-pthread"]);
    compile.arg("-I").arg(root.join("include"));
    compile.arg(root.join("tests/bindings/program.c")).arg("-o").arg(&program);
    compile.arg("-L").arg(library()).arg("-lpegaflow_c").arg(format!("-Wl,-rpath,{}", library().display()));
    let compiled = compile.output().unwrap();
    assert!(compiled.status.success(), "{compile:?}\n{}", String::from_utf8_lossy(&compiled.stderr));

    let ran = Command::new(&program).arg(&file).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{out}{err}", ran.status);
    assert!(out.ends_with("all checks held\n"), "{out}{err}");
}
