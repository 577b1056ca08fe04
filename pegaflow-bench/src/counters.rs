//! What an RDMA port has counted, as the kernel shows it (Documentation/ABI/stable/sysfs-class-infiniband).

use std::{collections::BTreeMap, fs, io, path::Path};

/// The counters of one port at one time, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortCounters(BTreeMap<String, u64>);

impl PortCounters {
    /// Reads `hw_counters` of a port, each file of which holds one number.
    ///
    /// # Errors
    /// No such device or port; a file without a number, by its name.
    pub fn read(device: &str, port: u8) -> io::Result<Self> {
        Self::of_folder(&Path::new("/sys/class/infiniband").join(device).join(format!("ports/{port}/hw_counters")))
    }

    fn of_folder(folder: &Path) -> io::Result<Self> {
        let mut counters = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            let number = text.trim().parse().map_err(|why| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {:?}: {why}", path.display(), text.trim()))
            })?;
            counters.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), number);
        }
        Ok(Self(counters))
    }

    /// How much `name` has grown since `before`; `None` where the device has no such counter.
    #[must_use]
    pub fn since(&self, before: &Self, name: &str) -> Option<u64> {
        // They wrap.
        Some(self.0.get(name)?.wrapping_sub(*before.0.get(name)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_their_growth_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("sent_pkts", "8786\n");
        write("duplicate_request", "18446744073709551615\n");
        let before = PortCounters::of_folder(folder.path()).unwrap();
        write("sent_pkts", "17542\n");
        write("duplicate_request", "3\n");
        let after = PortCounters::of_folder(folder.path()).unwrap();
        assert_eq!(after.since(&before, "sent_pkts"), Some(8756));
        assert_eq!(after.since(&before, "duplicate_request"), Some(4));
        assert_eq!(after.since(&before, "rcvd_pkts"), None);
        write("odd", "many\n");
        let told = PortCounters::of_folder(folder.path()).unwrap_err().to_string();
        assert!(told.contains("odd: \"many\""), "{told}");
    }
}
