//! libFuzzer's program for the target `dns`: answers, and what they teach.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    softnet_fuzz_targets::run("dns", data);
});
