//! Debian packages that are unpacked into a cache and never installed, so that this machine is left as it is.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::command::bounded;
use crate::error::{At, Error};

/// About 70 MB come over the network, for a kernel.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
const STEP_LIMIT: Duration = Duration::from_secs(120);
/// As long as another run may take to fill the cache.
const LOCK_LIMIT: Duration = Duration::from_secs(900);

/// A package by name and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What apt would install now under this name; none where it knows no such package.
pub(crate) fn newest(name: &str) -> Result<Option<Package>, Error> {
    let shown = bounded(Command::new("apt-cache").args(["show", "--no-all-versions", name]), STEP_LIMIT)?;
    let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
    Ok(version.map(|version| Package { name: name.to_owned(), version: version.to_owned() }))
}

/// A folder of the cache, made where it is not there.
pub(crate) fn cache(folder: &str) -> Result<PathBuf, Error> {
    let cache = cache_in(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"), folder)?;
    fs::create_dir_all(&cache).at(&cache)?;
    Ok(cache)
}

/// The folder of the cache: by the XDG base directory specification, which lets only an absolute path count.
fn cache_in(xdg: Option<OsString>, home: Option<OsString>, folder: &str) -> Result<PathBuf, Error> {
    let xdg = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    let base = xdg.or_else(|| home.filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".cache")));
    base.map(|base| base.join("pegaflow").join(folder)).ok_or(Error::NoCache)
}

/// Locks `file`; the lock goes with the file's last handle, so with its process.
pub(crate) fn wait_for(file: &File, path: &Path) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error).at(path),
            Err(TryLockError::WouldBlock) if start.elapsed() > LOCK_LIMIT => {
                let what = format!("the lock {}, held by another run", path.display());
                return Err(Error::TimedOut { what, limit: LOCK_LIMIT });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Downloads a package into `work`, and unpacks it, without installing anything.
pub(crate) fn unpack(package: &Package, work: &Path, unpacked: &Path) -> Result<(), Error> {
    let mut download = Command::new("apt-get");
    // As root apt would download as a user of its own, who may not write here, and complain.
    download.args(["--quiet", "--quiet", "-o", "APT::Sandbox::User=root", "download"]);
    download.arg(format!("{}={}", package.name, package.version)).current_dir(work);
    bounded(&mut download, DOWNLOAD_LIMIT)?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let mut files = fs::read_dir(work).at(work)?.filter_map(|entry| Some(entry.ok()?.path()));
    let file = files.find(is_package).ok_or_else(|| io::Error::other("apt-get download left no .deb")).at(work)?;
    bounded(Command::new("dpkg").arg("--extract").args([&file, unpacked]), STEP_LIMIT).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_lies_where_the_user_keeps_his() {
        let told =
            |xdg: Option<&str>, home: Option<&str>| cache_in(xdg.map(Into::into), home.map(Into::into), "soft-roce");
        assert_eq!(told(Some("/c"), Some("/home/me")).unwrap(), Path::new("/c/pegaflow/soft-roce"));
        for xdg in [None, Some(""), Some("relative")] {
            assert_eq!(told(xdg, Some("/home/me")).unwrap(), Path::new("/home/me/.cache/pegaflow/soft-roce"));
        }
        assert!(told(None, None).unwrap_err().to_string().contains("XDG_CACHE_HOME"));
    }

    #[test]
    fn second_run_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = File::create(&path).unwrap();
        wait_for(&first, &path).unwrap();
        let second = File::create(&path).unwrap();
        assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
        drop(first);
        wait_for(&second, &path).unwrap();
    }
}
