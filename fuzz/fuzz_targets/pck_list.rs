//! libFuzzer's entry to [`thim_fuzz::pck_list`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::pck_list(data));
