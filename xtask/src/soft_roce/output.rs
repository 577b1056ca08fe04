//! The output of a host's command, followed as it grows.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use crate::error::{At, Error};

/// A line of a command's output, with its end, or the rest of the output without one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) host: u8,
    pub(crate) to: Stream,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(super) const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A file that a host writes.
#[derive(Debug)]
pub(super) struct Output {
    host: u8,
    to: Stream,
    path: PathBuf,
    file: Option<File>,
    /// What was read behind the last line's end.
    begun: Vec<u8>,
}

/// Most bytes read in one turn, so that hosts and streams take turns.
const TURN_BYTES: u64 = 1 << 20;

impl Output {
    pub(super) fn new(host: u8, to: Stream, path: PathBuf) -> Self {
        Self { host, to, path, file: None, begun: Vec::new() }
    }

    /// Gives `print` the lines that came since the last time; tells whether there was anything new.
    pub(super) fn follow(&mut self, print: &mut dyn FnMut(&Line) -> Result<(), Error>) -> Result<bool, Error> {
        let Some(read) = self.read().at(&self.path)? else { return Ok(false) };
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let rest = self.begun.split_off(whole);
        let lines = std::mem::replace(&mut self.begun, rest);
        for bytes in lines.split_inclusive(|byte| *byte == b'\n') {
            print(&Line { host: self.host, to: self.to, bytes: bytes.to_vec() })?;
        }
        Ok(read > 0)
    }

    /// As [`Output::follow`], up to the end, when nobody writes any more.
    pub(super) fn finish(&mut self, print: &mut dyn FnMut(&Line) -> Result<(), Error>) -> Result<(), Error> {
        while self.follow(print)? {}
        if self.begun.is_empty() {
            return Ok(());
        }
        print(&Line { host: self.host, to: self.to, bytes: std::mem::take(&mut self.begun) })
    }

    /// None where the host has not made the file yet.
    fn read(&mut self) -> io::Result<Option<usize>> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &mut self.file else { return Ok(None) };
        file.take(TURN_BYTES).read_to_end(&mut self.begun).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_come_whole_and_the_rest_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stdout-1");
        let mut output = Output::new(1, Stream::Stdout, path.clone());
        let mut seen = Vec::new();
        let mut print = |line: &Line| {
            assert_eq!((line.host, line.to), (1, Stream::Stdout));
            seen.push(String::from_utf8(line.bytes.clone()).unwrap());
            Ok(())
        };
        assert!(!output.follow(&mut print).unwrap(), "the file is not there yet");
        fs::write(&path, "one\ntwo\nth").unwrap();
        assert!(output.follow(&mut print).unwrap());
        assert!(!output.follow(&mut print).unwrap());
        File::options().append(true).open(&path).unwrap().write_all(b"ree\n\nrest").unwrap();
        output.finish(&mut print).unwrap();
        assert_eq!(seen, ["one\n", "two\n", "three\n", "\n", "rest"]);
    }
}
