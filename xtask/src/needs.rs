//! What the tests and benches need from the machine, how it is found, and how it is installed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::error::Error;

/// The oldest Rust that is supported, as the workspace states it.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

/// What something needs from the machine.
pub(crate) struct Needs {
    /// Who needs it.
    of: &'static str,
    list: &'static [Need],
}

/// Something that has to be on the machine.
struct Need {
    name: &'static str,
    /// What was found (a path, a version); none where it is missing.
    find: fn() -> Option<String>,
    remedy: Remedy,
}

/// How a need is met.
enum Remedy {
    /// Debian packages.
    Debian(&'static [&'static str]),
    /// A command for the reader to run.
    ByHand(&'static str),
    /// Nothing that is done on this machine; why.
    None(&'static str),
}

/// What the host tests need.
pub(crate) const HOST_TESTS: Needs = Needs {
    of: "the host tests",
    list: &[
        Need {
            name: concat!("Rust >= ", env!("CARGO_PKG_RUST_VERSION")),
            find: rust,
            remedy: Remedy::ByHand("rustup update stable"),
        },
        Need { name: "C linker (cc)", find: c_linker, remedy: Remedy::Debian(&["gcc", "libc6-dev"]) },
    ],
};

/// What the virtual soft-RoCE hosts need. A host sees this machine's files, so what is called there is needed here.
pub(crate) const VIRTUAL_HOSTS: Needs = Needs {
    of: "the virtual soft-RoCE hosts",
    list: &[
        Need { name: "x86-64 Linux", find: x86_64_linux, remedy: Remedy::None("the hosts are x86-64 Linux too") },
        // Before anything is installed: other distributions have no such kernel package.
        Need { name: "Debian", find: debian, remedy: Remedy::None("the hosts' kernel is Debian's linux-image-amd64") },
        // Their kernel is a package, downloaded and unpacked.
        Need {
            name: "apt-get",
            find: || program("apt-get"),
            remedy: Remedy::None("the hosts' kernel comes with apt-get"),
        },
        Need { name: "setpriv", find: || program("setpriv"), remedy: Remedy::Debian(&["util-linux"]) },
        Need { name: "QEMU", find: || program("qemu-system-x86_64"), remedy: Remedy::Debian(&["qemu-system-x86"]) },
        Need { name: "depmod", find: || program("depmod"), remedy: Remedy::Debian(&["kmod"]) },
        Need { name: "cpio", find: || program("cpio"), remedy: Remedy::Debian(&["cpio"]) },
        // It runs in the initial RAM disk, where no library is.
        Need {
            name: "static busybox",
            find: || package("busybox-static"),
            remedy: Remedy::Debian(&["busybox-static"]),
        },
        Need { name: "rdma-core", find: || package("rdma-core"), remedy: Remedy::Debian(&["rdma-core"]) },
        Need {
            name: "verbs providers",
            find: || package("ibverbs-providers"),
            remedy: Remedy::Debian(&["ibverbs-providers"]),
        },
        Need { name: "ibv_devinfo", find: || program("ibv_devinfo"), remedy: Remedy::Debian(&["ibverbs-utils"]) },
        Need { name: "rdma, ip, tc", find: || program("rdma"), remedy: Remedy::Debian(&["iproute2"]) },
        Need { name: "perftest", find: || program("ib_write_bw"), remedy: Remedy::Debian(&["perftest"]) },
        // The foreign layer is compared with them, by a C program.
        Need {
            name: "verbs headers",
            find: || {
                Path::new("/usr/include/infiniband/verbs.h").exists().then(|| "/usr/include/infiniband".to_owned())
            },
            remedy: Remedy::Debian(&["libibverbs-dev"]),
        },
        Need { name: "C linker (cc)", find: c_linker, remedy: Remedy::Debian(&["gcc", "libc6-dev"]) },
    ],
};

/// What counting instructions needs.
pub(crate) const CALLGRIND: Needs = Needs {
    of: "the count of instructions",
    list: &[
        Need { name: "C linker (cc)", find: c_linker, remedy: Remedy::Debian(&["gcc", "libc6-dev"]) },
        Need { name: "valgrind", find: || program("valgrind"), remedy: Remedy::Debian(&["valgrind"]) },
    ],
};

impl Needs {
    /// Whether all is there; nothing is shown.
    pub(crate) fn are_met(&self) -> bool {
        self.list.iter().all(|need| (need.find)().is_some())
    }
}

/// Shows each need and whether it is there, then installs what is missing, unless `no_install`.
pub(crate) fn provide(needs: &Needs, no_install: bool) -> Result<(), Error> {
    println!("needs of {}:", needs.of);
    let missing = look(needs.list);
    if missing.is_empty() {
        return Ok(());
    }
    let what = missing.iter().map(|need| need.name).collect::<Vec<_>>().join(", ");
    if let Some(remedy) = missing.iter().find_map(|need| by_hand(need)) {
        return Err(Error::Missing { what, remedy });
    }

    let packages = packages(&missing);
    let commands = installation(&packages, is_root());
    if no_install {
        let typed = commands.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join(" && ");
        return Err(Error::Missing { what, remedy: format!("nothing is installed with --no-install; run: {typed}") });
    }
    if command::on_path("apt-get").is_none() {
        let packages = packages.join(" ");
        return Err(Error::Missing {
            what,
            remedy: format!("no apt-get here; install what this system has for Debian's: {packages}"),
        });
    }
    for words in commands {
        command::run(Command::new(words[0]).args(&words[1..]))?;
    }
    let still = look(needs.list).into_iter().map(|need| need.name).collect::<Vec<_>>();
    if still.is_empty() {
        Ok(())
    } else {
        Err(Error::Missing {
            what: still.join(", "),
            remedy: "apt-get succeeded, and it is still not found".to_owned(),
        })
    }
}

/// Shows each need with what was found; those that are missing come back.
fn look(needs: &[Need]) -> Vec<&Need> {
    let mut missing = Vec::new();
    for need in needs {
        match (need.find)() {
            Some(found) => println!("  {:<16} {found}", need.name),
            None => {
                println!("  {:<16} MISSING", need.name);
                missing.push(need);
            }
        }
    }
    missing
}

fn by_hand(need: &Need) -> Option<String> {
    match need.remedy {
        Remedy::Debian(_) => None,
        Remedy::ByHand(command) => Some(format!("run: {command}")),
        Remedy::None(reason) => Some(reason.to_owned()),
    }
}

/// The packages that meet `needs`, each once.
fn packages(needs: &[&Need]) -> Vec<&'static str> {
    let mut all: Vec<&'static str> = Vec::new();
    for need in needs {
        if let Remedy::Debian(packages) = need.remedy {
            for package in packages {
                if !all.contains(package) {
                    all.push(package);
                }
            }
        }
    }
    all
}

