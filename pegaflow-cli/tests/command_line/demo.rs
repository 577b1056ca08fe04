//! What the demo can be asked for.

use std::time::{Duration, Instant};

use super::{pegaflow, said, small};

#[test]
fn a_cache_of_one_plane_is_moved_and_verified() {
    let output = small(&["--planes", "1", "--json"]);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    // Half of what K and V have.
    assert_eq!(report["planes"], 1);
    assert_eq!(report["blocks"], 16 * 3);
    assert_eq!(report["bytes"], 16 * 3 * 4096);
    assert_eq!(report["verified_blocks"], 2 * 16 * 3);
    let output = small(&["--planes", "1", "--corrupt", "2,7"]);
    let (_, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("wrong byte: layer 2, latent, block 7"), "{err}");
}

#[test]
fn deepseek_v3_has_one_latent_a_layer() {
    let output = pegaflow(&["demo", "--model", "deepseek-v3", "--tokens", "30", "--rounds", "1"]);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    // 16 tokens of 576 elements of 2 bytes are a block; 61 layers have two each.
    for part in ["61 layers, one latent of 576 bf16 a token (MLA)", "layer: 18 KiB", "of 18 KiB", "2.14 MiB", " 122 "] {
        assert!(out.contains(part), "`{part}` is missing in:\n{out}");
    }
}

#[test]
fn compute_takes_its_time_and_hides_no_more_than_the_transfer() {
    let begin = Instant::now();
    let output = small(&["--layer-time", "20ms", "--json"]);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    // Two rounds of three layers.
    assert!(begin.elapsed() >= Duration::from_millis(2 * 3 * 20));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["layer_time_us"], 20_000.0);
    // The last layer is written when all compute is over: what is left takes time.
    let [share, low, high] = ["hidden_share", "hidden_low", "hidden_high"].map(|key| report[key].as_f64().unwrap());
    assert!(low <= share && share <= high && high < 1.0, "{report}");
    // Each round moves the prompt twice, and both are verified; the figures of a transfer are of one.
    assert_eq!(report["verified_blocks"], 2 * 2 * 16 * 2 * 3);
    assert_eq!(report["bytes"], 16 * 2 * 3 * 4096);
    let (out, err) = said(&small(&["--layer-time", "1ms"]));
    assert!(out.contains("hidden") && out.contains("of the transfer, behind 3 x 1.000 ms of compute"), "{out}{err}");
}

#[test]
fn without_compute_nothing_is_hidden() {
    let report: serde_json::Value = serde_json::from_str(&said(&small(&["--json"])).0).unwrap();
    for key in ["layer_time_us", "hidden_share", "hidden_low", "hidden_high"] {
        assert_eq!(report.get(key), Some(&serde_json::Value::Null), "{key}: {report}");
    }
}

/// Help names every key of the JSON object, and no other.
#[test]
fn help_names_the_keys_of_the_json() {
    let report: serde_json::Value = serde_json::from_str(&said(&small(&["--json"])).0).unwrap();
    let (help, _) = said(&pegaflow(&["demo", "--help"]));
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, told) = help.split_once("JSON keys: ").unwrap();
    let (told, _) = told.split_once(';').unwrap();
    let mut told: Vec<_> = told.split(' ').collect();
    told.sort_unstable();
    let mut keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(told, keys);
}
