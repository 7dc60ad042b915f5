//! libFuzzer's entry to [`thim_fuzz::platform_bodies`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::platform_bodies(data));
