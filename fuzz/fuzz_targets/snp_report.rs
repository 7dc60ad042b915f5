//! libFuzzer's entry to [`thim_fuzz::snp_report`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::snp_report(data));
