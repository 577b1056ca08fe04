//! Tells the program which commit it is built from: figures are of a commit.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rustc-env=PEGAFLOW_VERSION={}{}", env!("CARGO_PKG_VERSION"), commit().unwrap_or_default());
    // What a commit, a checkout and a change of a tracked file move; a packed source has none of them.
    for file in ["HEAD", "logs/HEAD", "index"] {
        let path = Path::new("../.git").join(file);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// ` (abcdef123456)`, and `+` behind it where a tracked file differs; `None` where this is no checkout.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // A checkout of somebody else's around an unpacked source is not meant.
    Path::new("../.git").exists().then_some(())?;
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(format!(" ({commit}{})", if changed { "+" } else { "" }))
}
