//! What the kernel tells of this machine, and bytes as people read them.

use std::{collections::BTreeMap, fs};

/// An amount of memory of proc(5), /proc/meminfo, in bytes: `MemTotal`, `MemAvailable`.
pub(crate) fn memory(key: &str) -> Option<u64> {
    field("/proc/meminfo", key)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The value of the first line `key : value` of a file of proc(5).
pub(crate) fn field(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

/// Bytes in the binary unit that fits.
pub(crate) fn human(bytes: u64) -> String {
    let units: BTreeMap<u64, &str> = [(1, "B"), (1 << 10, "KiB"), (1 << 20, "MiB"), (1 << 30, "GiB")].into();
    let (unit, name) = units.range(..=bytes.max(1)).next_back().map_or((1, "B"), |(unit, name)| (*unit, *name));
    if bytes.is_multiple_of(unit) {
        format!("{} {name}", bytes / unit)
    } else {
        #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
        let value = bytes as f64 / unit as f64;
        format!("{value:.2} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(32 << 10), "32 KiB");
        assert_eq!(human((3 << 30) + (1 << 29)), "3.50 GiB");
    }
}
