//! libFuzzer's entry to [`thim_fuzz::report_collateral`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::report_collateral(data));