/// The commands that install `packages`. The lists are refreshed first: a fresh container has none.
fn installation(packages: &[&'static str], root: bool) -> [Vec<&'static str>; 2] {
    let sudo: &[&str] = if root { &[] } else { &["sudo"] };
    [
        [sudo, &["apt-get", "update"]].concat(),
        [sudo, &["apt-get", "install", "--yes", "--no-install-recommends"], packages].concat(),
    ]
}

/// Whether this process may install without sudo: its entry in /proc belongs to its effective user (proc(5)).
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn c_linker() -> Option<String> {
    command::on_path("cc").map(|path| path.display().to_string())
}

fn x86_64_linux() -> Option<String> {
    cfg!(all(target_arch = "x86_64", target_os = "linux")).then(|| "yes".to_owned())
}

/// Its version, where this is Debian (os-release(5)).
fn debian() -> Option<String> {
    let told = fs::read_to_string("/etc/os-release").ok()?;
    let value = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim_matches('"'));
    (value("ID=")? == "debian").then(|| value("VERSION_ID=").unwrap_or("testing").to_owned())
}

fn program(name: &str) -> Option<String> {
    command::on_path_or_sbin(name).map(|path| path.display().to_string())
}

/// The version of a Debian package that is installed.
fn package(name: &str) -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status} ${Version}", name])
        .output()
        .ok()?;
    let told = String::from_utf8(output.stdout).ok()?;
    told.strip_prefix("installed ").map(str::to_owned)
}

fn rust() -> Option<String> {
    let output = Command::new("rustc").arg("--version").output().ok()?;
    let told = String::from_utf8(output.stdout).ok()?;
    // "rustc 1.95.0 (59807616e 2026-04-14)"
    let version = told.split_whitespace().nth(1)?;
    (major_minor(version)? >= major_minor(RUST_VERSION)?).then(|| version.to_owned())
}

/// The first two numbers of a version.
fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(major_minor("1.95"), Some((1, 95)));
        assert_eq!(major_minor("1.100.0-nightly"), Some((1, 100)));
        assert!(major_minor("1.100.0") > major_minor("1.95"));
        assert_eq!(major_minor("1"), None);
        assert_eq!(major_minor("stable"), None);
    }

    #[test]
    fn package_that_two_needs_share_is_named_once() {
        fn nothing() -> Option<String> {
            None
        }
        let first = Need { name: "first", find: nothing, remedy: Remedy::Debian(&["gcc", "libc6-dev"]) };
        let second = Need { name: "second", find: nothing, remedy: Remedy::Debian(&["make", "gcc"]) };
        assert_eq!(packages(&[&first, &second]), ["gcc", "libc6-dev", "make"]);
    }

    #[test]
    fn sudo_is_used_by_others_than_root() {
        assert_eq!(installation(&["gcc"], true)[1][0], "apt-get");
        for command in installation(&["gcc"], false) {
            assert_eq!(command[..2], ["sudo", "apt-get"]);
        }
    }
}
