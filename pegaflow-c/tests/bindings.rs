//! Tests of the C bindings: the header, and a C program against it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "bindings/header.rs"]
mod header;
#[path = "bindings/program.rs"]
mod program;
