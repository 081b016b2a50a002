//! libFuzzer's program for the target `control`: a client of the control channel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    softnet_fuzz_targets::run("control", data);
});
