//! libFuzzer's program for the target `dhcp`: DHCP, both ways.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    softnet_fuzz_targets::run("dhcp", data);
});
