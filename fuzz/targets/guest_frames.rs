//! libFuzzer's program for the target `guest_frames`: frames, most of them the guest's.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    softnet_fuzz_targets::run("guest_frames", data);
});
