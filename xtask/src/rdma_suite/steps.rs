//! What runs in the hosts.

/// Something that runs in a host; all of them run, whatever became of those before.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) limit_s: u32,
    /// For bash. `$CONFORMANCE`, `$KEYS` and `$LAYOUT` are the binaries of those tests, `$BACKEND` the name of the backend,
    /// `$PROGRAM` the command line's binary.
    pub(super) command: String,
}

impl Step {
    pub(super) fn new(name: &str, limit_s: u32, command: impl Into<String>) -> Self {
        Self { name: name.to_owned(), limit_s, command: command.into() }
    }
}

/// Every run of the conformance suite ends within this. An idle machine needs about half of it
/// for the longest.
const BOX_LIMIT_S: u32 = 90;

/// Themes of the conformance suite, as many together as make a run that fits its box. A theme that is in none of them
/// fails the last step.
const BOXES: &[&str] = &[
    "sizes",
    "model,after_data",
    "back_pressure,misuse,memory_misuse,connecting",
    "drops,peer_lost",
    "ends,closing",
    "counters,figures,steady,capabilities,fork",
    "aborting,checking",
    "sender_lost",
    "neighbours",
    "fencing,shortage,starving",
    "restarting",
    "revoking",
];
/// Those whose cases are across two hosts only: a cable that is cut, an interface that goes down, and the cases that are
/// run again in every weather.
const BOXES_OF_TWO_HOSTS: &[&str] =
    &["cable", "interface", "loss_of_1_percent", "loss_of_10_percent", "delay_and_jitter", "reordering", "duplication"];

/// Runs of the conformance suite, each in its box, and a look whether they were all of it.
fn conformance(boxes: &[&str], filter: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = boxes
        .iter()
        .map(|themes| {
            let command = format!("PEGAFLOW_REQUIRE=$BACKEND PEGAFLOW_THEMES={themes} \"$CONFORMANCE\" {filter}");
            Step::new(&format!("conformance: {themes}"), BOX_LIMIT_S, command)
        })
        .collect();
    let boxed = boxes.join(",");
    let command = format!(
        "PEGAFLOW_THEMES={boxed} \"$CONFORMANCE\" --list >/tmp/boxed && \
         env -u PEGAFLOW_THEMES \"$CONFORMANCE\" --list >/tmp/all && diff /tmp/boxed /tmp/all"
    );
    steps.push(Step::new("no case is left out", BOX_LIMIT_S, command));
    steps
}

/// Limits of what is not conformance are for a busy machine; an idle one needs a tenth.
pub(super) fn one_host() -> Vec<Step> {
    let mut steps = vec![
        // The first two use nothing of ours: where they fail, it is the host.
        Step::new("device", 60, "ibv_devinfo -d rxe0"),
        Step::new(
            "round trips",
            120,
            "ibv_rc_pingpong -d rxe0 -g 1 -n 200 & sleep 2; \
             ibv_rc_pingpong -d rxe0 -g 1 -n 200 $PEGAFLOW_HOST_ADDR && wait $!",
        ),
        // Ignored on machines without the headers; here they are needed.
        Step::new(
            "the foreign layer against the headers",
            120,
            "\"$LAYOUT\" | tee /tmp/said && grep -q 'ok. 1 passed' /tmp/said",
        ),
    ];
    steps.push(Step::new("keys that are wrong or stale", 60, "PEGAFLOW_REQUIRE=$BACKEND \"$KEYS\""));
    steps.extend(conformance(BOXES, ""));
    steps.extend([
        // A file changes its backend and nothing else; the demo checks every byte.
        Step::new(
            "the demo, and the same config under shm and rdma",
            300,
            "set -e; grep -q '^backend = \"shm\"' ../config/pegaflow.toml; \
             sed 's/^backend = \"shm\"/backend = \"rdma\"/' ../config/pegaflow.toml >/tmp/rdma.toml; \
             for config in ../config/pegaflow.toml /tmp/rdma.toml; do \
               \"$PROGRAM\" demo --config $config --model custom --layers 8 --kv-heads 2 --head-dim 64 --dtype bf16 \
                 --tokens 1024 --rounds 2 --json | tee /tmp/report; grep -q '\"verified\":true' /tmp/report; \
             done; grep -q '\"backend\":\"rdma\"' /tmp/report",
        ),
        // Each block is compared where it landed, and perftest runs in turn with ours on the same device.
        Step::new(
            "the bench beside perftest",
            300,
            "set -e; small='--backend rdma --seconds 0.5 --verify --against perftest --json'; \
             \"$PROGRAM\" bench write --blocks 32 --block-bytes 16K --pool 8M $small | tee /tmp/report; \
             \"$PROGRAM\" bench count $small | tee -a /tmp/report; \
             test $(grep -c '\"errors\":0,.*\"limit\":\"perftest\".*\"verified\":[1-9]' /tmp/report) = 2",
        ),
        // The node's own figures, and those of the device's port, beside each other.
        Step::new(
            "figures of a node and of its rail",
            120,
            "set -e; sed 's/^backend = \"shm\"/backend = \"rdma\"/' ../config/pegaflow.toml >/tmp/rdma.toml; \
             \"$PROGRAM\" node --config /tmp/rdma.toml --name decode --metrics 9400 & node=$!; \
             until \"$PROGRAM\" stats --at 127.0.0.1:9400 >/dev/null 2>&1; do sleep 0.2; done; \
             \"$PROGRAM\" demo --config /tmp/rdma.toml --model custom --layers 4 --kv-heads 2 --head-dim 64 --dtype bf16 \
               --tokens 256 --rounds 2 --json; \
             \"$PROGRAM\" stats --at 127.0.0.1:9400; \
             \"$PROGRAM\" stats --at 127.0.0.1:9400 --json | tr '{' '\\n' >/tmp/figures; kill $node; \
             grep -Eq '\"sent_pkts\",\"rail\":\"rxe0/1\"},\"value\":[1-9]' /tmp/figures; \
             grep -q 'pegaflow_device_requests_total' /tmp/figures; \
             grep -q '\"direction\":\"in\",\"peer\":\"prefill\"},\"value\":8}' /tmp/figures",
        ),
        // Without the right to lock more than it may, a process is told what to raise.
        Step::new(
            "too little memory may be locked",
            60,
            "prlimit --memlock=16384 setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock \
             \"$PROGRAM\" demo --backend $BACKEND --tokens 16 --rounds 1 >/tmp/said 2>&1 && exit 1; \
             cat /tmp/said; grep -q 'may lock 16384 bytes: raise it' /tmp/said",
        ),
    ]);
    steps
}

/// On host 0; agents are served on host 1.
pub(super) fn two_hosts() -> Vec<Step> {
    conformance(&[BOXES, BOXES_OF_TWO_HOSTS].concat(), "two_hosts::")
}
