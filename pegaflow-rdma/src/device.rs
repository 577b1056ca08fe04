//! Which device, port and GID: what the config names, or the first that fits by the rules of `docs/rdma.md`.

use std::sync::Arc;

use pegaflow_core::BackendError;

use crate::{
    RailConfig, RdmaConfig,
    error::NAME,
    sys::{self, Device, DeviceList, PortAttributes, StandIn, Verbs, abi},
    watch::Watch,
};

/// What a domain and its engines share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: RdmaConfig,
    pub(crate) rail: Rail,
    pub(crate) watch: Watch,
}

/// One NIC port, open and chosen.
#[derive(Debug)]
pub(crate) struct Rail {
    pub(crate) device: Arc<Device>,
    pub(crate) port: u8,
    pub(crate) attributes: PortAttributes,
    pub(crate) limits: abi::ibv_device_attr,
    pub(crate) gid: Gid,
}

/// An entry of a port's table of GIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gid {
    pub(crate) index: u8,
    pub(crate) raw: [u8; 16],
    pub(crate) kind: u32,
}

/// The port and GID that a rail's config comes to on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The device's name.
    pub device: String,
    /// Its port, counted from 1.
    pub port: u8,
    /// Position in the port's table of GIDs.
    pub gid: u8,
}

impl Chosen {
    /// Chooses as the backend does when it is opened, for programs that are to use the same.
    ///
    /// # Errors
    /// As [`open`](crate::open), where it is the rail that can't be used.
    pub fn of(config: &RdmaConfig) -> Result<Self, BackendError> {
        let rail = Rail::of(config, StandIn::Refused)?;
        Ok(Self { device: rail.device.name().to_owned(), port: rail.port, gid: rail.gid.index })
    }
}

impl Rail {
    /// The one rail of a config, on the library that it names.
    pub(crate) fn of(config: &RdmaConfig, stand_in: StandIn) -> Result<Self, BackendError> {
        let [only] = config.rails.as_slice() else {
            let count = config.rails.len();
            return Err(unavailable(format!("{count} rails are configured: this version uses one, see docs/rdma.md")));
        };
        Self::open(sys::load(config.library.as_deref(), stand_in)?, only)
    }

    pub(crate) fn open(verbs: &'static Verbs, config: &RailConfig) -> Result<Self, BackendError> {
        let list = DeviceList::new(verbs)?;
        let names = list.names();
        if names.is_empty() {
            return Err(unavailable(
                "no RDMA device: `rdma link` shows what the kernel has; without a NIC, docs/testing-without-a-nic.md \
                 says how to get a virtual one",
            ));
        }
        if let Some(wanted) = &config.device
            && !names.contains(wanted)
        {
            return Err(unavailable(format!(
                "transport.rdma.rail.device is {wanted:?}: this machine has {}",
                names.join(", ")
            )));
        }
        // The first that fits; why the others did not is told where none does.
        let mut seen = Vec::new();
        for (at, name) in names.iter().enumerate() {
            if config.device.as_ref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            match Self::of_device(&list, at, config, &mut seen) {
                Ok(Some(rail)) => return Ok(rail),
                Ok(None) => {}
                Err(error) if names.len() == 1 || config.device.is_some() => return Err(error),
                Err(error) => seen.push(error.message),
            }
        }
        Err(unavailable(format!(
            "no active port that can be used: {}; is the cable in, and the link up (`rdma link`, `ip link set DEV up`)?",
            seen.join("; ")
        )))
    }

    /// The first port of a device that fits; `None` where none is active, which is noted in `seen`.
    fn of_device(
        list: &DeviceList,
        at: usize,
        config: &RailConfig,
        seen: &mut Vec<String>,
    ) -> Result<Option<Self>, BackendError> {
        let device = Arc::new(list.open(at)?);
        let limits = device.attributes()?;
        let ports = match config.port {
            Some(port) if port > limits.phys_port_cnt => {
                return Err(unavailable(format!(
                    "transport.rdma.rail.port is {port}: device {} has {} (counted from 1)",
                    device.name(),
                    limits.phys_port_cnt
                )));
            }
            Some(port) => port..=port,
            None => 1..=limits.phys_port_cnt,
        };
        for port in ports {
            let attributes = device.port(port)?;
            if !attributes.active {
                seen.push(format!("{} port {port} is {}", device.name(), state(attributes.state)));
                continue;
            }
            let gid = choose(&table(&device, port, &attributes), attributes.ethernet, config.gid)
                .map_err(|why| unavailable(format!("port {port} of device {}: {why}", device.name())))?;
            return Ok(Some(Self { device, port, attributes, limits, gid }));
        }
        Ok(None)
    }
}

fn unavailable(why: impl Into<String>) -> BackendError {
    BackendError::new(NAME, why)
}

fn state(number: u32) -> String {
    match number {
        0 => "in no state".to_owned(),
        1 => "down".to_owned(),
        2 => "initialising (is a subnet manager running?)".to_owned(),
        3 => "armed".to_owned(),
        other => format!("in state {other}"),
    }
}

