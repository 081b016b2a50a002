//! What right vmnet asks for, and how a softnet without it gets it.

use std::env;

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
    let exe = env::current_exe().map_or_else(|_| "softnet".into(), |exe| exe.display().to_string());
    remedies_for(&exe)
}

fn remedies_for(exe: &str) -> String {
    format!(
        "as an administrator, set the setuid bit: sudo chown root '{exe}' && sudo chmod u+s '{exe}'   or allow sudo: echo \
         '%admin ALL=(root) NOPASSWD: {}' | sudo tee /etc/sudoers.d/softnet",
        exe.replace(' ', "\\ ")
    )
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

    #[test]
    fn the_remedies_are_commands_to_paste() {
        let remedies = remedies_for("/opt/soft net/bin/softnet");
        assert!(
            remedies
                .contains("sudo chown root '/opt/soft net/bin/softnet' && sudo chmod u+s '/opt/soft net/bin/softnet'")
        );
        assert!(remedies.contains("NOPASSWD: /opt/soft\\ net/bin/softnet' | sudo tee /etc/sudoers.d/softnet"));
    }
}
