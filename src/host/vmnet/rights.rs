//! What right vmnet asks for, and how a softnet without it gets it.

use std::env;

use crate::privilege::escalate;

/// Darwin 25 is macOS 26, from which on vmnet starts interfaces without root, by what its users report.
const DARWIN_WITHOUT_ROOT: u32 = 25;

/// Whether this macOS lets only root start an interface. The kernel's own release is asked (uname(3)), since the version
/// of the product is shown to programs in disguise, by the SDK that they were built with and by SYSTEM_VERSION_COMPAT.
#[must_use]
pub fn root_needed() -> bool {
    match nix::sys::utsname::uname() {
        Ok(system) => system.release().to_str().is_none_or(root_needed_by),
        Err(_) => true,
    }
}

fn root_needed_by(release: &str) -> bool {
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_none_or(|major| major < DARWIN_WITHOUT_ROOT)
}

/// Both ways to root, as commands to paste.
pub(super) fn remedies() -> String {
    let exe = env::current_exe().unwrap_or_else(|_| "softnet".into());
    escalate::remedies(&exe, "admin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macos_26_needs_no_root_and_what_is_not_understood_does() {
        for release in ["25.0.0", "25.4.0", "26.1", "25"] {
            assert!(!root_needed_by(release), "{release}");
        }
        for release in ["24.6.0", "23.1.0", "", "x", "-1.0", "99999999999999.0"] {
            assert!(root_needed_by(release), "{release}");
        }
    }
}
