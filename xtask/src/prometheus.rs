//! A real Prometheus, for the test that has it scrape two nodes: the system's, or Debian's package, unpacked into a cache.

use std::fs::{self, File};
use std::path::PathBuf;

use crate::command::on_path;
use crate::debian;
use crate::error::{At, Error};

const PACKAGE: &str = "prometheus";
/// Where the test looks.
pub(crate) const VARIABLE: &str = "PEGAFLOW_PROMETHEUS";

/// The program's path, or why there is none. With `no_install` nothing is downloaded.
pub(crate) fn provide(no_install: bool) -> Result<PathBuf, String> {
    if let Some(path) = on_path(PACKAGE) {
        return Ok(path);
    }
    if on_path("apt-get").is_none() {
        return Err("no prometheus on the path, and no apt-get to download it".to_owned());
    }
    if no_install {
        return Err("no prometheus on the path, and nothing is downloaded with --no-install".to_owned());
    }
    unpacked()
        .map_err(|error| error.to_string())
        .and_then(|path| if path.exists() { Ok(path) } else { Err("apt knows no package prometheus".to_owned()) })
}

fn unpacked() -> Result<PathBuf, Error> {
    let cache = debian::cache(PACKAGE)?;
    let Some(package) = debian::newest(PACKAGE)? else {
        return Ok(cache.join("none"));
    };
    let folder = cache.join(package.version.replace(['/', ':'], "_"));
    let program = folder.join("usr/bin/prometheus");
    let path = cache.join("lock");
    let lock = File::create(&path).at(&path)?;
    debian::wait_for(&lock, &path)?;
    if !program.exists() {
        eprintln!("unpacking {} {} into {}", package.name, package.version, cache.display());
        let work = tempfile::Builder::new().prefix("filling-").tempdir_in(&cache).at(&cache)?;
        let unpacked = work.path().join("unpacked");
        debian::unpack(&package, work.path(), &unpacked)?;
        fs::rename(&unpacked, &folder).at(&folder)?;
    }
    Ok(program)
}