/// The entries of a port that are not empty. An index beyond what a queue pair can name is left out.
fn table(device: &Device, port: u8, attributes: &PortAttributes) -> Vec<Gid> {
    let entry = |index: u8| {
        let entry = device.gid(port, index.into())?;
        let empty = entry.gid.raw == [0; 16];
        (!empty).then_some(Gid { index, raw: entry.gid.raw, kind: entry.gid_type })
    };
    (0..attributes.gids).map_while(|index| u8::try_from(index).ok()).filter_map(entry).collect()
}

const IPV4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

fn is_link_local(raw: &[u8; 16]) -> bool {
    raw[0] == 0xfe && raw[1] & 0xc0 == 0x80
}

/// Chooses from a port's table. On InfiniBand the first: LIDs route, and its GID is link-local by design. On RoCE a v2
/// entry of an IPv4 address, else of an IPv6 address; never a link-local one by itself, since no router carries it and
/// two ports of a host have the same prefix.
fn choose(table: &[Gid], ethernet: bool, wanted: Option<u8>) -> Result<Gid, String> {
    if let Some(index) = wanted {
        let found = table.iter().find(|gid| gid.index == index).copied().ok_or_else(|| {
            format!("transport.rdma.rail.gid is {index}: the entry is empty; there are {}", list(table))
        })?;
        if ethernet && (is_link_local(&found.raw) || found.kind != abi::IBV_GID_TYPE_ROCE_V2) {
            tracing::warn!(gid = %text(&found), "the GID that the config names is link-local, or not of RoCE v2");
        }
        return Ok(found);
    }
    if !ethernet {
        return table.first().copied().ok_or_else(|| "its table of GIDs is empty".to_owned());
    }
    let fits = |gid: &&Gid| gid.kind == abi::IBV_GID_TYPE_ROCE_V2 && !is_link_local(&gid.raw);
    let by_address = |gid: &&Gid| gid.raw.starts_with(&IPV4_MAPPED);
    let of_ipv4 = table.iter().filter(fits).find(by_address);
    of_ipv4.or_else(|| table.iter().find(fits)).copied().ok_or_else(|| {
        format!(
            "no usable GID: an entry of RoCE v2 for an IPv4 or IPv6 address is needed, there are {}; give its network \
             interface an address (`ip addr add`), or name an entry in transport.rdma.rail.gid",
            list(table)
        )
    })
}

fn list(table: &[Gid]) -> String {
    if table.is_empty() { "none".to_owned() } else { table.iter().map(text).collect::<Vec<_>>().join(", ") }
}

fn text(gid: &Gid) -> String {
    let kind = match gid.kind {
        abi::IBV_GID_TYPE_IB => "InfiniBand",
        abi::IBV_GID_TYPE_ROCE_V1 => "RoCE v1",
        abi::IBV_GID_TYPE_ROCE_V2 => "RoCE v2",
        _ => "of an unknown type",
    };
    format!("{} ({}, {kind})", gid.index, std::net::Ipv6Addr::from(gid.raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gid(index: u8, address: &str, kind: u32) -> Gid {
        let address: std::net::Ipv6Addr = address.parse().unwrap();
        Gid { index, raw: address.octets(), kind }
    }

    #[test]
    fn on_roce_a_v2_entry_of_an_ipv4_address_is_chosen_and_never_a_link_local_one() {
        let link_local = gid(0, "fe80::1", abi::IBV_GID_TYPE_ROCE_V2);
        let v1 = gid(1, "::ffff:10.9.0.1", abi::IBV_GID_TYPE_ROCE_V1);
        let v6 = gid(2, "fd00::1", abi::IBV_GID_TYPE_ROCE_V2);
        let v4 = gid(3, "::ffff:10.9.0.1", abi::IBV_GID_TYPE_ROCE_V2);
        assert_eq!(choose(&[link_local, v1, v6, v4], true, None), Ok(v4));
        assert_eq!(choose(&[link_local, v1, v6], true, None), Ok(v6));
        let none = choose(&[link_local, v1], true, None).unwrap_err();
        assert!(none.contains("no usable GID") && none.contains("0 (fe80::1, RoCE v2)"), "{none}");
        assert_eq!(choose(&[link_local, v1, v6, v4], true, Some(0)), Ok(link_local), "an explicit one is used");
        let empty = choose(&[v4], true, Some(7)).unwrap_err();
        assert!(empty.contains("gid is 7"), "{empty}");
    }

    #[test]
    fn on_infiniband_the_first_is_chosen_though_it_is_link_local() {
        let first = gid(0, "fe80::1", abi::IBV_GID_TYPE_IB);
        assert_eq!(choose(&[first, gid(1, "fd00::1", abi::IBV_GID_TYPE_IB)], false, None), Ok(first));
        assert!(choose(&[], false, None).is_err());
    }
}
