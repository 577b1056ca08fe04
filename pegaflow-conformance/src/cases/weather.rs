//! Cases that are run again over a bad cable: it loses, delays, reorders, repeats. Slower, and nothing else.

use super::{CASES, Case};
use crate::{
    cable::{Cable, Fault},
    pair::Context,
};

/// What the cable does to packets, in both directions.
#[derive(Debug)]
pub(crate) struct Weather {
    pub(crate) name: &'static str,
    /// For netem.
    does: &'static str,
}

pub(crate) const WEATHERS: &[Weather] = &[
    Weather { name: "loss_of_1_percent", does: "loss 1%" },
    Weather { name: "loss_of_10_percent", does: "loss 10%" },
    // With a rate, though one that is never reached, netem lets no packet overtake another.
    Weather { name: "delay_and_jitter", does: "delay 5ms 2ms rate 10gbit" },
    // One of twenty does not wait, and overtakes those that do.
    Weather { name: "reordering", does: "delay 1ms reorder 5%" },
    Weather { name: "duplication", does: "duplicate 10%" },
];

/// Data, order, counts, messages, ends, credits: what is promised of them over any cable.
const HELD: &[&str] = &[
    "one_byte",
    "read_equals_written",
    "messages_of_every_length",
    "counter_after_data",
    "message_after_data",
    "full_of_transfers",
    "full_of_messages",
    "cancelled_messages_give_their_credit_back",
    "deadline_is_never_early",
    "counts_are_exact",
    "counts_both_ways",
    "messages_before_the_close_are_delivered",
    "peer_closes_with_transfers_in_flight",
    "two_dials_at_once_are_two_channels",
];

/// The cases that are run in every weather.
pub(crate) fn held() -> impl Iterator<Item = &'static Case> {
    CASES.iter().copied().flatten().filter(|case| HELD.contains(&case.name))
}

impl Weather {
    /// Runs a case in it.
    pub(crate) fn run(&self, case: &Case, context: &Context) {
        let _cable = Cable::with(context, &Fault::Netem(self.does.to_owned()));
        (case.run)(&context.over_a_bad_cable());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Placement;

    #[test]
    fn each_case_of_the_list_is_one_across_two_hosts() {
        assert_eq!(held().count(), HELD.len(), "a name that no case has");
        for case in held() {
            assert!(case.places().contains(&Placement::TwoHosts) && !case.harms, "{}", case.name);
        }
    }
}
