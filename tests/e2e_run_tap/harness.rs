//! A `softnet run --tap`, and what a program does that has the device.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::SCRATCH;
use softnet_testbed::pump::Pump;
use softnet_testbed::softnet::{Caller, Ended, Softnet, command};
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools, wait};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
pub(super) const MAC: Mac = Mac::guest(5);
pub(super) const DEVICE: &str = "vm0";

/// A host where any user may open /dev/net/tun, as on most.
pub(super) fn bed() -> LinuxTestbed {
    let node = Path::new(SCRATCH).join("tun");
    mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200)).expect("a device");
    fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).expect("for anyone");
    mount(Some(&node), "/dev/net/tun", None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("in its place");
    LinuxTestbed::new(SOFTNET)
}

/// `softnet run --tap DEVICE OPTIONS -- sh -c SCRIPT`.
pub(super) fn run(program: &Path, caller: Caller, options: &str, script: &str) -> Command {
    let mut command = command(program, caller);
    command
        .args(["run", "--tap", DEVICE, "--vm-mac-address", &MAC.to_string()])
        .args(options.split_ascii_whitespace())
        .args(["--", "sh", "-c", script, "script", "{tap}", "{mac}", "{fd}"]);
    command
}

/// A `softnet run --tap` whose command waits, and its processes.
pub(super) struct Running {
    pub(super) run: Softnet,
    pub(super) command: Pid,
}

impl Running {
    /// By a user without rights and a setuid softnet.
    pub(super) fn start(bed: &LinuxTestbed, options: &str) -> Self {
        Self::by(&bed.setuid, Caller::User, options)
    }

    pub(super) fn by(program: &Path, caller: Caller, options: &str) -> Self {
        let mut run = Softnet::spawn(&mut run(program, caller, options, "echo script $$ started >&2; exec sleep 1000"));
        run.wait_said("started").unwrap_or_else(|error| panic!("{error}: {}", run.said()));
        let said = run.said();
        let number = said.split("script ").nth(1).and_then(|rest| rest.split(' ').next()).expect("its number");
        Running { run, command: Pid::from_raw(number.parse().expect("a number")) }
    }

    /// What `body` does in the command's network.
    pub(super) fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.command)).expect("the command runs");
        let enter = || {
            setns(&network, CloneFlags::CLONE_NEWNET).expect("root enters a network namespace");
            body()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("it does not panic"))
    }

    /// Opens the device as a program does that knows no header.
    pub(super) fn plain(&self) -> File {
        self.inside(|| sys::tap(DEVICE))
    }

    /// And as VMMs do.
    pub(super) fn with_header(&self) -> File {
        self.inside(|| sys::tap_with_header(DEVICE))
    }

    /// A guest behind the device.
    pub(super) fn guest(&self, mac: Mac) -> (PortableGuest, Pump) {
        let (ours, theirs): (UnixDatagram, UnixDatagram) = sys::frame_sockets();
        (PortableGuest::new(ours, mac), Pump::start(self.plain(), theirs))
    }

    /// What moves its frames.
    pub(super) fn pump(&self) -> Pid {
        let child = |pid: &Pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains("(softnet-tap)")
        };
        *processes().iter().find(|pid| child(pid)).expect("the pump runs")
    }
}

pub(super) fn processes() -> Vec<Pid> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    all.filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))).collect()
}

/// The softnets that are there, and their pumps.
pub(super) fn softnets() -> Vec<String> {
    let is_softnet = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        (stat.contains("(softnet") && !stat.contains(") Z ")).then_some(stat)
    };
    processes().iter().filter_map(is_softnet).collect()
}

pub(super) fn is_there(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

pub(super) fn wait_nothing_left(what: &str, command: Pid) {
    let gone = || (softnets().is_empty() && !is_there(command)).then_some(());
    wait::until(what, Duration::from_secs(5), gone).unwrap_or_else(|error| panic!("{error}: {:?}", softnets()));
}

pub(super) fn code(ended: &Ended) -> i32 {
    ended.status.code().unwrap_or_else(|| panic!("it was killed: {}: {}", ended.status, ended.said))
}

/// All frames that can be read from `device` until nothing has come for a while.
pub(super) fn read_all(device: &mut File, silence: Duration) -> Vec<Vec<u8>> {
    let (mut frames, mut since, mut buffer) = (Vec::new(), Instant::now(), vec![0; 70_000]);
    while since.elapsed() < silence {
        match device.read(&mut buffer) {
            Ok(length) => {
                frames.push(buffer[..length].to_vec());
                since = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => sys::wait_readable(&[device], silence),
            Err(error) => panic!("{error}"),
        }
    }
    frames
}

/// The MAC address of the link `name`, in the network of the thread.
pub(super) fn mac_of(name: &str) -> Mac {
    let text = tools::run(&format!("ip -o link show {name}"));
    let octets = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("a MAC").split(':');
    let mut octets = octets.map(|octet| u8::from_str_radix(octet, 16).expect("an octet"));
    Mac(std::array::from_fn(|_| octets.next().expect("six octets")))
}

/// The softnet that serves the guest.
pub(super) fn relay() -> Pid {
    let serves =
        |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains("--ready-fd"));
    processes().into_iter().find(serves).expect("softnet runs")
}
