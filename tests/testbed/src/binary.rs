//! The program under test, where and with the rights that a user would have it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::isolate;

/// The user and group that nobody else uses here, as whom the setuid program is started.
pub const CALLER: u32 = 4711;

/// The user and group as whom a plain user's programs are started: nobody's on Linux; on macOS, where vmnet may look at who
/// asks, the one who built the tests, unless that is root.
#[must_use]
pub fn caller() -> (u32, u32) {
    #[cfg(target_os = "macos")]
    {
        use std::os::unix::fs::MetadataExt;
        let built = std::env::current_exe().and_then(|exe| exe.metadata());
        if let Some(built) = built.ok().filter(|built| built.uid() != 0) {
            return (built.uid(), built.gid());
        }
    }
    (CALLER, CALLER)
}

/// A directory of [`CALLER`]'s own, which nobody else may look into. Only inside [`crate::isolate`].
///
/// # Panics
/// When it cannot be made.
#[cfg(target_os = "linux")]
#[must_use]
pub fn callers_directory() -> PathBuf {
    let path = Path::new(isolate::SCRATCH).join("caller");
    fs::create_dir_all(&path).expect("a directory is made");
    chown(&path, Some(CALLER), Some(CALLER)).expect("it is the caller's");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("and nobody else's");
    path
}

/// Copies `program` into a directory that only root may write to, owned by root, with the permissions `mode`.
///
/// # Panics
/// When it cannot be copied.
#[must_use]
pub fn install(program: &Path, folder: &str, mode: u32) -> PathBuf {
    let folder = PathBuf::from(isolate::SCRATCH).join(folder);
    let copy = copy_into(program, &folder);
    chown(&copy, Some(0), Some(0)).expect("root owns the copy");
    fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("the copy has its permissions");
    copy
}

/// A copy with the setuid bit, as Tart makes one.
#[must_use]
pub fn install_setuid(program: &Path) -> PathBuf {
    install(program, "setuid", 0o4755)
}

/// Copies `program` into `folder`, in place of what may be there.
///
/// # Panics
/// When it cannot be copied.
pub(crate) fn copy_into(program: &Path, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).expect("a directory for the program is made");
    let copy = folder.join("softnet");
    // macOS kills a program whose file was written anew in place: it remembers the old file's signature.
    let _ = fs::remove_file(&copy);
    fs::copy(program, &copy).unwrap_or_else(|error| panic!("{} is not copied: {error}", program.display()));
    copy
}
