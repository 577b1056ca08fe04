//! What can't be is refused with a text of its own: the value, what was expected, and what to do about it.

use std::{ffi::c_uint, path::PathBuf, sync::Arc};

use pegaflow_core::{
    BackendError, Bounds, Class, Kind, Link,
    backend::{Domain, Engine, LocalKey, Memory, Parcel, Reaper},
};
use pegaflow_rdma::{RailConfig, RdmaConfig, ServiceConfig, testing};

use crate::{
    Test,
    devices::{Schedule, device, hidden, raise},
    provider::{config, library},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["refusals":
    library_that_is_not_there,
    library_that_is_another,
    stand_in_outside_tests,
    no_device,
    no_list_of_devices,
    device_of_another_name,
    port_beyond_the_device,
    port_that_is_down,
    link_local_gids_alone,
    gid_that_is_empty,
    two_rails,
    values_out_of_range,
    completion_queue_too_large,
    queues_too_deep,
    too_much_inline,
    infiniband_with_ethernet,
    no_room_for_a_region,
    device_memory_without_dmabufs,
];

const PORT_ERR: c_uint = 10;

/// Each of `parts` must be said.
#[track_caller]
fn says<T>(outcome: Result<T, BackendError>, parts: &[&str]) {
    let Err(error) = outcome else { panic!("it was not refused") };
    let said = error.to_string();
    println!("{said}");
    assert!(said.starts_with("backend `rdma`: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not said: {said}");
    }
}

fn with_rail(rail: RailConfig) -> RdmaConfig {
    RdmaConfig { rails: vec![rail], ..config("stand-in0") }
}

fn open(schedule: &Schedule) -> Arc<dyn Domain> {
    testing::open(&config(&device(schedule))).expect("a device of the stand-in's")
}

fn engine_with(config: &RdmaConfig) -> Box<dyn Engine> {
    testing::open(config).and_then(|domain| domain.engine(&reaper())).expect("an engine")
}

fn reaper() -> Reaper {
    Reaper::start().expect("a thread")
}

fn open_link(engine: &mut dyn Engine) -> Result<Parcel, BackendError> {
    engine.open(Link(0), Class::Kv, &Bounds::of(Class::Kv))
}

fn library_that_is_not_there() {
    let library = Some(PathBuf::from("/nowhere/libibverbs.so.1"));
    let parts = ["/nowhere/libibverbs.so.1 can't be loaded: ", "No such file", "libibverbs1", "transport.rdma.library"];
    says(pegaflow_rdma::open(&RdmaConfig { library, ..RdmaConfig::default() }), &parts);
}

fn library_that_is_another() {
    let library = Some(PathBuf::from("libm.so.6"));
    let parts = ["libm.so.6 is no libibverbs", "ibv_get_device_list", "name libibverbs.so.1 in transport.rdma.library"];
    says(pegaflow_rdma::open(&RdmaConfig { library, ..RdmaConfig::default() }), &parts);
}

fn stand_in_outside_tests() {
    let library = library();
    let parts = [library.to_str().expect("UTF-8"), "stand-in", "it is no device", "libibverbs.so.1"];
    says(pegaflow_rdma::open(&config("stand-in0")), &parts);
}

fn no_device() {
    let parts = ["no RDMA device", "rdma link", "docs/testing-without-a-nic.md"];
    says(hidden(0, || testing::open(&config("stand-in0"))), &parts);
}

fn no_list_of_devices() {
    const ENOSYS: i32 = 38;
    const EACCES: i32 = 13;
    let parts = ["ibv_get_device_list: ", "(os error 38); ", "no RDMA support loaded", "modprobe ib_uverbs"];
    says(hidden(ENOSYS, || testing::open(&config("stand-in0"))), &parts);
    let parts = ["ibv_get_device_list: ", "(os error 13); ", "/dev/infiniband", "readable and writable"];
    says(hidden(EACCES, || testing::open(&config("stand-in0"))), &parts);
}

fn device_of_another_name() {
    let there = device(&Schedule::default());
    says(testing::open(&config("mlx5_7")), &["transport.rdma.rail.device is \"mlx5_7\"", "stand-in0", &there]);
}

fn port_beyond_the_device() {
    let rail = RailConfig { port: Some(2), ..config("stand-in0").rails.remove(0) };
    says(
        testing::open(&with_rail(rail)),
        &["transport.rdma.rail.port is 2", "device stand-in0 has 1 (counted from 1)"],
    );
}

fn port_that_is_down() {
    let name = device(&Schedule::default());
    raise(&name, PORT_ERR);
    let parts = ["no active port", &format!("{name} port 1 is down"), "cable", "ip link set DEV up"];
    says(testing::open(&config(&name)), &parts);
}

fn link_local_gids_alone() {
    let name = device(&Schedule { gids_max: 1, ..Schedule::default() });
    let here = format!("port 1 of device {name}: no usable GID");
    let parts = [&here, "RoCE v2 for an IPv4 or IPv6 address", "0 (fe80::", "ip addr add", "transport.rdma.rail.gid"];
    says(testing::open(&config(&name)), &parts);
    // By name it is used all the same.
    let rail = RailConfig { gid: Some(0), ..config(&name).rails.remove(0) };
    testing::open(&with_rail(rail)).expect("an explicit GID");
}

fn gid_that_is_empty() {
    let rail = RailConfig { gid: Some(2), ..config("stand-in0").rails.remove(0) };
    let parts = ["transport.rdma.rail.gid is 2: the entry is empty", "0 (fe80::", "1 (::ffff:10.77.0.1, RoCE v2)"];
    says(testing::open(&with_rail(rail)), &parts);
}

fn two_rails() {
    let rails = vec![RailConfig::default(); 2];
    let parts = ["2 rails are configured", "this version uses one", "docs/rdma.md"];
    says(testing::open(&RdmaConfig { rails, ..config("stand-in0") }), &parts);
}

fn values_out_of_range() {
    type Spoil = fn(&mut RdmaConfig);
    let cases: [(Spoil, &str); 20] = [
        (|config| config.rails.clear(), "rail (how many) is 0: expected 1 to 8"),
        (|config| config.rails[0].port = Some(0), "rail.port is 0: expected 1 to 254"),
        (|config| config.mtu = 1500, "mtu is 1500: expected 256, 512, 1024, 2048 or 4096"),
        (
            |config| config.classes[2] = ServiceConfig { service_level: 16, traffic_class: 0 },
            "service_level is 16: expected 0 to 15",
        ),
        (|config| config.ack_timeout = 0, "ack_timeout is 0: expected 1 to 31"),
        (|config| config.retries = 8, "retries is 8: expected 0 to 7"),
        (|config| config.rnr_retries = 8, "rnr_retries is 8: expected 0 to 7"),
        (|config| config.rnr_timer = 32, "rnr_timer is 32: expected 0 to 31"),
        (|config| config.send_depth = 7, "send_depth is 7: expected 8 to 32768"),
        (|config| config.receive_depth = 63, "receive_depth is 63: expected 64 to 65536"),
        (|config| config.signal_every = 129, "signal_every is 129: expected 1 to 128"),
        (|config| config.signal_every = 0, "signal_every is 0: expected 1 to 128"),
        (|config| config.chain = 3, "chain is 3: expected 4 to 64"),
        (|config| config.inline_bytes = 1025, "inline_bytes is 1025: expected 0 to 1024"),
        (|config| config.poll_batch = 0, "poll_batch is 0: expected 1 to 256"),
        (|config| config.poll_batch = 257, "poll_batch is 257: expected 1 to 256"),
        (|config| config.outstanding_reads = 0, "outstanding_reads is 0: expected 1 to 128"),
        (|config| config.max_request_bytes = 4095, "max_request_bytes is 4095: expected 4096 to 2147483648"),
        (|config| config.max_channels = 0, "max_channels is 0: expected 1 to 4096"),
        (|config| config.max_channels = 4097, "max_channels is 4097: expected 1 to 4096"),
    ];
    for (spoil, said) in cases {
        let mut config = config("stand-in0");
        spoil(&mut config);
        says(testing::open(&config), &[&format!("transport.rdma.{said}")]);
    }
}

fn completion_queue_too_large() {
    let name = device(&Schedule { completions_max: 1000, ..Schedule::default() });
    let config = RdmaConfig { send_depth: 300, receive_depth: 700, ..config(&name) };
    let here = format!("device {name} holds 1000 in a queue");
    let parts =
        ["transport.rdma.send_depth 300 + receive_depth 700 + 1 is 1001 completions", &here, "lower one of them"];
    says(open_link(&mut *engine_with(&config)), &parts);
    open_link(&mut *engine_with(&RdmaConfig { receive_depth: 699, ..config })).expect("as many as it holds");
}

fn queues_too_deep() {
    let name = device(&Schedule { queue_max: 512, ..Schedule::default() });
    let config = RdmaConfig { send_depth: 513, receive_depth: 512, ..config(&name) };
    let here = format!("device {name} takes at most 512 requests in a queue");
    says(open_link(&mut *engine_with(&config)), &["transport.rdma.send_depth is 513", &here, "lower it"]);
    let config = RdmaConfig { send_depth: 512, receive_depth: 513, ..config };
    says(open_link(&mut *engine_with(&config)), &["transport.rdma.receive_depth is 513", &here, "lower it"]);
    open_link(&mut *engine_with(&RdmaConfig { receive_depth: 512, ..config })).expect("as many as it takes");
}

fn too_much_inline() {
    let name = device(&Schedule { inline_max: 32, ..Schedule::default() });
    let here = format!("ibv_create_qp of device {name}");
    let parts = [&here, "64 bytes inline", "(os error 22)", "a smaller transport.rdma.inline_bytes"];
    says(open_link(&mut *engine_with(&config(&name))), &parts);
    let config = RdmaConfig { inline_bytes: 32, ..config(&name) };
    open_link(&mut *engine_with(&config)).expect("as much as it takes");
}

fn infiniband_with_ethernet() {
    let engine = |lid| open(&Schedule { lid, ..Schedule::default() }).engine(&reaper()).expect("an engine");
    let (mut infiniband, mut ethernet) = (engine(11), engine(0));
    let parcels = [open_link(&mut *infiniband), open_link(&mut *ethernet)].map(|parcel| parcel.expect("a link"));
    let [of_infiniband, of_ethernet] = parcels;
    let bounds = Bounds::of(Class::Kv);
    let parts = ["this port is on InfiniBand and the peer's on Ethernet (RoCE)", "can't reach each other"];
    says(infiniband.join(Link(0), of_ethernet, &bounds), &parts);
    let parts = ["this port is on Ethernet (RoCE) and the peer's on InfiniBand", "transport.rdma.rail"];
    says(ethernet.join(Link(0), of_infiniband, &bounds), &parts);
}

/// Registers a page of this process, and gives it back.
fn register(domain: &dyn Domain, kind: Kind) -> Result<LocalKey, BackendError> {
    let mut page = vec![0_u8; 4096];
    let memory = Memory { base: page.as_mut_ptr(), bytes: 4096, kind, file: None, file_offset: 0 };
    // SAFETY: the page lives until the registration is gone.
    let made = unsafe { domain.register(&memory) };
    if let Ok(key) = made {
        domain.deregister(key).expect("it lets go");
    }
    made
}

fn no_room_for_a_region() {
    let name = device(&Schedule { regions_max: 1, ..Schedule::default() });
    let domain = testing::open(&config(&name)).expect("a device");
    let mut page = vec![0_u8; 4096];
    let memory = Memory { base: page.as_mut_ptr(), bytes: 4096, kind: Kind::Host, file: None, file_offset: 0 };
    // SAFETY: the page lives until the registration is gone.
    let first = unsafe { domain.register(&memory) }.expect("the first one");
    let here = format!("ibv_reg_mr_iova2 of 4096 bytes with device {name}: ");
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let remedy = match limit {
        Some(limit) => format!("this process may lock {limit} bytes"),
        None => "has no room for another region".to_owned(),
    };
    let mut parts = vec![here.as_str(), "(os error 12); ", &remedy];
    if limit.is_some() {
        parts.extend(["ulimit -l unlimited", "LimitMEMLOCK=infinity", "--ulimit memlock=-1"]);
    }
    says(register(&*domain, Kind::Host), &parts);
    domain.deregister(first).expect("it lets go");
    register(&*domain, Kind::Host).expect("there is room again");
}

fn device_memory_without_dmabufs() {
    let name = device(&Schedule::default());
    let domain = testing::open(&config(&name)).expect("a device");
    assert!(!domain.capabilities().device_memory);
    let here = format!("device {name} takes no dmabuf");
    let parts = ["memory of device 3", &here, "kernel 5.12", "rdma-core 34"];
    says(register(&*domain, Kind::Device { ordinal: 3 }), &parts);
    let domain = open(&Schedule { dmabuf: 1, ..Schedule::default() });
    assert!(domain.capabilities().device_memory);
    let parts = ["memory of device 3 came without its dmabuf", "Node::register_dmabuf"];
    says(register(&*domain, Kind::Device { ordinal: 3 }), &parts);
}
