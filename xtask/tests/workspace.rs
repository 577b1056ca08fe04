//! The workspace as cargo sees it, for the other rooms.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, Package};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository's root")
}

/// The workspace's manifests as cargo reads them. Nothing is resolved, so neither network nor lock file is asked.
pub(crate) fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().current_dir(root()).exec().expect("cargo metadata")
}

/// A TOML file of the repository.
pub(crate) fn toml(path: impl AsRef<Path>) -> toml::Table {
    let path = path.as_ref();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether a dependency is there for tests, examples and benches only.
pub(crate) fn is_dev(dependency: &Dependency) -> bool {
    dependency.kind == DependencyKind::Development
}

/// Whether a dependency is a crate of this workspace.
pub(crate) fn is_ours(dependency: &Dependency) -> bool {
    dependency.path.is_some()
}

/// The dependencies of `package` on crates from outside.
pub(crate) fn external(package: &Package) -> impl Iterator<Item = &Dependency> {
    package.dependencies.iter().filter(|dependency| !is_ours(dependency))
}
