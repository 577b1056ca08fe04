//! `include/pegaflow.h` is what cbindgen makes of the source.

use std::{fs, path::Path};

/// Set to write the header instead of comparing it.
const WRITE: &str = "PEGAFLOW_WRITE_HEADER";

/// In the order in which they stand in the header.
const SOURCES: [&str; 8] = [
    "src/twins.rs",
    "src/status.rs",
    "src/ffi.rs",
    "src/ffi/node.rs",
    "src/ffi/memory.rs",
    "src/ffi/plan.rs",
    "src/ffi/port.rs",
    "src/ffi/raw.rs",
];

#[test]
fn the_committed_header_is_what_the_source_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml").to_str().unwrap()).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join(source));
    }
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let place = root.join("include/pegaflow.h");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&place, &made).unwrap();
    }
    let committed = fs::read_to_string(&place).unwrap_or_default();
    let line = 1 + made.lines().zip(committed.lines()).take_while(|(made, committed)| made == committed).count();
    assert!(
        made == committed,
        "include/pegaflow.h is not what the source makes, from line {line} on; write it with\n  \
         {WRITE}=1 cargo test -p pegaflow-c header"
    );
}

#[test]
fn every_source_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for folder in [root.clone(), root.join("ffi")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("src/{}", path.strip_prefix(&root).unwrap().display());
            let known = path.is_dir() || name == "src/lib.rs" || SOURCES.contains(&name.as_str());
            assert!(known, "{name} is not in SOURCES of tests/bindings/header.rs: its calls would miss in the header");
        }
    }
}
