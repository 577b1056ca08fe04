//! What a peer writes into shared memory, as functions of bytes: each returns, whatever the bytes are, and asserts what
//! core relies on. `fuzz` drives them, and the test below does with its corpus.

pub use crate::progress::garbage::ring;

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{replay::replay, ring};

    /// Operations as `ring` reads them: send, poll, release, and a lie of each kind.
    #[test]
    fn rings() {
        let word = |place: u16, value: u64| [&[0], &(place / 8).to_le_bytes()[..], &value.to_le_bytes()].concat();
        let (send, count) = ([0x80 | 9, 7, 0], [0x80 | 10, 0, 0, 0, 0]);
        let (polls, neighbours) = ([0x75, 0x80 | 0x75], [11, 0x80 | 11, 13, 12]);
        let honest = [&send[..], &count, &polls, &[8, 0, 15], &neighbours, &polls].concat();
        let with =
            |lie: &[u8]| [&neighbours[..], &send, &polls, lie, &polls, &neighbours, &[14, 0x80 | 14], &polls].concat();
        let examples = vec![
            ("honest", honest.repeat(3)),
            ("tail_ahead", with(&word(0, 6))),
            ("tail_behind", with(&word(0, 0))),
            ("tail_last", with(&word(0, u64::MAX))),
            ("released_ahead", with(&word(64, 1))),
            ("counted_back", with(&[&count[..], &polls, &word(128, 0)].concat())),
            ("counted_last", with(&word(128, u64::MAX))),
            ("sleeping", with(&word(192, 1))),
            ("counter", with(&[&word(256, u64::MAX)[..], &count].concat())),
            ("length", with(&[&send[..], &word(320, 257), &word(640, 1 << 32)].concat())),
            ("anything", with(&[&[4, 0, 0][..], &[0xff; 24]].concat())),
        ];
        replay("shm_ring", examples, 5000, ring);
    }
}
