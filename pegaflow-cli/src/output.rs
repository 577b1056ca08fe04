//! Standard output, and what happens when nobody reads it.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    process,
};

/// In place of the standard library's, for all of this program: that one panics when the reader of a pipe has left, which
/// `pegaflow config show | head -1` is enough for.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))
    };
}

/// What a program exits with that is stopped by writing into a pipe without a reader, as shells count: 128 + SIGPIPE.
const READER_LEFT: i32 = 141;

/// Writes a line to standard output at once, or ends the program.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    write(format!("{text}\n").as_bytes());
}

/// Writes to standard output at once, or ends the program: quietly where its reader has left, with a reason otherwise.
pub(crate) fn write(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {}
        // Nodes that were started end with this process.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(READER_LEFT),
        Err(error) => {
            crate::tell(&format!("error: standard output: {error}"));
            process::exit(1);
        }
    }
}
