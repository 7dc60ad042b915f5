//! libFuzzer's entry to [`thim_fuzz::baseline_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::baseline_file(data));
