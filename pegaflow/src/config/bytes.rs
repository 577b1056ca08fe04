//! Sizes in bytes, as people write them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// A size in bytes.
///
/// Reads an integer or a text such as `64KiB` ([`parse_bytes`]); shows the largest binary unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(u64);

impl Bytes {
    /// `bytes` bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The size in bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Reads a size: digits, with a fraction if the result is whole, and a unit.
///
/// Units are binary (`K`, `KiB`, `M`, `MiB`, `G`, `GiB`, `T`, `TiB`), decimal (`KB`, `MB`, `GB`, `TB`), or bytes (none,
/// `B`); the first letter may be small. One space may stand before the unit.
///
/// ```
/// use pegaflow::config::parse_bytes;
/// assert_eq!(parse_bytes("1.5GiB")?.get(), 1_610_612_736);
/// assert_eq!(parse_bytes("16k")?.get(), 16_384);
/// assert_eq!(parse_bytes("1MB")?.get(), 1_000_000);
/// # Ok::<(), pegaflow::config::BytesError>(())
/// ```
///
/// # Errors
/// [`BytesError`], which repeats the text and says what is wrong with it.
pub fn parse_bytes(text: &str) -> Result<Bytes, BytesError> {
    let found = || text.to_owned();
    if text.starts_with('-') {
        return Err(BytesError::Negative { found: found() });
    }
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(number_end);
    let unit_name = rest.strip_prefix(' ').unwrap_or(rest);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let malformed = whole.is_empty()
        || fraction.contains('.')
        || (number.contains('.') && fraction.is_empty())
        || (unit_name.is_empty() && !rest.is_empty());
    if malformed {
        return Err(BytesError::Malformed { found: found() });
    }
    let unit =
        unit_bytes(unit_name).ok_or_else(|| BytesError::UnknownUnit { found: found(), unit: unit_name.to_owned() })?;

    // 64-bit sizes with a fraction of 18 digits stay below 2^128 together with any unit.
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 18 {
        return Err(BytesError::NotWhole { found: found() });
    }
    let too_large = || BytesError::TooLarge { found: found() };
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let whole = u128::from(whole) * unit;
    let numerator = fraction.parse::<u128>().unwrap_or(0) * unit;
    let denominator = fraction.bytes().fold(1_u128, |power, _| power * 10);
    if numerator % denominator != 0 {
        return Err(BytesError::NotWhole { found: found() });
    }
    u64::try_from(whole + numerator / denominator).map(Bytes).map_err(|_| too_large())
}

/// Why a text is no size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BytesError {
    /// Not digits and a unit.
    #[error("`{found}` is not a size; write it as 65536, 64KiB or 1MB")]
    Malformed {
        /// The text.
        found: String,
    },
    /// Below zero.
    #[error("`{found}` is negative, a size is not")]
    Negative {
        /// The text.
        found: String,
    },
    /// Digits, and a unit that doesn't exist.
    #[error(
        "`{found}` has the unknown unit `{unit}`; known: B, binary K/KiB, M/MiB, G/GiB, T/TiB, decimal KB, MB, GB, TB"
    )]
    UnknownUnit {
        /// The text.
        found: String,
        /// Its unit.
        unit: String,
    },
    /// A fraction of a byte.
    #[error("`{found}` is not a whole number of bytes")]
    NotWhole {
        /// The text.
        found: String,
    },
    /// More than 64 bits hold.
    #[error("`{found}` is more than {} bytes, the largest size there is", u64::MAX)]
    TooLarge {
        /// The text.
        found: String,
    },
}

impl From<u64> for Bytes {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl From<Bytes> for u64 {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_bytes(text)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BINARY.iter().rev().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match unit {
            Some((name, unit)) => f.pad(&format!("{}{name}", self.0 / unit)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;

        impl Visitor<'_> for Size {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes, such as 65536, \"64KiB\" or \"1MB\"")
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Bytes, E> {
                u64::try_from(bytes)
                    .map(Bytes)
                    .map_err(|_| E::custom(BytesError::Negative { found: bytes.to_string() }))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                parse_bytes(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Size)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const BINARY: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

fn unit_bytes(name: &str) -> Option<u128> {
    // Only the first letter is free: `Mb` is a megabit to many, so it is asked about instead of guessed.
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let power = match first {
        None => return Some(1),
        Some('B') => return (name == "B").then_some(1),
        Some('K') => 1,
        Some('M') => 2,
        Some('G') => 3,
        Some('T') => 4,
        Some(_) => return None,
    };
    match letters.as_str() {
        "" | "iB" => Some(1024_u128.pow(power)),
        "B" => Some(1000_u128.pow(power)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("12B", 12),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("16K", 16_384),
            ("16k", 16_384),
            ("1m", 1 << 20),
            ("1MiB", 1 << 20),
            ("1.5GiB", 3 << 29),
            ("1.50GiB", 3 << 29),
            ("2.0", 2),
            ("1.1MB", 1_100_000),
            ("1kB", 1000),
            ("3TB", 3_000_000_000_000),
            ("16777215TiB", 16_777_215 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        let kind = |text: &str| match parse_bytes(text).unwrap_err() {
            BytesError::Malformed { .. } => "malformed",
            BytesError::Negative { .. } => "negative",
            BytesError::UnknownUnit { .. } => "unit",
            BytesError::NotWhole { .. } => "not whole",
            BytesError::TooLarge { .. } => "too large",
        };
        for (text, expected) in [
            ("", "malformed"),
            ("KiB", "malformed"),
            (".5K", "malformed"),
            ("1.K", "malformed"),
            ("1.2.3K", "malformed"),
            ("1 ", "malformed"),
            ("-1", "negative"),
            ("-1KiB", "negative"),
            ("1  K", "unit"),
            ("1MMiB", "unit"),
            ("1Mb", "unit"),
            ("1kib", "unit"),
            ("1b", "unit"),
            ("1PiB", "unit"),
            ("1é", "unit"),
            ("1_000", "unit"),
            ("1e3", "unit"),
            ("1.5", "not whole"),
            ("0.3KiB", "not whole"),
            ("1.0000000000000000001TiB", "not whole"),
            ("16777216TiB", "too large"),
            ("18446744073709551615.5K", "too large"),
            ("99999999999999999999", "too large"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for bytes in [0, 1, 1000, 1023, 1024, 1025, 1 << 20, 3 << 29, 5 << 40, u64::MAX] {
            assert_eq!(parse_bytes(&Bytes(bytes).to_string()), Ok(Bytes(bytes)));
        }
        assert_eq!(Bytes(65_536).to_string(), "64KiB");
        assert_eq!(Bytes(1536).to_string(), "1536");
        assert_eq!(Bytes(1 << 20).to_string(), "1MiB");
    }
}
