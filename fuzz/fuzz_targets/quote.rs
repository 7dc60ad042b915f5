//! libFuzzer's entry to [`thim_fuzz::quote`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::quote(data));
