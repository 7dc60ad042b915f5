//! libFuzzer's entry to [`thim_fuzz::artefact_parse`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thim_fuzz::artefact_parse(data));
