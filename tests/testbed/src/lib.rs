//! What softnet's end-to-end tests and its demo stand on.
//!
//! What a scenario may rely on is the trait [`Testbed`](testbed::Testbed), so that a Mac runs the same scenarios as Linux does.
//! On both stand
//!
//! - the real softnet binary on a socket pair as Tart makes it ([`softnet::Softnet`]), as root or setuid for a plain user;
//! - guests with smoltcp's stack ([`PortableGuest`](guest::portable::PortableGuest));
//! - a witness of what really passes ([`sniffer`]).
//!
//! **Linux**: a test body runs in network, mount and PID namespaces of its own (`isolate`): bridges, NAT, DHCP servers and
//! processes are real, touch nothing of the machine, and are gone with the body. Inside stand an `Internet` behind the
//! host's uplink, whose every server is reachable from the host itself, so that "blocked" can be told from "not there";
//! also guests with a kernel's stack (`KernelGuest`), a whole VM (`guest::vm`), and the control, a `PlainBridge` whose
//! ports filter nothing, where the attacks succeed. A `Pair` is an attacker and its victim on either, for real tools.
//!
//! **macOS**: the machine's own vmnet and bootpd, by turns (`isolate` is a lock there), and the Internet as it is. What a Mac
//! cannot show it says, and counts ([`shown`]); it skips nothing in silence.
//!
//! Nothing here shares code with softnet: frames are written by hand in [`wire`]. A step of the harness that fails panics and
//! says on what; what a *guest* tries and may rightly fail at returns a `Result`.

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("softnet's end-to-end tests run on Linux and macOS");

pub mod attack;
pub mod binary;
pub mod channel;
pub mod guest;
#[cfg(target_os = "linux")]
pub mod internet;
#[cfg_attr(target_os = "macos", path = "turns.rs")]
pub mod isolate;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod mac;
#[cfg(target_os = "linux")]
pub mod netns;
#[cfg(target_os = "linux")]
pub mod pair;
#[cfg(target_os = "linux")]
pub mod plain;
#[cfg(target_os = "linux")]
pub mod pump;
#[cfg(target_os = "linux")]
pub mod scapy;
pub mod scenarios;
pub mod servers;
pub mod shown;
pub mod sniffer;
pub mod softnet;
#[cfg(target_os = "linux")]
pub mod state;
pub mod sys;
pub mod testbed;
pub mod tools;
#[cfg(target_os = "linux")]
pub mod traps;
pub mod wait;
pub mod wire;
