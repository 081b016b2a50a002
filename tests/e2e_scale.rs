//! Many guests on one host.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wire::Mac;
use softnet_testbed::{tools, wait};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const GUESTS: u8 = 50;
/// Ten seconds are what a quiet machine may take (benches/scale.rs); here everything else runs as well, unoptimised.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn fifty_starts_at_once_are_all_ready_and_leased() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let start = Instant::now();
        // The network is not there yet either.
        let spawned: Vec<_> = (1..=GUESTS).map(|number| (bed.launch(Mac::guest(number)).spawn(), number)).collect();
        // A guest asks as soon as it runs, whether its softnet is ready or not.
        let guests: Vec<(Softnet, PortableGuest)> = thread::scope(|scope| {
            let starting: Vec<_> = spawned
                .into_iter()
                .map(|((softnet, socket), number)| {
                    scope.spawn(move || {
                        let mut guest = PortableGuest::new(socket, Mac::guest(number));
                        if let Err(error) = guest.dhcp(LIMIT) {
                            panic!("guest {number}: {error}\n{}", softnet.said());
                        }
                        (softnet, guest)
                    })
                })
                .collect();
            starting.into_iter().map(|guest| guest.join().expect("every guest gets a lease")).collect()
        });
        let took = start.elapsed();
        eprintln!("{GUESTS} leases after {took:.1?}");
        assert!(took < LIMIT, "{GUESTS} starts at once took {took:?}");
        let addresses: BTreeSet<_> = guests.iter().map(|(_, guest)| guest.address()).collect();
        assert_eq!(addresses.len(), usize::from(GUESTS), "each has an address of its own");
        let start = Instant::now();
        let table = tools::finish(softnet::command(&bed.program, Caller::Root).arg("list"));
        let took = start.elapsed();
        eprintln!("{GUESTS} guests listed in {took:.1?}");
        assert_eq!(table.lines().count(), 1 + usize::from(GUESTS), "{table}");
        assert!(took < Duration::from_secs(2), "a list of {GUESTS} guests took {took:?}");
        for (mut softnet, mut guest) in guests {
            assert!(softnet.is_alive());
            let gateway = guest.gateway();
            guest.ping(gateway, wait::PATIENCE).expect("each reaches its gateway");
        }
    });
}
