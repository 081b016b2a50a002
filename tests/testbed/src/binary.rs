//! The program under test, where and with the rights that a user would have it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::isolate;

/// The user and group that nobody else uses here, as whom the setuid program is started.
pub const CALLER: u32 = 4711;

/// Copies `program` into a directory that only root may write to, owned by root, with the permissions `mode`.
///
/// # Panics
/// When it cannot be copied.
#[must_use]
pub fn install(program: &Path, folder: &str, mode: u32) -> PathBuf {
    let folder = PathBuf::from(isolate::SCRATCH).join(folder);
    fs::create_dir_all(&folder).expect("a directory for the program is made");
    let copy = folder.join("softnet");
    fs::copy(program, &copy).unwrap_or_else(|error| panic!("{} is not copied: {error}", program.display()));
    chown(&copy, Some(0), Some(0)).expect("root owns the copy");
    fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("the copy has its permissions");
    copy
}

/// A copy with the setuid bit, as Tart makes one.
#[must_use]
pub fn install_setuid(program: &Path) -> PathBuf {
    install(program, "setuid", 0o4755)
}
