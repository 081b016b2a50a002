//! The scenarios that every host must pass, where a plain user starts softnet: on Linux in namespaces of their own, on a Mac
//! against its vmnet and bootpd, by turns.

use softnet_testbed::isolate::in_own_network;
use softnet_testbed::scenarios;
use softnet_testbed::testbed::HostTestbed;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

macro_rules! on_this_host {
    ($($scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                in_own_network(|| scenarios::$scenario(&HostTestbed::new(SOFTNET)));
            }
        )*
    };
}

on_this_host! {
    a_guest_uses_the_network
    a_lease_has_the_length_that_was_asked_for
    what_is_not_global_is_closed
    nobody_speaks_before_a_lease
    nobody_speaks_from_another_address
    nobody_speaks_with_another_mac
    allow_opens_a_private_network
    block_closes_a_public_address
    the_longest_prefix_wins
    block_wins_a_tie_and_may_name_the_host
    host_mode_ends_at_the_host
    neighbours_are_apart
    forged_frames_reach_nobody
    forged_frames_reach_nobody_without_isolation
    nobody_steals_the_gateway
    nobody_steals_a_neighbour
    guests_that_allow_everything_reach_each_other
}
