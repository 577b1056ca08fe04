#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pegaflow_core::fuzzing::grant(data));
