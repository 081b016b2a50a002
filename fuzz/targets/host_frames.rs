//! libFuzzer's program for the target `host_frames`: frames, most of them the host's.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    softnet_fuzz_targets::run("host_frames", data);
});
