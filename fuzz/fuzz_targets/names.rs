//! libFuzzer's entry to [`thim_fuzz::names`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::names(data));
