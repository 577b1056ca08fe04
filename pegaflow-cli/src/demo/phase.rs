//! What a round consists of.

/// One step of a round; each moves the whole prompt, between the same pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The transfer alone: every layer is ready at once.
    Transfer,
    /// The transfer behind compute: a layer is ready when its pretended compute ends.
    Overlapped,
    /// The plain copy, which the transfer is compared with.
    Copy,
}

impl Phase {
    /// The steps of a round: the plain copy where there is a mapping to copy through, compute where it is asked for. Each
    /// round begins with another one, so that none is always the first.
    pub(crate) fn of_round(round: u32, copies: bool, computes: bool) -> Vec<Self> {
        let steps = [(Self::Transfer, true), (Self::Overlapped, computes), (Self::Copy, copies)];
        let mut steps: Vec<Self> = steps.into_iter().filter_map(|(step, there)| there.then_some(step)).collect();
        let first = round as usize % steps.len();
        steps.rotate_left(first);
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase::*, *};

    #[test]
    fn steps_take_turns_at_being_first() {
        let of = Phase::of_round;
        assert_eq!([of(0, true, false), of(1, true, false)], [vec![Transfer, Copy], vec![Copy, Transfer]]);
        assert_eq!([of(0, false, false), of(1, false, false)], [vec![Transfer], vec![Transfer]]);
        assert_eq!(of(0, true, true), [Transfer, Overlapped, Copy]);
        assert_eq!(of(1, true, true), [Overlapped, Copy, Transfer]);
        assert_eq!(of(2, true, true), [Copy, Transfer, Overlapped]);
        assert_eq!(of(3, true, true), of(0, true, true));
    }
}
