//! What softnet's end-to-end tests and its demo stand on.
//!
//! A test body runs in network, mount and PID namespaces of its own ([`isolate`]): bridges, NAT, DHCP servers and processes
//! are real, touch nothing of the machine, and are gone with the body. Inside stand
//!
//! - an [`Internet`](internet::Internet) behind the host's uplink, whose every server is reachable from the host itself, so that
//!   "blocked" can be told from "not there";
//! - the real softnet binary on a socket pair as Tart makes it ([`softnet::Softnet`]), as root or setuid for a plain user;
//! - guests: smoltcp's stack ([`PortableGuest`](guest::portable::PortableGuest)), a kernel's stack
//!   ([`KernelGuest`](guest::kernel::KernelGuest)), a whole VM ([`vm`](guest::vm));
//! - the control: a [`PlainBridge`](plain::PlainBridge) whose ports filter nothing, where the attacks succeed.
//!
//! What a scenario may rely on is the trait [`Testbed`](testbed::Testbed), so that a Mac can run the same scenarios against
//! vmnet. Nothing here shares code with softnet: frames are written by hand in [`wire`].
//!
//! A step of the harness that fails panics and says on what; what a *guest* tries and may rightly fail at returns a `Result`.

pub mod attack;
pub mod binary;
pub mod guest;
pub mod internet;
pub mod isolate;
pub mod netns;
pub mod plain;
pub mod pump;
pub mod scenarios;
pub mod servers;
pub mod sniffer;
pub mod softnet;
pub mod state;
pub mod sys;
pub mod testbed;
pub mod tools;
pub mod wait;
pub mod wire;
