//! Where something may listen that need not.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

use super::{HostPort, HostPortError};

/// Nowhere, or at a host and port. A port alone is one of the loopback address: who wants more says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Listen {
    /// Nowhere.
    #[default]
    Off,
    /// Here; port 0 for any that is free.
    At(HostPort),
}

impl FromStr for Listen {
    type Err = HostPortError;

    /// Reads `off`, `9400`, or `host:port`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let alone = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let at = if alone { format!("127.0.0.1:{text}").parse() } else { text.parse() };
        at.map(Self::At).map_err(|error: HostPortError| HostPortError { found: text.to_owned(), ..error })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.pad("off"),
            Self::At(at) => at.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_unless_told() {
        let shown = |text: &str| text.parse::<Listen>().map(|listen| listen.to_string());
        assert_eq!(shown("off").as_deref(), Ok("off"));
        assert_eq!(shown("9400").as_deref(), Ok("127.0.0.1:9400"));
        assert_eq!(shown("0").as_deref(), Ok("127.0.0.1:0"));
        assert_eq!(shown("0.0.0.0:9400").as_deref(), Ok("0.0.0.0:9400"));
        assert_eq!(shown("[::1]:9400").as_deref(), Ok("[::1]:9400"));
        for wrong in ["", "on", "70000", ":9400", "host:"] {
            let error = shown(wrong).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{wrong}` is not host:port")), "{error}");
        }
    }
}
