//! libFuzzer's entry to [`thim_fuzz::amd_intake`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::amd_intake(data));
