//! libFuzzer's entry to [`thim_fuzz::agent_files`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::agent_files(data));
