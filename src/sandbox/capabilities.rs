//! Capabilities that could come back: the bounding set and the secure bits (capabilities(7)).
//!
//! Done before the drop, since both need CAP_SETPCAP, which the drop takes away. The sets that a process has at the moment
//! are the drop's to clear.

use std::io;

use caps::{CapSet, Capability};

/// Root's uid means nothing any more: no set is filled when a program is started as root, no set kept over a change of
/// uid, none raised as ambient; and none of that can be changed. SECBIT_NO_SETUID_FIXUP stays *off*, and locked so: with it,
/// the kernel would not empty the sets when the uid changes from root's.
const SECURE_BITS: libc::c_int = libc::SECBIT_NOROOT
    | libc::SECBIT_NOROOT_LOCKED
    | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
    | libc::SECBIT_KEEP_CAPS_LOCKED
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

/// What of root's the drop itself needs, beside the right to change its ids.
const NEEDED: [(Capability, &str); 2] = [
    (Capability::CAP_SETPCAP, "to give up capabilities for good"),
    (Capability::CAP_SYS_CHROOT, "to go where there are no files"),
];

/// Empties the bounding set and locks the secure bits.
///
/// # Errors
/// The capability that is missing, in a container for instance, or what the kernel refused.
pub(crate) fn give_up() -> Result<(), String> {
    for (capability, why) in NEEDED {
        let has = caps::has_cap(None, CapSet::Effective, capability);
        if !has.map_err(|error| format!("capabilities: {error}"))? {
            return Err(format!(
                "root lacks {capability} here, {why}: start softnet in a container or unit that has it"
            ));
        }
    }
    prctl(libc::PR_SET_SECUREBITS, SECURE_BITS.unsigned_abs()).map_err(|error| format!("secure bits: {error}"))?;
    for capability in known() {
        prctl(libc::PR_CAPBSET_DROP, capability)
            .map_err(|error| format!("the bounding set, capability {capability}: {error}"))?;
    }
    Ok(())
}

/// Reads both back.
///
/// # Errors
/// What is not as [`give_up`] left it.
pub(crate) fn prove() -> Result<(), String> {
    let bits = prctl(libc::PR_GET_SECUREBITS, 0).map_err(|error| format!("secure bits: {error}"))?;
    if bits != SECURE_BITS {
        return Err(format!("the secure bits are {bits:#x} afterwards"));
    }
    match known().find(|&capability| prctl(libc::PR_CAPBSET_READ, capability).is_ok_and(|is_in| is_in != 0)) {
        Some(capability) => Err(format!("capability {capability} is in the bounding set afterwards")),
        None => Ok(()),
    }
}

/// The numbers of all capabilities that the kernel has, which may be more than any list knows.
fn known() -> impl Iterator<Item = u32> {
    (0..64).take_while(|&capability| prctl(libc::PR_CAPBSET_READ, capability).is_ok())
}

fn prctl(operation: libc::c_int, argument: u32) -> io::Result<libc::c_int> {
    let argument = libc::c_ulong::from(argument);
    // SAFETY: the operations above take one number and touch no memory of ours.
    let result = unsafe { libc::prctl(operation, argument, 0, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_at_least_the_capabilities_that_softnet_had() {
        let last = known().last().expect("some");
        assert!(last >= Capability::CAP_SYS_ADMIN.index().into(), "{last}");
    }
}
