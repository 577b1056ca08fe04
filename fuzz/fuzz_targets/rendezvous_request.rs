#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pegaflow::fuzzing::request(data));
