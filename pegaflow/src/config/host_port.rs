//! Where a node listens.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A host, by name or address, and a TCP port: `127.0.0.1:7300`, `prefill-0.cluster:7300`, `[::1]:7300`.
///
/// The name is resolved each time somebody connects, so it may appear after the program has started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// Why a text is no [`HostPort`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not host:port: {reason}")]
pub struct HostPortError {
    /// The text.
    pub found: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl HostPort {
    /// Host name in small letters, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port. 0 lets the system choose where something listens, and can't be connected to.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| HostPortError { found: text.to_owned(), reason };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("no `:` and port"))?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port =
            port.parse().ok().filter(|_| digits).ok_or_else(|| wrong("the port is no number from 0 to 65535"))?;
        let host = if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside.parse::<Ipv6Addr>().map_err(|_| wrong("no IPv6 address between the brackets"))?.to_string()
        } else if host.contains(':') {
            return Err(wrong("an IPv6 address needs brackets, as in [::1]:7300"));
        } else if host.is_empty() || host.len() > 253 {
            return Err(wrong("a host name has 1 to 253 letters"));
        } else if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
            host.to_ascii_lowercase()
        } else {
            return Err(wrong("a host name has letters, digits, `.`, `-` and `_`"));
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, self.port).fmt(f),
            Err(_) => f.pad(&format!("{}:{}", self.host, self.port)),
        }
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("127.0.0.1:7300", "127.0.0.1:7300"),
            ("Prefill-0.Cluster:1", "prefill-0.cluster:1"),
            ("[0:0::1]:7300", "[::1]:7300"),
            ("localhost:0", "localhost:0"),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "host", ":1", "host:", "host:+1", "host:65536", "::1:7300", "[::g]:1", "a b:1", "http://a:1"] {
            let error = text.parse::<HostPort>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }
}
