//! What can go wrong between a command line and a link, each with its mend.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::host::Interrupted;

/// Why the Linux link could not be opened, shown or taken down.
///
/// Every message is one line that names what failed, on what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process was asked to end, or its guest is gone.
    #[error("stopped while the network was being set up")]
    Interrupted(#[from] Interrupted),

    /// A system call that should not fail did.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried, as "create the bridge softnet0".
        what: String,
        /// What the kernel said.
        source: io::Error,
    },

    /// A feature of the kernel is not there.
    #[error("cannot {what}: {source}: load the kernel's {module} with `modprobe {module}`")]
    KernelModule {
        /// What was tried.
        what: String,
        /// The module that has the feature.
        module: &'static str,
        /// What the kernel said.
        source: io::Error,
    },

    /// A program is not installed.
    #[error("{program} not found in /usr/sbin, /usr/bin, /sbin, /bin: install it with `apt-get install {package}`")]
    ProgramMissing {
        /// Its name.
        program: &'static str,
        /// Debian's package.
        package: &'static str,
    },

    /// A program could be replaced by someone who is not root, so that root must not run it.
    #[error("{} is not owned by root or is writable by others: reinstall {package}", path.display())]
    ProgramUnsafe {
        /// Where it is.
        path: PathBuf,
        /// Debian's package.
        package: &'static str,
    },

    /// A program ended with an error.
    #[error("{program} failed on {subject}: {message}")]
    ProgramFailed {
        /// Its name.
        program: &'static str,
        /// What it worked on.
        subject: String,
        /// How it ended, and the last line it said.
        message: String,
    },

    /// A program did not end in time.
    #[error("{program} did not finish within {} s on {subject} and was killed: look for it in the system's log", limit.as_secs())]
    ProgramHung {
        /// Its name.
        program: &'static str,
        /// What it worked on.
        subject: String,
        /// How long it had.
        limit: Duration,
    },

    /// The state directory could be written to by someone who is not root.
    #[error("{} is not a directory of root's that only root writes to: remove it with `rm -r {}`", path.display(), path.display())]
    StateUnsafe {
        /// Where it is.
        path: PathBuf,
    },

    /// Another softnet holds the lock for too long.
    #[error("another softnet (process {holder}) has held {} for {} s: end it with `kill -9 {holder}`", path.display(), waited.as_secs())]
    LockBusy {
        /// The lock file.
        path: PathBuf,
        /// The process that wrote its number into it last.
        holder: String,
        /// How long we waited.
        waited: Duration,
    },

    /// A link of the bridge's name is something else.
    #[error("{name} exists and is a {kind}, not a bridge: remove or rename it (`ip link set {name} down name other`)")]
    NotABridge {
        /// The name.
        name: String,
        /// What it is.
        kind: String,
    },

    /// `--bridge` names no link.
    #[error("--bridge {name}: there is no such interface: `ip link show type bridge` lists the bridges there are")]
    NoSuchBridge {
        /// The name.
        name: String,
    },

    /// `--bridge` names a link of another kind.
    #[error("--bridge {name}: it is a {kind}, not a bridge: `ip link show type bridge` lists the bridges there are")]
    BridgeWrongKind {
        /// The name.
        name: String,
        /// What it is.
        kind: String,
    },

    /// `--bridge` names a bridge that is down.
    #[error("--bridge {name}: the bridge is down: bring it up with `ip link set {name} up`")]
    BridgeDown {
        /// The name.
        name: String,
    },

    /// `--bridge` names a bridge without an address.
    #[error(
        "--bridge {name}: the bridge has no IPv4 address: give it one with `ip address add ADDRESS/PREFIX dev {name}`"
    )]
    BridgeWithoutAddress {
        /// The name.
        name: String,
    },

    /// `--bridge` names a bridge whose prefix leaves no room for a guest.
    #[error("--bridge {name}: its subnet {subnet} has no room for a guest: use a prefix of /30 or shorter")]
    BridgeTooSmall {
        /// The name.
        name: String,
        /// Its subnet.
        subnet: Ipv4Net,
    },

    /// `--subnet` is not a subnet that guests can have.
    #[error("--subnet {subnet}: {reason}: give a private subnet of /16 to /30, such as 192.168.100.0/24")]
    SubnetUnusable {
        /// The value.
        subnet: Ipv4Net,
        /// Why not.
        reason: &'static str,
    },

    /// `--subnet` is in use on this host.
    #[error("--subnet {subnet}: {used_by} already uses {other}: choose another subnet")]
    SubnetCollides {
        /// The value.
        subnet: Ipv4Net,
        /// What it overlaps.
        other: Ipv4Net,
        /// Whose that is.
        used_by: String,
    },

    /// `--subnet` differs from what the bridge has.
    #[error(
        "--subnet {subnet}: {bridge} already has {current}: leave the option out, or end the guests and run `softnet network down` first"
    )]
    SubnetDiffers {
        /// The value.
        subnet: Ipv4Net,
        /// The bridge.
        bridge: String,
        /// Its subnet.
        current: Ipv4Net,
    },

    /// The subnet that the bridge of guests has cannot serve them.
    #[error(
        "{bridge} has the address {current}, whose subnet cannot serve guests: remove it with `ip address flush dev {bridge}`"
    )]
    AddressUnusable {
        /// The bridge.
        bridge: String,
        /// What it has.
        current: Ipv4Net,
    },

    /// Every candidate is taken.
    #[error(
        "no free /24 in 192.168.64.0/18, all collide with addresses or routes of this host: name one with --subnet"
    )]
    NoFreeSubnet,

    /// The MAC is that of the bridge or of an interface of the host's on it.
    #[error("--vm-mac-address {mac}: it is the MAC of {owner} on {bridge}: give the guest another")]
    MacIsHosts {
        /// The guest's MAC.
        mac: String,
        /// The link that has it.
        owner: String,
        /// The bridge.
        bridge: String,
    },

    /// Another softnet serves a guest of this MAC.
    #[error(
        "--vm-mac-address {mac}: a guest with this MAC is running on {bridge} (process {holder}): end it, or give this guest another MAC"
    )]
    MacInUse {
        /// The guest's MAC.
        mac: String,
        /// The bridge.
        bridge: String,
        /// The process that serves it.
        holder: String,
    },

    /// The user has as many guests as the administrator lets a user have.
    #[error(
        "uid {uid} has {most} guests running, as many as {} lets a user have: end one, or ask the administrator for more",
        crate::administrator::FILE
    )]
    TooManyGuests {
        /// The user.
        uid: u32,
        /// How many it may have.
        most: u32,
    },

    /// Something on the bridge has used this MAC lately.
    #[error(
        "--vm-mac-address {mac}: it was seen on {port} of {bridge}: end what uses it there, or give this guest another MAC"
    )]
    MacSeen {
        /// The guest's MAC.
        mac: String,
        /// The port.
        port: String,
        /// The bridge.
        bridge: String,
    },

    /// `network down` without force while guests run.
    #[error("guests are attached: {}: end them, or use --force", guests.join(", "))]
    GuestsAttached {
        /// The guests, each as "softnet-0 (02:00:00:00:00:05) on softnet0".
        guests: Vec<String>,
    },
}

impl Error {
    /// An [`Error::Os`], for `map_err`.
    pub(super) fn os(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Os { what, source }
    }
}
