//! What users and other nodes write and this crate reads, as functions of bytes: each returns, whatever the bytes are,
//! and asserts what must hold of what it read. `fuzz` drives them, and the tests below do with its corpus.

use crate::config::Config;
pub use crate::rendezvous::garbage::{answer, request};

/// A config file: an error has a text; what is accepted can be shown, and is within its own bounds.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, "fuzz.toml") {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(config) => {
            config.check().expect("checked when it was read");
            for setting in config.effective() {
                assert!(!setting.to_string().is_empty());
            }
        }
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{replay::replay, *};
    use crate::rendezvous::garbage::examples;

    #[test]
    fn requests() {
        replay("rendezvous_request", examples::requests(), 5000, request);
    }

    #[test]
    fn answers() {
        replay("rendezvous_answer", examples::answers(), 5000, answer);
    }

    #[test]
    fn configs() {
        let small = r#"
backend = "shm"
[node.a]
listen = "127.0.0.1:7300"
role = "prefill"
[node.b]
listen = "[::1]:7301"
role = "decode"
[[channel]]
from = "a"
to = "b"
class = "kv"
[class.kv]
blocks = 65536
[memory]
page = "2MiB"
[transport.shm]
copy_chunk_bytes = "64MiB"
[transport.rdma]
max_request_bytes = 65536
kv = { service_level = 3 }
[[transport.rdma.rail]]
device = "mlx5_0"
port = 1
"#;
        Config::parse(small, "small.toml").unwrap();
        // What the types let pass, and the whole does not.
        let stray = small.replace("to = \"b\"", "to = \"c\"");
        let examples =
            vec![("small.toml", small.into()), ("stray_channel.toml", stray.into()), ("empty.toml", Vec::new())];
        replay("config", examples, 8000, config);
    }
}
