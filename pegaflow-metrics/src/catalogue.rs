//! Every figure that is exported, once: `docs/metrics.md` is compared with this table.

/// What a figure does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows, and begins at 0 with the node.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Times, as counts below edges.
    Histogram,
}

impl MetricKind {
    /// The name in OpenMetrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One exported figure.
#[derive(Debug)]
pub struct Metric {
    /// The name, with its unit at the end.
    pub name: &'static str,
    /// What it does over time.
    pub kind: MetricKind,
    /// Labels besides `backend`, which all have.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($name:ident = $kind:ident $text:literal [$($label:ident),*] $help:literal;)+) => {
        $(pub(crate) const $name: Metric = Metric {
            name: $text, kind: MetricKind::$kind, labels: &[$(stringify!($label)),*], help: $help,
        };)+
        /// Every figure, in the order in which they are exported.
        pub const METRICS: &[Metric] = &[$($name),+];
    };
}

metrics! {
    NODE = Gauge "pegaflow_node_info" [node, version]
        "1, for the node whose figures these are and the version of Pegaflow that it runs.";
    ACCEPTED = Counter "pegaflow_transfers_accepted_total" [peer, class, op]
        "Transfers that submit or send accepted.";
    ENDED = Counter "pegaflow_transfers_ended_total" [peer, class, op, outcome]
        "Transfers that ended: done, cancelled, deadline_passed, or by the cause that failed them.";
    IN_FLIGHT = Gauge "pegaflow_transfers_in_flight" [peer, class, op]
        "Transfers that were accepted and have not ended.";
    UNQUIET = Gauge "pegaflow_transfers_unquiet" [peer, class]
        "Transfers whose end was handed out and whose bytes on this side are not free yet.";
    BYTES = Counter "pegaflow_bytes_total" [peer, class, op]
        "Payload bytes moved by transfers that ended, whole or in part; a write moves them to the peer, a read from it.";
    BLOCKS = Counter "pegaflow_blocks_total" [peer, class, op]
        "Blocks and spans of transfers that ended done.";
    MOVES = Counter "pegaflow_moves_total" [peer, class, op]
        "Moves that transfers which ended done handed to the backend.";
    MERGED = Counter "pegaflow_merged_total" [peer, class, op]
        "Moves saved by merging neighbours: blocks less moves, over transfers that had fewer moves.";
    MESSAGES = Counter "pegaflow_messages_total" [peer, class, direction]
        "Messages: received, or sent alone or after data by transfers that ended done.";
    MESSAGE_BYTES = Counter "pegaflow_message_bytes_total" [peer, class, direction]
        "Bytes of those messages.";
    COUNTS = Counter "pegaflow_counts_total" [peer, class, direction]
        "Increments of counters: received, or sent after data by transfers that ended done.";
    ABORTS = Counter "pegaflow_aborts_received_total" [peer, class]
        "Increments that the peer has said will not come.";
    FULL = Counter "pegaflow_full_total" [peer, class, bound]
        "Calls of submit and send that were told Full, by the bound that was reached.";
    QUEUED = Histogram "pegaflow_queued_to_posted_seconds" [peer, class, op]
        "From submit to the first move handed to the backend, of transfers that ended done.";
    POSTED = Histogram "pegaflow_posted_to_done_seconds" [peer, class, op]
        "From the first move handed to the backend to the end, of transfers that ended done.";
    HELD = Histogram "pegaflow_message_held_seconds" [peer, class]
        "From the poll that took a message to its release by the application.";
    CHANNELS = Gauge "pegaflow_channels_up" [peer, class]
        "Channels that are up.";
    CONNECTED = Counter "pegaflow_channels_connected_total" [peer, class]
        "Channels that came up.";
    CHANNEL_ENDS = Counter "pegaflow_channel_ends_total" [peer, class, reason]
        "Channels that ended, those that never came up included: closed, or by the cause that broke them (fenced for a fence of this side).";
    REVOKES = Counter "pegaflow_revokes_total" [peer, class, result]
        "Answers to revokes, by what they proved.";
    ARRIVED = Histogram "pegaflow_arrived_to_handed_over_seconds" []
        "How long messages and counts can have waited at most until a poll took them: the time since the poll before. After a sleep it is not known, and not counted.";
    POLLS = Counter "pegaflow_polls_total" []
        "Calls of poll.";
    BUSY_POLLS = Counter "pegaflow_polls_busy_total" []
        "Calls of poll that found or moved something.";
    FACTS = Counter "pegaflow_completions_total" []
        "Facts that the backend reported to polls: completions, arrivals, credits. By pegaflow_polls_total: completions per poll.";
    EVENTS = Counter "pegaflow_events_total" []
        "Events handed out.";
    SLEEPS = Counter "pegaflow_sleeps_total" []
        "How often a port was armed to sleep.";
    AWAKE = Counter "pegaflow_poll_seconds_total" []
        "Time between polls, sleep left out: how long ports were polled.";
    BUSY = Counter "pegaflow_poll_busy_seconds_total" []
        "The part of that which ended with a busy poll. By pegaflow_poll_seconds_total: the busy share.";
    LONGEST_GAP = Gauge "pegaflow_poll_longest_gap_seconds" []
        "The longest time between two polls without a sleep, since the node began.";
    REQUESTS = Counter "pegaflow_device_requests_total" []
        "Requests that devices took from ports.";
    DOORBELLS = Counter "pegaflow_device_doorbells_total" []
        "Chains of requests handed to devices.";
    SIGNALLED = Counter "pegaflow_device_signalled_total" []
        "Requests that were asked to make a completion.";
    DEVICE_EVENTS = Counter "pegaflow_device_events_total" [rail, event]
        "What devices said of themselves, as the port heard it that heard most.";
    RAIL_COUNTERS = Counter "pegaflow_rail_counter_total" [rail, counter]
        "What a port of a device has counted, as the system shows it, under the driver's names. They are the port's: other programs' traffic is in them.";
    PORTS = Gauge "pegaflow_ports" []
        "Ports of this node with a recorder.";
    REGISTERED = Gauge "pegaflow_registered_bytes" []
        "Memory that is registered, with what is kept and what waits to be given back.";
    REGIONS = Gauge "pegaflow_registered_regions" []
        "Regions of that memory.";
    QUARANTINED = Gauge "pegaflow_quarantined_bytes" []
        "Memory that is kept because it is not proven that nothing touches it.";
    SCRAPES = Counter "pegaflow_scrapes_total" [result]
        "Requests to the exporter: served, unknown (no such page), refused (too many at once), late (not read in time).";
}
