//! libFuzzer's program for the target `command_line`: the command line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    softnet_fuzz_targets::run("command_line", data);
});
