//! Runs the corpus of a fuzz target, and seeded mutations of it, inside `cargo test`: what needs no nightly compiler.
//!
//! Each crate that reads what others wrote has this file as a module of its tests, by path.

use std::{env, fs, path::PathBuf};

/// Set to write the examples into the corpus, so that a fuzzer begins with them.
const WRITE: &str = "PEGAFLOW_WRITE_CORPUS";
/// Set to repeat a run.
const SEED: &str = "PEGAFLOW_SEED";
/// Longest input that mutations make.
const MAX_BYTES: usize = 4096;

/// Runs `run` over the target's files, over `examples` (what this build writes itself, by name), and over `rounds`
/// mutations of them.
pub(crate) fn replay(target: &str, examples: Vec<(&str, Vec<u8>)>, rounds: u32, run: fn(&[u8])) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(target);
    if env::var_os(WRITE).is_some() {
        fs::create_dir_all(&folder).expect("a folder in the repository");
        for (name, bytes) in &examples {
            fs::write(folder.join(name), bytes).expect("a file in the repository");
        }
    }
    let mut inputs: Vec<_> = examples.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    let examples = inputs.len();
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry of the corpus").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        inputs.push((name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))));
    }
    assert!(inputs.len() > examples, "{} is empty: write it with {WRITE}=1", folder.display());
    inputs.sort();
    let mut seen = std::collections::HashSet::new();
    inputs.retain(|(_, bytes)| seen.insert(bytes.clone()));

    let seed = env::var(SEED).map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("{target}: {} inputs, {rounds} mutations; repeat with {SEED}={seed}", inputs.len());
    let mut random = fastrand::Rng::with_seed(seed);
    for (name, bytes) in &inputs {
        let _told = Told { target, name, bytes };
        run(bytes);
    }
    for _ in 0..rounds {
        let (name, bytes) = &inputs[random.usize(..inputs.len())];
        let (_, other) = &inputs[random.usize(..inputs.len())];
        let mut bytes = bytes.clone();
        (0..random.u8(1..5)).for_each(|_| mutate(&mut bytes, other, &mut random));
        bytes.truncate(MAX_BYTES);
        let _told = Told { target, name, bytes: &bytes };
        run(&bytes);
    }
}

/// Says which input it was, where a panic passes by.
struct Told<'a> {
    target: &'a str,
    name: &'a str,
    bytes: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            println!(
                "{} fails on {} or a mutation of it; keep it, under a name that says what it is:",
                self.target, self.name
            );
            println!("  echo {hex} | xxd -r -p > fuzz/corpus/{}/NAME", self.target);
        }
    }
}

/// Numbers at which something may turn over.
fn edge(random: &mut fastrand::Rng) -> u64 {
    let near = 1_u64 << random.u32(..64);
    match random.u8(..5) {
        0 => 0,
        1 => u64::MAX,
        2 => near,
        3 => near - 1,
        _ => near.wrapping_add(1),
    }
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    let range = |length: usize, random: &mut fastrand::Rng| {
        let begin = random.usize(..=length);
        begin..begin + random.usize(..=(length - begin).min(64))
    };
    let at = random.usize(..=bytes.len());
    match random.u8(..9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(range(bytes.len(), random))),
        2 => drop(bytes.splice(at..at, other[range(other.len(), random)].iter().copied())),
        3 => drop(bytes.splice(at..at, (0..random.usize(1..16)).map(|_| random.u8(..)).collect::<Vec<_>>())),
        4 => {
            let number = edge(random).to_le_bytes();
            let width = 1 << random.u32(..4);
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        5 => {
            // Numbers in a text.
            if let Some(digit) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                *digit = random.u8(b'0'..=b'9');
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = if random.bool() { *byte ^ 1 << random.u32(..8) } else { random.u8(..) };
            }
        }
    }
}
