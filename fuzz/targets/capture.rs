//! libFuzzer's program for the target `capture`: files for `softnet explain --read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    softnet_fuzz_targets::run("capture", data);
});
