#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pegaflow_shm::fuzzing::ring(data));
