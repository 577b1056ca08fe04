//! What the bench does with files of results: `bench plot`, `bench compare`, and the files of `bench sweep`.

use std::{fs, path::Path};

use super::{pegaflow, said};

/// A record of a write, as `bench write --json` gives it, with this share of the limit.
fn line(block_bytes: u64, share: f64) -> String {
    serde_json::json!({
        "backend": "shm", "op": "write", "block_bytes": block_bytes, "blocks": 1024, "pattern": "scattered", "depth": 4,
        "regions": "owned", "progress": "caller", "idle": "spin", "rate": null, "seconds": 2.0, "seed": 1,
        "transfers": 900, "errors": 0, "gb_per_s": 10.0 * share, "p50_us": 100.0, "p99_us": 130.0, "p999_us": 400.0,
        "cpu_seconds_per_gb": 0.2, "limit": "memcpy", "limit_gb_per_s": 10.0, "limit_p50_us": null,
        "share_of_limit": share, "share_interval": [share - 0.01, share + 0.01], "verified": null
    })
    .to_string()
        + "\n"
}

/// A file of results, by its whole path.
fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn compare_says_what_changed_and_ends_as_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let old = file(folder.path(), "a.json", &(line(4096, 0.9) + &line(65536, 0.95)));
    let new = file(folder.path(), "b.json", &(line(65536, 0.95) + &line(4096, 0.8)));
    let output = pegaflow(&["bench", "compare", &old, &new]);
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    for part in
        ["90.0 %", "80.0 %", "-11.1 %", "worse", "noise", "no interval: can't tell", "0 better, 1 worse, 1 within"]
    {
        assert!(out.contains(part), "`{part}` is missing in:\n{out}");
    }
    let output = pegaflow(&["bench", "compare", "--fail-on-worse", "--json", &old, &new]);
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("1 figure is worse than before"), "{err}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["cells"].as_array().unwrap().len(), 2);
    // The other way round it is better.
    assert!(pegaflow(&["bench", "compare", "--fail-on-worse", &new, &old]).status.success());
    // Of what has nothing in common nobody can say that it is not worse.
    let other = file(folder.path(), "c.json", &line(1024, 0.9));
    assert!(pegaflow(&["bench", "compare", &old, &other]).status.success());
    let output = pegaflow(&["bench", "compare", "--fail-on-worse", &old, &other]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).1.contains("no cell is in both files"));
}

#[test]
fn plot_draws_a_file_and_overwrites_nothing_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let results = file(folder.path(), "a.json", &(line(4096, 0.9) + &line(65536, 0.95)));
    let picture = folder.path().join("a.svg");
    let output = pegaflow(&["bench", "plot", &results]);
    assert!(output.status.success(), "{}", said(&output).1);
    assert_eq!(said(&output).0.trim(), picture.to_str().unwrap());
    assert!(fs::read_to_string(&picture).unwrap().contains("Latency of a transfer"));
    fs::write(&picture, "kept").unwrap();
    let output = pegaflow(&["bench", "plot", &results]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).1.contains("--force"), "{}", said(&output).1);
    assert_eq!(fs::read_to_string(&picture).unwrap(), "kept");
    assert!(pegaflow(&["bench", "plot", "--force", &results]).status.success());
    // Not even then what it was drawn of.
    let output = pegaflow(&["bench", "plot", "--force", &results, "--out", &results]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).1.contains("would be overwritten"), "{}", said(&output).1);
    assert!(fs::read_to_string(&results).unwrap().starts_with('{'));
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(folder.path(), "good.json", &line(4096, 0.9));
    let broken = file(folder.path(), "broken.json", &(line(4096, 0.9) + "{\"op\": \"write\"\n"));
    for arguments in [&["compare", &good, &broken][..], &["compare", &broken, &good], &["plot", &broken]] {
        let output = pegaflow(&[&["bench"], arguments].concat());
        let (_, err) = said(&output);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("broken.json:2: expected a record") && err.contains("{\"op\""), "{err}");
    }
    for (arguments, code, part) in [
        (&["compare", &good][..], 2, "<B.json>"),
        (&["plot", "/no/such.json"], 1, "/no/such.json"),
        (&["plot", &good, "--out", "/no/such/folder/a.svg"], 1, "/no/such/folder/a.svg"),
        (&["sweep", "wrote"], 2, "[possible values: write, read, count, message]"),
        (&["sweep", "--block-bytes", "4K,potato"], 2, "`potato` is not a size"),
        (&["sweep", "--out", &good], 1, "--force"),
        (&["sweep", "--repeat", "0"], 2, "1..=1000"),
        (&["sweep", "--peer", "one"], 2, "--config"),
    ] {
        let output = pegaflow(&[&["bench"], arguments].concat());
        let (_, err) = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(part) && !err.contains("panicked"), "{arguments:?}: `{part}` is missing in: {err}");
    }
    assert_eq!(fs::read_to_string(&good).unwrap(), line(4096, 0.9));
}

#[test]
fn help_of_sweep_plot_and_compare_teaches() {
    for (command, parts) in [
        ("sweep", ["Examples:", "a list: 16K,64KiB,1M", "[default: 4K,16K,64K,256K,1M]"]),
        ("plot", ["Examples:", "--force", "rival"]),
        ("compare", ["Examples:", "Exit status", "do not overlap"]),
    ] {
        let (out, _) = said(&pegaflow(&["bench", command, "--help"]));
        for part in parts {
            assert!(out.contains(part), "{command}: `{part}` is missing in:\n{out}");
        }
    }
}
