//! libFuzzer's entry to [`thim_fuzz::signed_json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::signed_json(data));
