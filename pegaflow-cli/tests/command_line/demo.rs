//! What the demo can be asked for.

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
