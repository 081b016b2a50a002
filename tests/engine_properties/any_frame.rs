//! No bytes panic, and what passes is what docs/filter.md says: judged again by the oracle of `tests/fuzz-targets`, which shares no
//! code with the engine. The same functions are fuzzed (`make fuzz`); here they run on what proptest makes.

use crate::engine_world::frames::*;
use crate::engine_world::*;
use crate::without_files;
use proptest::collection::vec;
use proptest::prelude::*;
use softnet::engine::{Config, Engine, Instant, Isolation, Verdict};
use softnet_fuzz_targets::templates::templates;
use softnet_fuzz_targets::{dhcp, program};

proptest! {
    #![proptest_config(without_files(500))]

    #[test]
    fn no_bytes_panic(
        frames in vec((any::<bool>(), vec(any::<u8>(), 0..400), any::<i64>()), 1..8),
        isolated in any::<bool>(),
    ) {
        let isolation = if isolated { Isolation::Isolated } else { Isolation::Open };
        let mut engine = Engine::new(Config { isolation, ..config() });
        for (from_guest, frame, micros) in frames {
            let now = Instant::from_micros_const(micros);
            let _ = if from_guest { engine.on_guest_frame(&frame, now) } else { engine.on_host_frame(&frame, now) };
        }
    }

    #[test]
    fn each_frame_of_the_guests_is_judged_as_documented(data in vec(any::<u8>(), 3..1000)) {
        let _ = program::guest_frames(&data);
    }

    #[test]
    fn each_frame_of_the_hosts_is_judged_as_documented(data in vec(any::<u8>(), 3..1000)) {
        let _ = program::host_frames(&data);
    }

    #[test]
    fn each_message_of_dhcp_is_judged_as_documented(data in vec(any::<u8>(), 3..1000)) {
        let _ = dhcp::dhcp(&data);
    }
}

#[test]
fn the_templates_are_valid_so_that_mutations_start_from_what_passes() {
    // Two ids, as the templates have them, and the options that open what the rules close by default.
    let world = || {
        let mut world = World::leased("224.0.0.0/4,192.168.64.255,192.168.64.8,10.0.0.53", "");
        assert_eq!(world.guest_dhcp(&Dhcp::discover(2)), Ok(()));
        assert_eq!(world.guest_dhcp(&Dhcp::from_guest(INFORM, 3)), Ok(()));
        world
    };
    let dns = softnet_fuzz_targets::templates::DNS.octets();
    for (index, frame) in templates().guest.iter().enumerate() {
        let mut world = world();
        world.guest_dhcp(&Dhcp::renewal(4, LEASED)).unwrap();
        world.host_dhcp(&Dhcp::ack(4, LEASED, 600).option(6, &dns)).unwrap();
        assert_eq!(world.guest(frame), Ok(()), "{index}");
    }
    for (index, frame) in templates().host.iter().enumerate() {
        let mut world = world();
        // Of one of the replies, the request is for another address, which gives up the lease of all others.
        let asked = if index == 12 {
            Dhcp::request(1, softnet_fuzz_targets::templates::OTHER)
        } else {
            Dhcp::renewal(2, LEASED)
        };
        world.guest_dhcp(&asked).unwrap();
        assert_eq!(world.host(frame), Ok(()), "{index}");
    }
    let mut engine = Engine::new(config());
    assert_ne!(engine.on_guest_frame(&[], Instant::from_secs(0)), Verdict::Forward);
}
