//! libFuzzer's program for the target `policy_entries`: entries of `--allow` and `--block`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    softnet_fuzz_targets::run("policy_entries", data);
});
