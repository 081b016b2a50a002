//! The scenarios that every host must pass, on a Linux host where a plain user starts a setuid softnet.

use softnet_testbed::isolate::in_own_network;
use softnet_testbed::scenarios;
use softnet_testbed::testbed::LinuxTestbed;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

macro_rules! on_linux {
    ($($scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                in_own_network(|| scenarios::$scenario(&LinuxTestbed::new(SOFTNET)));
            }
        )*
    };
}

on_linux! {
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
    nobody_steals_the_gateway
    nobody_steals_a_neighbour
    guests_that_allow_everything_reach_each_other
}
