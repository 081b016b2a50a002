//! An attacker and its victim on one link, each with a kernel's stack: what a real tool is tried on, twice.
//!
//! [`Pair::on_a_plain_bridge`] is the control: there the tool must reach what it is for. [`Pair::behind_softnet`] is the same
//! with a softnet before each of the two. A test runs one function over both, which says whether the attack succeeded:
//! yes for the first, no for the second. That the tool had said its piece to softnet, and was not just silent, shows in what
//! softnet counted.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::attack::{Party, Spoof};
use crate::guest::KernelGuest;
use crate::plain::PlainBridge;
use crate::pump::Pump;
use crate::sniffer::Sniffer;
use crate::softnet::{Ended, Softnet};
use crate::testbed::{LinuxTestbed, Testbed};
use crate::wire::Mac;
use crate::{scapy, state, tools};

/// Of whom the attacks are.
pub const ATTACKER: Mac = Mac::guest(0xa);
/// And against whom.
pub const VICTIM: Mac = Mac::guest(0x1c);

/// Debian's Python, for which Debian's scapy is: the first in PATH may be another.
const PYTHON: &str = "/usr/bin/python3";

/// Two guests with a lease each.
#[derive(Debug)]
pub struct Pair {
    /// Who runs the tools.
    pub attacker: KernelGuest,
    /// Who must not notice.
    pub victim: KernelGuest,
    /// The bridge that both are on.
    pub bridge: &'static str,
    softnets: Vec<Softnet>,
    _plain: Option<(PlainBridge, [Pump; 2])>,
}

impl Pair {
    /// The control: the bridge passes what comes.
    #[must_use]
    pub fn on_a_plain_bridge() -> Self {
        let mut plain = PlainBridge::new("plain0", Ipv4Addr::new(192, 168, 200, 1));
        let [(attacker, first), (victim, second)] = ["attacker", "victim"].map(|_| plain.attach());
        let attacker = leased("plain-attacker", attacker, ATTACKER);
        let victim = leased("plain-victim", victim, VICTIM);
        Pair { attacker, victim, bridge: "plain0", softnets: Vec::new(), _plain: Some((plain, [first, second])) }
    }

    /// The same behind two softnets with these `options`.
    #[must_use]
    pub fn behind_softnet(bed: &LinuxTestbed, options: &str) -> Self {
        let [(first, attacker), (second, victim)] = [ATTACKER, VICTIM].map(|mac| bed.launch(mac).with(options).start());
        let attacker = leased("attacker", attacker, ATTACKER);
        let victim = leased("victim", victim, VICTIM);
        Pair { attacker, victim, bridge: "softnet0", softnets: vec![first, second], _plain: None }
    }

    /// Whether there is no softnet here.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.softnets.is_empty()
    }

    /// The guests' gateway.
    #[must_use]
    pub fn gateway(&self) -> Party {
        Party { mac: state::mac_of(self.bridge), ip: self.attacker.gateway() }
    }

    /// The attacker's address.
    #[must_use]
    pub fn attackers_ip(&self) -> Ipv4Addr {
        self.attacker.lease().address
    }

    /// The victim's address.
    #[must_use]
    pub fn victims_ip(&self) -> Ipv4Addr {
        self.victim.lease().address
    }

    /// An address of the subnet that nobody has.
    #[must_use]
    pub fn nobodys_ip(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.gateway().ip.octets();
        Ipv4Addr::new(a, b, c, 253)
    }

    /// A witness of all that comes to the victim.
    #[must_use]
    pub fn at_the_victim(&self) -> Sniffer {
        self.victim.netns().enter(|| Sniffer::on("eth0"))
    }

    /// The control after each attack: the attacker is served, and what it sent before has been judged.
    ///
    /// # Panics
    /// When it is not.
    pub fn attacker_is_served(&self) {
        self.attacker.run(&format!("ping -c 1 -W 5 {}", self.gateway().ip));
    }

    /// Sends what `attack` of [`scapy`] makes, and returns it.
    ///
    /// # Panics
    /// When scapy fails, or says what it does not send.
    pub fn scapy(&self, attack: &str) -> Vec<Spoof> {
        let gateway = self.gateway();
        let mut command = self.attacker.command(PYTHON);
        command.args(["-c", scapy::SCRIPT, attack, &gateway.mac.to_string(), &gateway.ip.to_string()]);
        command.args([&self.attackers_ip().to_string(), &VICTIM.to_string(), &self.victims_ip().to_string()]);
        let printed = tools::finish(&mut command);
        let frames = printed.lines().map(|line| scapy::read(line).expect("a name and a frame"));
        frames.collect()
    }

    /// Ends the softnets, and returns what the attacker's said last.
    ///
    /// # Panics
    /// When there are none, or they do not end in order.
    #[must_use]
    pub fn stop(mut self) -> Ended {
        let _victims = self.softnets.pop().expect("a softnet before the victim").stop();
        self.softnets.pop().expect("a softnet before the attacker").stop()
    }
}

fn leased(name: &str, socket: UnixDatagram, mac: Mac) -> KernelGuest {
    let mut guest = KernelGuest::new(name, socket, mac);
    guest.dhcp();
    guest
}

/// A program that runs until it is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts `command`, silently.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Running(child.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Some undo their attack when they are asked to end: they are not asked.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}
