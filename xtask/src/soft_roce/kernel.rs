//! Debian's own kernel, with the drivers that a host needs in an initial RAM disk: unpacked into a cache, never
//! installed, so this machine's own boot is left alone.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{bounded, on_path_or_sbin};
use crate::debian::{self, Package};
use crate::error::{At, Error};

const INIT: &str = include_str!("init.sh");

/// Depends on the newest kernel of the distribution.
const META_PACKAGE: &str = "linux-image-amd64";

/// Loaded in this order, each after what it depends on.
const MODULES: [&str; 14] = [
    "virtio_pci",
    "virtio_net",
    "9pnet_virtio",
    "9p",
    "overlay",
    // rdma_rxe asks for the checksum "crc32" by a name that depmod does not know: without a driver of it, `rdma link
    // add` fails.
    "crc32_generic",
    "crc32_pclmul",
    "veth",
    // For `tc` on the cables.
    "sch_netem",
    "sch_tbf",
    "ib_uverbs",
    "rdma_cm",
    "rdma_ucm",
    "rdma_rxe",
];

const STEP_LIMIT: Duration = Duration::from_secs(120);

/// A kernel and its initial RAM disk, on disk.
#[derive(Debug)]
pub(crate) struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    #[cfg(test)]
    pub(super) fn in_folder(folder: &str) -> Self {
        Self { folder: folder.into() }
    }

    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    pub(super) fn initrd(&self) -> PathBuf {
        self.folder.join("initrd.gz")
    }
}

/// The kernel for the hosts: the newest that apt knows, from the cache where it is there. Where apt knows none, for its
/// lists were cleaned away, the newest of the cache does.
pub(super) fn provide() -> Result<Kernel, Error> {
    let cache = debian::cache("soft-roce")?;
    let Some(package) = newest()? else {
        return newest_cached(&cache)?.ok_or(Error::NoKernel { package: META_PACKAGE });
    };
    let folder = cache.join(key(&package));
    if folder.is_dir() {
        return Ok(Kernel { folder });
    }
    // Two runs at once: one fills the cache, the other waits and finds it filled.
    let path = cache.join("lock");
    let lock = File::create(&path).at(&path)?;
    debian::wait_for(&lock, &path)?;
    if !folder.is_dir() {
        fill(&cache, &package, &folder)?;
    }
    Ok(Kernel { folder })
}

/// A folder's name: another kernel, another build of it, or another recipe is another folder.
fn key(package: &Package) -> String {
    let plain = |text: &str| -> String {
        let safe = |letter: char| letter.is_ascii_alphanumeric() || ".+-".contains(letter);
        text.chars().map(|letter| if safe(letter) { letter } else { '_' }).collect()
    };
    format!("{}_{}_{:016x}", plain(release(package)), plain(&package.version), recipe())
}

