//! libFuzzer's entry to [`thim_fuzz::certification_data`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::certification_data(data));
