//! libFuzzer's entry to [`thim_fuzz::pck_certificate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::pck_certificate(data));
