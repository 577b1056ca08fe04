//! Descriptors, and the blob by which one agent tells others of its own.

use pegaflow::Span;

/// A range of registered memory: where it begins in its owner's address space, how long it is, on which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) device: u32,
}

impl Descriptor {
    /// `bytes` bytes from `offset` on.
    pub(crate) fn part(self, offset: u64, bytes: u64) -> Self {
        Self { address: self.address + offset, bytes, device: self.device }
    }

    pub(crate) fn holds(self, other: Self) -> bool {
        let end = |it: Self| it.address.checked_add(it.bytes);
        self.device == other.device && self.address <= other.address && end(other).is_some() && end(other) <= end(self)
    }
}

/// Each wanted range as a span of the registered one that holds it: the window's number is its place in `registered`.
pub(crate) fn spans(side: &str, registered: &[Descriptor], wanted: &[Descriptor]) -> Result<Vec<Span>, String> {
    let one = |it: &Descriptor| {
        let place = registered.iter().position(|whole| whole.holds(*it));
        let window = place.ok_or_else(|| format!("{side}: no registered memory holds {it:x?}"))?;
        let offset = it.address - registered[window].address;
        Ok(Span { window: u32::try_from(window).map_err(|error| error.to_string())?, offset, bytes: it.bytes })
    };
    wanted.iter().map(one).collect()
}

/// What one agent tells every other: who it is, where it is reached, what it has registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) address: Vec<u8>,
    /// Empty where nothing is registered.
    pub(crate) grant: Vec<u8>,
    /// In the order of the grant's windows.
    pub(crate) registered: Vec<Descriptor>,
}

const MARK: &[u8] = b"agent/1\n";

impl Blob {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = MARK.to_vec();
        for field in [self.name.as_bytes(), &self.address, &self.grant] {
            to.extend((field.len() as u64).to_le_bytes());
            to.extend(field);
        }
        for it in &self.registered {
            for number in [it.address, it.bytes, it.device.into()] {
                to.extend(number.to_le_bytes());
            }
        }
        to
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MARK)?;
        let name = String::from_utf8(field(&mut rest)?.to_vec()).ok()?;
        let (address, grant) = (field(&mut rest)?.to_vec(), field(&mut rest)?.to_vec());
        let mut registered = Vec::new();
        while !rest.is_empty() {
            let (address, bytes) = (number(&mut rest)?, number(&mut rest)?);
            registered.push(Descriptor { address, bytes, device: number(&mut rest)?.try_into().ok()? });
        }
        Some(Self { name, address, grant, registered })
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*first))
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?.try_into().ok()?;
    let (field, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(field)
}
