//! An attacker and its victim on one link, each with a kernel's stack: what a real tool is tried on, twice.
//!
//! [`Pair::on_a_plain_bridge`] is the control: there the tool must reach what it is for. [`Pair::behind_softnet`] is the same
//! with a softnet before each of the two. A test runs one function over both, which says whether the attack succeeded:
//! yes for the first, no for the second. That the tool had said its piece to softnet, and was not just silent, shows in what
//! softnet counted.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::attack::{Party, Spoof};
use crate::guest::{KernelGuest, PortableGuest};
use crate::plain::PlainBridge;
use crate::pump::Pump;
use crate::sniffer::Sniffer;
use crate::softnet::{Ended, Launch, Softnet};
use crate::testbed::{LinuxTestbed, Testbed};
use crate::wait::{PATIENCE, Timeout};
use crate::wire::{self, Mac};
use crate::{isolate, scapy, state, tools};

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
    /// The attacker's port of it: what is seen there has left the attacker's hands.
    pub port: &'static str,
    side: Side,
}

/// What is between the guests and the bridge.
#[derive(Debug)]
enum Side {
    Plain { bridge: PlainBridge, _pumps: [Pump; 2] },
    Softnet { launch: Launch, attackers: Softnet, victims: Softnet },
}

impl Pair {
    /// The control: the bridge passes what comes.
    #[must_use]
    pub fn on_a_plain_bridge() -> Self {
        let mut plain = PlainBridge::new("plain0", Ipv4Addr::new(192, 168, 200, 1));
        let [(attacker, first), (victim, second)] = ["attacker", "victim"].map(|_| plain.attach());
        let attacker = leased("plain-attacker", attacker, ATTACKER);
        let victim = leased("plain-victim", victim, VICTIM);
        Pair {
            attacker,
            victim,
            bridge: "plain0",
            port: "plain0p1",
            side: Side::Plain { bridge: plain, _pumps: [first, second] },
        }
    }

    /// The same behind two softnets with these `options`.
    #[must_use]
    pub fn behind_softnet(bed: &LinuxTestbed, options: &str) -> Self {
        let launch = bed.launch(ATTACKER).with(options);
        let (attackers, attacker) = launch.start();
        let (victims, victim) = launch.clone().for_guest(VICTIM).start();
        let attacker = leased("attacker", attacker, ATTACKER);
        let victim = leased("victim", victim, VICTIM);
        Pair {
            attacker,
            victim,
            bridge: "softnet0",
            port: "softnet-0",
            side: Side::Softnet { launch, attackers, victims },
        }
    }

    /// Whether there is no softnet here.
    #[must_use]
    pub fn is_control(&self) -> bool {
        matches!(self.side, Side::Plain { .. })
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

    /// A witness of what leaves the attacker's hands while `tries` runs, which sees the honest ping after it too.
    ///
    /// # Panics
    /// When it does not.
    pub fn watched<T>(&self, tries: impl FnOnce() -> T) -> (Sniffer, T) {
        let mut witness = Sniffer::on(self.port);
        let result = tries();
        self.attacker_is_served();
        let (own, gateway) = (self.attackers_ip(), self.gateway());
        let honest = |frame: &[u8]| {
            wire::destination(frame) == Some(gateway.mac) && wire::ip_addresses(frame) == Some((own, gateway.ip))
        };
        witness.expect("the attacker's honest ping", PATIENCE, honest).expect("the witness sees");
        (witness, result)
    }

    /// A witness of all that the attacker says, whether it comes anywhere or not.
    #[must_use]
    pub fn at_the_attacker(&self) -> Sniffer {
        self.attacker.netns().enter(|| Sniffer::on("eth0"))
    }

    /// Sends what `attack` of [`scapy`] makes, and returns it.
    ///
    /// # Panics
    /// When scapy fails, or says what it does not send.
    pub fn scapy(&self, attack: &str) -> Vec<Spoof> {
        let gateway = self.gateway();
        let script = format!("{}/attack.py", isolate::SCRATCH);
        std::fs::write(&script, scapy::SCRIPT).expect("the script is written");
        let (me, victim) = (self.attackers_ip(), self.victims_ip());
        let facts = format!("{} {} {me} {VICTIM} {victim}", gateway.mac, gateway.ip);
        let printed = self.attacker.run(&format!("{PYTHON} {script} {attack} {facts}"));
        let frames = printed.lines().map(|line| scapy::read(line).expect("a name and a frame"));
        frames.collect()
    }

    /// One more guest on the link, behind a softnet if the pair is: it has no address yet.
    ///
    /// # Panics
    /// When its softnet does not start.
    #[must_use]
    pub fn newcomer(&mut self, number: u8) -> Newcomer {
        let mac = Mac::guest(number);
        let ports = || tools::run(&format!("ip -o link show master {}", self.bridge));
        let before = ports();
        let (socket, held) = match &mut self.side {
            Side::Plain { bridge, .. } => {
                let (socket, pump) = bridge.attach();
                (socket, Held::Pump { _pump: pump })
            }
            Side::Softnet { launch, .. } => {
                let (softnet, socket) = launch.clone().for_guest(mac).start();
                (socket, Held::Softnet(softnet))
            }
        };
        // "7: softnet-2: <..."
        let names =
            |list: &str| list.lines().filter_map(|line| Some(line.split(": ").nth(1)?.to_owned())).collect::<Vec<_>>();
        let old = names(&before);
        let port = names(&ports()).into_iter().find(|port| !old.contains(port)).expect("a guest has a port");
        Newcomer { guest: PortableGuest::new(socket, mac), port, held }
    }

    /// Ends the softnets, and returns what the attacker's said last.
    ///
    /// # Panics
    /// When there are none, or they do not end in order.
    #[must_use]
    pub fn stop(self) -> Ended {
        let Side::Softnet { attackers, victims, .. } = self.side else {
            panic!("there is no softnet on a plain bridge")
        };
        victims.stop();
        attackers.stop()
    }
}

/// A guest that joins later.
#[expect(missing_debug_implementations, reason = "smoltcp's sockets have none")]
pub struct Newcomer {
    /// The guest.
    pub guest: PortableGuest,
    /// Its port of the bridge.
    pub port: String,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Pump { _pump: Pump },
    Softnet(Softnet),
}

impl Newcomer {
    /// Asks for an address, and returns how long that took.
    ///
    /// # Errors
    /// None came within `limit`.
    pub fn ask(&mut self, limit: Duration) -> Result<Duration, Timeout> {
        let start = Instant::now();
        self.guest.dhcp(limit)?;
        Ok(start.elapsed())
    }

    /// Ends its softnet, and returns what that said last.
    ///
    /// # Panics
    /// When there is none, or it does not end in order.
    #[must_use]
    pub fn stop(self) -> Ended {
        let Held::Softnet(softnet) = self.held else { panic!("there is no softnet on a plain bridge") };
        softnet.stop()
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
