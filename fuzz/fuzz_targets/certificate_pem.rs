//! libFuzzer's entry to [`thim_fuzz::certificate_pem`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::certificate_pem(data));
