//! Values that may be left to whoever uses them.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Visitor};
use serde::{Serialize, Serializer};

/// A value, or `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Choice<T> {
    /// Whoever uses it chooses.
    #[default]
    Auto,
    /// This one.
    Given(T),
}

impl<T> Choice<T> {
    /// The value, where there is one.
    pub const fn given(&self) -> Option<&T> {
        match self {
            Self::Auto => None,
            Self::Given(value) => Some(value),
        }
    }
}

/// An absolute path: a relative one would be another one for a peer that was started elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AbsolutePath(PathBuf);

/// Why a text is no [`AbsolutePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not an absolute path")]
pub struct AbsolutePathError {
    /// The text.
    pub found: String,
}

impl AbsolutePath {
    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for AbsolutePath {
    type Err = AbsolutePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(Self(path)) } else { Err(AbsolutePathError { found: text.to_owned() }) }
    }
}

/// Name of an RDMA device, such as `mlx5_0`: 1 to 63 bytes, no blank and no `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceName(String);

/// Why a text is no [`DeviceName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a device's name is 1 to 63 bytes, without blanks and `/`")]
pub struct DeviceNameError {
    /// The text.
    pub found: String,
}

impl DeviceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = DeviceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // 64 bytes with the zero at the end are what the kernel and libibverbs have room for.
        let fits = (1..64).contains(&text.len());
        let good = |c: char| c != '/' && !c.is_whitespace() && !c.is_control();
        if fits && text.chars().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DeviceNameError { found: text.to_owned() })
        }
    }
}

impl<T: fmt::Display> fmt::Display for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Given(value) => value.fmt(f),
        }
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Written<T> {
            type Value = Choice<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a value")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Choice<T>, E> {
                T::deserialize(number.into_deserializer()).map(Choice::Given)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Choice<T>, E> {
                T::deserialize(number.into_deserializer()).map(Choice::Given)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Choice<T>, E> {
                if text == "auto" {
                    return Ok(Choice::Auto);
                }
                T::deserialize(text.into_deserializer()).map(Choice::Given)
            }
        }

        deserializer.deserialize_any(Written(PhantomData))
    }
}

impl<T: Serialize> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Given(value) => value.serialize(serializer),
        }
    }
}

/// Reads with [`FromStr`] and writes with [`fmt::Display`].
macro_rules! as_text {
    ($name:ty) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

as_text!(AbsolutePath);
as_text!(DeviceName);