/// A hash (FNV-1a, 64 bits) of all that goes into the RAM disk beside the kernel's own files. The standard library's
/// hash may differ from release to release.
fn recipe() -> u64 {
    let words = MODULES.iter().flat_map(|module| module.bytes().chain([0]));
    words
        .chain(INIT.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What apt would install now; none where it knows no kernel.
fn newest() -> Result<Option<Package>, Error> {
    let depends = bounded(Command::new("apt-cache").args(["depends", META_PACKAGE]), STEP_LIMIT);
    let Some(name) = depends.ok().and_then(|text| depended_on(&text)) else { return Ok(None) };
    debian::newest(&name)
}

/// What `uname -r` says under a kernel.
fn release(package: &Package) -> &str {
    package.name.strip_prefix("linux-image-").unwrap_or(&package.name)
}

/// Reads `apt-cache depends`: "  Depends: linux-image-6.1.0-56-amd64".
fn depended_on(text: &str) -> Option<String> {
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::trim).find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

/// The newest folder of the cache that was made by this recipe.
fn newest_cached(cache: &Path) -> Result<Option<Kernel>, Error> {
    let ending = format!("_{:016x}", recipe());
    let mut newest = None;
    for entry in fs::read_dir(cache).at(cache)? {
        let entry = entry.at(cache)?;
        if entry.file_name().to_string_lossy().ends_with(&ending) {
            let made = entry.metadata().and_then(|entry| entry.modified()).at(&entry.path())?;
            newest = newest.max(Some((made, entry.path())));
        }
    }
    Ok(newest.map(|(_, folder)| Kernel { folder }))
}

/// Makes `folder` beside its place and moves it there, so that it is there whole or not at all.
fn fill(cache: &Path, package: &Package, folder: &Path) -> Result<(), Error> {
    eprintln!("soft-roce: unpacking {} {} into {}", package.name, package.version, cache.display());
    let work = tempfile::Builder::new().prefix("filling-").tempdir_in(cache).at(cache)?;
    let (unpacked, disk, done) = (work.path().join("unpacked"), work.path().join("disk"), work.path().join("done"));
    debian::unpack(package, work.path(), &unpacked)?;
    fs::create_dir(&done).at(&done)?;
    let image = unpacked.join("boot").join(format!("vmlinuz-{}", release(package)));
    fs::copy(&image, done.join("vmlinuz")).at(&image)?;

    for name in ["bin", "proc", "sys", "dev", "modules", "lower", "over", "root"] {
        let path = disk.join(name);
        fs::create_dir_all(&path).at(&path)?;
    }
    for (index, file) in module_files(package, &unpacked)?.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        fs::copy(file, disk.join(format!("modules/{index:03}-{name}"))).at(file)?;
    }
    fs::copy("/bin/busybox", disk.join("bin/busybox")).at(Path::new("/bin/busybox"))?;
    let init = disk.join("init");
    fs::write(&init, INIT).and_then(|()| fs::set_permissions(&init, fs::Permissions::from_mode(0o755))).at(&init)?;
    let pack = "set -o pipefail; find . | cpio -o -H newc -R 0:0 --quiet | gzip -1 > ../done/initrd.gz";
    bounded(Command::new("bash").args(["-c", pack]).current_dir(&disk), STEP_LIMIT)?;
    fs::rename(&done, folder).at(folder)
}

/// The files of [`MODULES`] and of what they depend on, in the order they must be loaded, each once.
fn module_files(package: &Package, unpacked: &Path) -> Result<Vec<PathBuf>, Error> {
    let program = |name: &str| Command::new(on_path_or_sbin(name).unwrap_or_else(|| name.into()));
    bounded(program("depmod").arg("-b").arg(unpacked).arg(release(package)), STEP_LIMIT)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let mut show = program("modprobe");
        show.arg("-d").arg(unpacked).args(["-S", release(package), "--show-depends", module]);
        for file in inserted(&bounded(&mut show, STEP_LIMIT)?) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Reads `modprobe --show-depends`: "insmod FILE", and "builtin NAME" for what the kernel has in it.
fn inserted(text: &str) -> Vec<PathBuf> {
    text.lines().filter_map(|line| line.strip_prefix("insmod ")).map(|file| PathBuf::from(file.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn another_kernel_or_build_is_another_key() {
        let first = key(&package("linux-image-6.1.0-56-amd64", "6.1.192-2"));
        assert!(first.starts_with("6.1.0-56-amd64_6.1.192-2_"), "{first}");
        assert_eq!(first, key(&package("linux-image-6.1.0-56-amd64", "6.1.192-2")));
        assert_ne!(first, key(&package("linux-image-6.1.0-57-amd64", "6.1.192-2")));
        assert_ne!(first, key(&package("linux-image-6.1.0-56-amd64", "6.1.192-3")));
        let odd = key(&package("linux-image-6/1", "1:2~3"));
        assert!(odd.starts_with("6_1_1_2_3_"), "a key is one folder's name: {odd}");
    }

    #[test]
    fn newest_of_the_cache_is_one_of_this_recipe() {
        let cache = tempfile::tempdir().unwrap();
        assert!(newest_cached(cache.path()).unwrap().is_none());
        fs::create_dir(cache.path().join("6.1.0-1-amd64_6.1_0123456789abcdef")).unwrap();
        assert!(newest_cached(cache.path()).unwrap().is_none(), "another recipe's does not count");
        let ours = cache.path().join(key(&package("linux-image-6.1.0-1-amd64", "6.1")));
        fs::create_dir(&ours).unwrap();
        assert_eq!(newest_cached(cache.path()).unwrap().map(|kernel| kernel.folder), Some(ours));
    }

    #[test]
    fn programs_are_read_as_they_write() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Conflicts: nothing\n";
        assert_eq!(depended_on(depends).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(depended_on("E: No packages found\n"), None);
        let modules = "insmod /k/virtio.ko \nbuiltin crc32c\ninsmod /k/9p.ko \n";
        assert_eq!(inserted(modules), [Path::new("/k/virtio.ko"), Path::new("/k/9p.ko")]);
    }
}
