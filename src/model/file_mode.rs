//! Permission bits of files and directories that travel.
//!
//! Invariant: never more than read, write and execute of owner, group and others. Absent: the umask, which whoever makes
//! a file applies.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Permission bits of a file or directory: read, write and execute of its owner, its group and others.
///
/// Setuid, setgid and sticky are not among them: they do not travel. Whoever makes the file applies its own umask.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileMode(u16);

impl FileMode {
    /// What programs make directories with.
    pub const ALL: Self = Self(0o777);
    /// What programs make files with.
    pub const FILE: Self = Self(0o666);

    /// The permission bits among those of `st_mode`.
    #[must_use]
    pub fn of(st_mode: u32) -> Self {
        Self((st_mode & 0o777) as u16)
    }

    /// As the system wants them.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// What both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// With everything that its owner needs to fill a directory.
    #[must_use]
    pub fn open_to_owner(self) -> Self {
        Self(self.0 | 0o700)
    }

    /// Whether its owner may execute it.
    #[must_use]
    pub fn is_executable(self) -> bool {
        self.0 & 0o100 != 0
    }
}

impl TryFrom<u16> for FileMode {
    type Error = u16;

    fn try_from(bits: u16) -> Result<Self, u16> {
        if bits <= Self::ALL.0 { Ok(Self(bits)) } else { Err(bits) }
    }
}

impl Default for FileMode {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Debug for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bits;
        impl Visitor<'_> for Bits {
            type Value = FileMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("permission bits, at most 0777")
            }

            fn visit_u64<E: Error>(self, bits: u64) -> Result<FileMode, E> {
                let mode = u16::try_from(bits).ok().and_then(|bits| FileMode::try_from(bits).ok());
                mode.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(bits), &self))
            }

            // Stores of before have only this of a file's mode, under the name `executable`.
            fn visit_bool<E: Error>(self, is_executable: bool) -> Result<FileMode, E> {
                Ok(if is_executable { FileMode::ALL } else { FileMode::FILE })
            }
        }
        deserializer.deserialize_any(Bits)
    }
}
