//! libFuzzer's entry to [`thim_fuzz::explain_request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::explain_request(data));
