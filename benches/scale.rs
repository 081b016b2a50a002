//! Many guests on one host, a softnet each, all at work. `cargo bench --bench scale`; needs root.
//!
//! What is asked: do as many starts at once all get through, and how long does the last one take, with the network there and
//! without; what memory do all of them take together; does each get its share while all send as fast as they may; does each
//! still have its lease after that. In namespaces of their own, over portable guests.

#[cfg(target_os = "linux")]
#[path = "network/table.rs"]
mod table;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("scale: fifty guests of one machine's vmnet, which others use as well, are not tried");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::fs;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;
    use std::sync::Barrier;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::poll::{PollFd, PollFlags, poll};

    use super::table::{Better, Table};
    use softnet_testbed::guest::PortableGuest;
    use softnet_testbed::softnet::{Launch, Softnet};
    use softnet_testbed::wait::PATIENCE;
    use softnet_testbed::wire::{self, IPV4, Mac};
    use softnet_testbed::{isolate, state};

    const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
    const GUESTS: u8 = 50;
    /// How long a whole run may take.
    const LIMIT: Duration = Duration::from_secs(120);
    /// How long all send.
    const WORK: Duration = Duration::from_secs(5);
    const PORT: u16 = 9;
    /// A full frame's.
    const PAYLOAD: usize = 1514 - 14 - 20 - 8;

    pub(crate) fn main() {
        let executable = std::env::current_exe().expect("this bench knows its executable");
        if !isolate::is_inside() {
            let status =
                isolate::command(&executable, LIMIT).status().expect("the bench starts again in its namespaces");
            assert!(status.success(), "the bench failed inside its namespaces: {status}");
            return;
        }
        let mut table = Table::new(&format!("scale: {GUESTS} guests"), ["all"]);
        let mut row = |name: &str, better, value: f64| table.row(name, better, vec![vec![value]]);

        // As on a Debian host: a new network namespace has the kernel's 10.
        fs::write("/proc/sys/net/unix/max_dgram_qlen", "512").expect("the length of queues is set");
        for name in ["nothing", "a network"] {
            let start = Instant::now();
            let mut started = spawn_all();
            for (softnet, _) in &mut started {
                softnet.wait_ready();
            }
            row(&format!("all ready, beginning with {name}, ms"), Better::Less, start.elapsed().as_secs_f64() * 1e3);
            started.into_iter().for_each(|(softnet, _)| drop(softnet.stop()));
        }

        let start = Instant::now();
        let mut guests = lease_all(spawn_all());
        row("all leased, beginning with a network, ms", Better::Less, start.elapsed().as_secs_f64() * 1e3);
        row("leases of their own", Better::More, distinct(&guests) as f64);
        row(
            "memory of all idle, PSS, KiB",
            Better::Less,
            guests.iter().map(|subject| pss(subject.softnet.pid())).sum(),
        );

        let leases: Vec<_> = guests.iter().map(|subject| subject.guest.lease().clone()).collect();
        let (busy, counts) = work(&mut guests);
        row("memory of all under load, PSS, KiB", Better::Less, busy);
        row(
            "memory of their DHCP service, PSS, KiB",
            Better::Less,
            state::processes("dnsmasq").into_iter().map(pss).sum(),
        );
        row("frames of 1514 bytes a second, all", Better::More, counts.iter().sum::<f64>() / WORK.as_secs_f64());
        row("fairness among them (Jain; 1 is equal)", Better::More, jain(&counts));

        let mut kept = 0;
        for (Subject { guest, .. }, lease) in guests.iter_mut().zip(&leases) {
            let (gateway, before) = (guest.gateway(), lease.address);
            let answered = guest.ping(gateway, PATIENCE).is_ok();
            let same = guest.dhcp(PATIENCE).is_ok_and(|lease| lease.address == before);
            kept += u8::from(answered && same);
        }
        row("leases kept", Better::More, f64::from(kept));
        print!("{}", table.text());
        assert_eq!(kept, GUESTS, "a guest lost its lease");
    }

    struct Subject {
        softnet: Softnet,
        guest: PortableGuest,
        /// The guest's end of the frame socket, to wait for room on.
        socket: UnixDatagram,
    }

    /// All softnets at once.
    fn spawn_all() -> Vec<(Softnet, UnixDatagram)> {
        (1..=GUESTS).map(|number| Launch::new(Path::new(SOFTNET), Mac::guest(number)).spawn()).collect()
    }

    /// A guest behind each, which asks for an address at once.
    fn lease_all(started: Vec<(Softnet, UnixDatagram)>) -> Vec<Subject> {
        thread::scope(|scope| {
            let leasing: Vec<_> = started
                .into_iter()
                .zip(1..)
                .map(|((softnet, socket), number)| {
                    scope.spawn(move || {
                        let twin = socket.try_clone().expect("a descriptor is doubled");
                        let mut guest = PortableGuest::new(socket, Mac::guest(number));
                        guest.dhcp(PATIENCE).expect("a lease");
                        Subject { softnet, guest, socket: twin }
                    })
                })
                .collect();
            leasing.into_iter().map(|guest| guest.join().expect("each gets a lease")).collect()
        })
    }

    fn distinct(guests: &[Subject]) -> usize {
        guests.iter().map(|subject| subject.guest.address()).collect::<BTreeSet<_>>().len()
    }

    /// All guests send to the host as fast as their softnets take it. Returns the memory of all at the end of it, and how many
    /// frames each got taken.
    fn work(guests: &mut [Subject]) -> (f64, Vec<f64>) {
        let gateway = guests[0].guest.gateway();
        let gateway_mac = state::mac_of("softnet0");
        // Swallows what arrives, so that the host does not answer with ICMP errors; what it cannot keep is lost.
        let _sink = UdpSocket::bind((gateway, PORT)).expect("the gateway is an address of the host");
        let pids: Vec<u32> = guests.iter().map(|subject| subject.softnet.pid()).collect();
        let barrier = Barrier::new(guests.len() + 1);
        thread::scope(|scope| {
            let working: Vec<_> = guests
                .iter_mut()
                .map(|subject| {
                    let Subject { guest, socket, .. } = subject;
                    let datagram = wire::udp((guest.address(), PORT), (gateway, PORT), &[0x55; PAYLOAD]);
                    let frame = wire::ethernet(gateway_mac, guest.mac(), IPV4, &datagram);
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        send(guest, socket, &frame)
                    })
                })
                .collect();
            barrier.wait();
            thread::sleep(WORK * 4 / 5);
            let busy = pids.into_iter().map(pss).sum();
            (busy, working.into_iter().map(|sender| sender.join().expect("a sender ends") as f64).collect())
        })
    }

    /// How many of a frame a guest's softnet takes in the time of work.
    fn send(guest: &mut PortableGuest, socket: &UnixDatagram, frame: &[u8]) -> u32 {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < WORK {
            match guest.send_raw(frame) {
                Ok(()) => count += 1,
                Err(_) => {
                    let mut socket = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut socket, 10u8);
                }
            }
        }
        count
    }

    /// A process's share of the machine's memory, in KiB (proc_pid_smaps(5)).
    fn pss(pid: u32) -> f64 {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process runs");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("the kernel counts shares");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Jain's fairness index: the square of the sum over the count times the sum of squares.
    fn jain(shares: &[f64]) -> f64 {
        let (sum, squares) = (shares.iter().sum::<f64>(), shares.iter().map(|share| share * share).sum::<f64>());
        sum * sum / (shares.len() as f64 * squares)
    }
}
