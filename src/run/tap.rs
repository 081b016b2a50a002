//! `--tap`: the guest's socket as a TAP device, for programs that know nothing else.
//!
//! # Theory of operation
//! A TAP device on the host could be moved: whoever owns it can put it on another bridge, past softnet. So this one is in a network
//! namespace of its own, where there is nothing else: what is written to the device gets to the *pump*
//! (`run::pump`), or nowhere. The command is started in there. Any user may make such a namespace, inside a user namespace, where the kernel lets users
//! have those.
//!
//! The pump is a child of this process: it makes the namespaces and the device, says so, takes from itself whatever it does not
//! need ([`crate::sandbox::enter_as_caller`]), and moves frames between the device and the guest's socket, whose other end
//! is softnet's. So to softnet nothing is different, and it has no part in this.
//!
//! **Deaf.** A frame that comes in over a device goes up into the network stack of its namespace as well. That one has no address and no
//! route; the link has no IPv6 and no ARP, and is in no group: nothing answers, and nothing is sent but by the pump.
//!
//! **The end.** The namespace is its processes': with the last of them it goes, and so does the device, whoever is killed and how. The
//! pump is killed by this process, or by the kernel when this process ends; then nobody has the guest's end of the socket, and softnet ends.

use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, ExitStatus};

use thiserror::Error;

use super::pump::{End, Pump};
use crate::sandbox::{self, Room, calls};
use crate::sys::fork::{self, Awaited};
use crate::sys::namespace::{self, Kind};
use crate::sys::port::Port;
use crate::sys::tun::{self, Header, Left};
use crate::sys::{packet, pidfd};

/// What waits for the pump at most, in bytes; without a right, the system's own limit (net.core.rmem_max) is less.
const QUEUE: i32 = 4 << 20;
/// What the pump says when the device is there.
const THERE: &[u8] = b"+";

/// The pump, and the namespaces that it is in.
#[derive(Debug)]
pub(super) struct Tap {
    kind: Kind,
    pump: Awaited,
}

/// Why there is no device.
#[derive(Debug, Error)]
enum TapError {
    #[error(
        "no network namespace of its own: {0}: root may make one, and other users where the kernel lets them \
         (sysctl user.max_user_namespaces above 0; on Debian kernel.unprivileged_userns_clone=1; on Ubuntu an AppArmor profile with \
         userns for softnet, or kernel.apparmor_restrict_unprivileged_userns=0; in a container, one that allows unshare(2))"
    )]
    Namespace(io::Error),
    #[error("/dev/net/tun: {0}: load the kernel's module by 'modprobe tun'; a container has to be given the device")]
    NoTun(io::Error),
    #[error(
        "/dev/net/tun: {0}: this user may not open it, nor may COMMAND: 'chmod 666 /dev/net/tun' is what most systems have"
    )]
    ClosedTun(io::Error),
    #[error("{what}: {source}")]
    Else { what: &'static str, source: io::Error },
}

impl Tap {
    /// Makes the device `name` in a network of its own, and moves its frames to and from `wire` from now on.
    ///
    /// # Errors
    /// What went wrong and how to mend it.
    pub(super) fn start(name: &str, wire: OwnedFd) -> Result<Self, String> {
        let kind = Kind::of_this_user();
        let text = |error: io::Error| error.to_string();
        let (mut told, teller) = io::pipe().map_err(text)?;
        let kept = [wire.as_raw_fd(), teller.as_raw_fd()];
        let pump = fork::run_in_awaited_child(&kept, || match prepare(name, kind, wire) {
            Ok(pump) => pump_until_the_end(pump, teller),
            Err(error) => {
                let _ = write!(&teller, "{error}");
                1
            }
        });
        let pump = pump.map_err(text)?;
        let mut said = Vec::new();
        told.read_to_end(&mut said).map_err(text)?;
        match &said[..] {
            THERE => Ok(Tap { kind, pump }),
            b"" => Err("the process that moves its frames has ended".into()),
            said => Err(String::from_utf8_lossy(said).into_owned()),
        }
    }

    /// Has the program of `command` start where the device is.
    ///
    /// # Errors
    /// ESRCH when the pump has ended.
    pub(super) fn start_inside(&self, command: &mut Command) -> io::Result<()> {
        namespace::start_in(command, self.kind, pidfd::open_pid(self.pump.pid())?);
        Ok(())
    }

    /// Ends the pump, and waits until it has ended.
    pub(super) fn end(self) {
        drop(self.pump);
    }

    /// How the pump ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.pump.ended()
    }
}

/// In the child: the namespaces, the device, the sockets.
fn prepare(name: &str, kind: Kind, wire: OwnedFd) -> Result<Pump, TapError> {
    let failed = |what| move |source: io::Error| TapError::Else { what, source };
    fork::stand_apart().map_err(failed("signals"))?;
    namespace::enter_own(kind).map_err(TapError::Namespace)?;
    let left = make_device(name)?;
    namespace::disable_ipv6(name).map_err(failed("no IPv6 on the device"))?;
    tun::set_up_silently(name).map_err(failed("the device cannot be set up"))?;
    let from_program = packet::receiver(name, QUEUE).map_err(failed("a packet socket"))?;
    let to_program = packet::sender(name).map_err(failed("a packet socket"))?;
    Ok(Pump::new(from_program, Port::with_offload(to_program, left), wire))
}

/// What the kernel can leave to the device's reader it can take from us: a kernel that knows no runs of UDP knows none either way.
fn make_device(name: &str) -> Result<Left, TapError> {
    let make = || {
        let (device, _) = tun::create_tap(name, Header::Vnet)?;
        let left = tun::leave_to_us(&device)?;
        // What is left to it is for the program to say.
        tun::leave_nothing(&device)?;
        tun::outlive(&device)?;
        Ok(left)
    };
    make().map_err(|source: io::Error| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TapError::NoTun(source),
        Some(libc::EACCES) => TapError::ClosedTun(source),
        // A user namespace whose capabilities count for nothing.
        Some(libc::EPERM) => TapError::Namespace(source),
        _ => TapError::Else { what: "the device cannot be made", source },
    })
}

/// In the child: no right any more, word to the parent, and frames.
fn pump_until_the_end(pump: Pump, mut teller: PipeWriter) -> i32 {
    let room = Room { calls: calls::PUMP, left: &[], descriptors: 2 };
    if let Err(error) = fork::set_name(c"softnet-tap")
        .map_err(|error| error.to_string())
        .and_then(|()| sandbox::enter_as_caller(&room).map_err(|error| error.to_string()))
    {
        let _ = write!(&teller, "{error}");
        return 1;
    }
    if teller.write_all(THERE).is_err() {
        return 1;
    }
    drop(teller);
    match pump.run() {
        End::Wire => 0,
        End::Broken(error) => {
            log::warn!("--tap: its frames cannot be moved any more: {error}");
            1
        }
    }
}
