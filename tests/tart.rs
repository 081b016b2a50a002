//! What Tart does with softnet, call by call, by a stand-in: how it looks for it, what it starts, what it holds meanwhile,
//! how it ends it, and when it says "Softnet process terminated prematurely". Nothing here may change without Tart.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::command;
use softnet_testbed::testbed::{HostTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, IPV4, IPV6, Mac};
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
/// On a Mac softnet gives vmnet up to three seconds to stop its interface.
const AT_ONCE: Duration = Duration::from_secs(if cfg!(target_os = "macos") { 5 } else { 2 });

/// One `tart run --net-softnet`, by a user without rights.
struct Tart {
    softnet: Child,
    /// The VM's end of the socket pair; in Tart it belongs to Virtualization.framework.
    vm: UnixDatagram,
    /// The other end of softnet's standard output, which is a control channel for a Tart that asks for one.
    control: UnixStream,
}

impl Tart {
    /// Looks softnet up in PATH, as the shell would.
    fn find(path: &str) -> Option<PathBuf> {
        std::env::split_paths(path).map(|folder| folder.join("softnet")).find(|file| file.is_file())
    }

    /// Whether softnet needs no sudo: it has the setuid bit, and belongs to root.
    fn is_ready(softnet: &Path) -> bool {
        let metadata = softnet.metadata().expect("softnet was found");
        metadata.mode() & 0o4000 != 0 && metadata.uid() == 0
    }

    fn run(bed: &HostTestbed, options: &str) -> Self {
        let (softnet, caller) = bed.users_softnet();
        let (vm, other) = sys::frame_sockets(); // with the buffers that Tart sets
        let (control, output) = UnixStream::pair().expect("a socket pair");
        let softnet = command(softnet, caller)
            .args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--control-fd", "1"])
            .args(options.split_ascii_whitespace())
            .env("RUST_LOG", "trace")
            .stdin(OwnedFd::from(other))
            .stdout(OwnedFd::from(output))
            .stderr(Stdio::null())
            .spawn()
            .expect("softnet starts");
        Tart { softnet, vm, control }
    }

    /// The guest, on a copy of the VM's end.
    fn boot(&self) -> PortableGuest {
        let mut guest = PortableGuest::new(self.vm.try_clone().expect("a descriptor can be copied"), MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        guest
    }

    /// Whether Tart would say that softnet terminated prematurely.
    fn has_terminated_prematurely(&mut self) -> bool {
        self.softnet.try_wait().expect("a child can be asked").is_some()
    }

    /// What Tart does at the end: SIGINT, and it waits.
    fn stop(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.softnet.id().cast_signed()), Signal::SIGINT)
            .expect("a user may signal what it started");
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        wait::until("the end of softnet", AT_ONCE, || self.softnet.try_wait().expect("a child can be asked"))
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

#[test]
fn tart_finds_a_softnet_that_needs_no_sudo() {
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET);
        let folder = bed.users_softnet().0.parent().expect("a file is in a folder").display();
        let found = Tart::find(&format!("/nonexistent:{folder}")).expect("softnet is in PATH");
        if nix::unistd::geteuid().is_root() {
            assert!(Tart::is_ready(&found));
        } else {
            bed.cannot_show("the setuid bit, for setting it takes root", "that --help works, which Tart asks for then");
        }
        let output = tools::output(Command::new(found).arg("--help"));
        assert!(output.status.success());
    });
}

#[test]
fn tart_runs_a_vm_and_ends_it_by_sigint() {
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET);
        for options in ["", "--vm-net-type host", "--allow 10.0.0.0/8,@host --block 0.0.0.0/0", "--allow= --block="] {
            let mut tart = Tart::run(&bed, options);
            let mut guest = tart.boot();
            guest.ping(guest.gateway(), PATIENCE).expect("the gateway answers");
            assert!(!tart.has_terminated_prematurely());
            assert_eq!(tart.stop().code(), Some(0), "{options}");
        }
    });
}

#[test]
fn nothing_but_replies_is_ever_written_to_the_control_channel() {
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET);
        let mut tart = Tart::run(&bed, "");
        let _guest = tart.boot();
        // What an orchestrator sends by way of Tart: both lists, and no other request.
        let set =
            r#"{"jsonrpc":"2.0","id":1,"method":"softnet.policy.set","params":{"allow":["10.1.2.3/8"],"block":[]}}"#;
        tart.control.write_all(format!("{set}\n").as_bytes()).expect("softnet reads");
        let result = r#"{"jsonrpc":"2.0","id":1,"result":{"allow":["10.0.0.0/8"],"block":[],"ruleCount":1}}"#;
        let expected = format!("{result}\n");
        let mut said = vec![0; expected.len()];
        tart.control.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set"); // as long as it waits
        tart.control.read_exact(&mut said).expect("a reply in time");
        tart.stop();
        tart.control.read_to_end(&mut said).expect("the channel is closed with softnet");
        assert_eq!(String::from_utf8_lossy(&said), expected, "even at RUST_LOG=trace");
    });
}

#[test]
fn softnet_does_not_terminate_prematurely() {
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET);
        let mut tart = Tart::run(&bed, "");
        let mut guest = tart.boot();

        // A guest that sends nonsense, and a flood of frames around the gateway.
        for frame in [vec![], vec![0; 13], vec![0xff; 60_000], wire::ethernet(Mac::guest(9), MAC, IPV6, &[0; 40])] {
            tart.vm.send(&frame).expect("softnet reads");
        }
        let datagram = wire::udp((guest.address(), 9), (guest.gateway(), 9), &[0; 1000]);
        for _ in 0..2_000 {
            let _ = tart.vm.send(&wire::ethernet(Mac::guest(9), MAC, IPV4, &datagram));
        }
        // A Tart that has closed its end of the control channel.
        tart.control.shutdown(std::net::Shutdown::Both).expect("a channel can be closed");
        // A host whose network goes down, and comes back. On a Mac nobody but vmnet may do that.
        if cfg!(target_os = "linux") {
            tools::run("ip link set softnet0 down");
            tools::run("ip link set softnet0 up");
        } else {
            bed.cannot_show("a host's network that goes down and comes back", "floods, nonsense and a closed channel");
        }

        wait::until("the gateway again", PATIENCE, || {
            guest.ping(guest.gateway(), Duration::from_secs(1)).is_ok().then_some(())
        })
        .expect("softnet carries frames as before");
        assert!(!tart.has_terminated_prematurely());
        assert_eq!(tart.stop().code(), Some(0));
    });
}

#[test]
fn a_tart_that_vanishes_takes_softnet_along() {
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET);
        let mut tart = Tart::run(&bed, "");
        drop(tart.boot());
        let (placeholder, _) = UnixDatagram::pair().expect("a socket pair");
        drop(std::mem::replace(&mut tart.vm, placeholder));
        assert_eq!(tart.wait().code(), Some(0));
    });
}
