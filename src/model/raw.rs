//! Byte strings that came from an operating system and need not be UTF-8.
//!
//! Commands, paths, items and environment values keep the exact bytes that a
//! user typed. Absent on purpose: any path arithmetic; a `RawString` is opaque.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes as the operating system gave them: an argument, a path, a value.
///
/// Shown lossily (`Display` replaces what is no UTF-8), compared exactly.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawString(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl RawString {
    /// The exact bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no byte at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for RawString {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for RawString {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for RawString {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[cfg(unix)]
impl From<&std::ffi::OsStr> for RawString {
    fn from(text: &std::ffi::OsStr) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        Self(text.as_bytes().to_vec())
    }
}

#[cfg(unix)]
impl RawString {
    /// The same bytes as an operating-system string.
    #[must_use]
    pub fn as_os_str(&self) -> &std::ffi::OsStr {
        use std::os::unix::ffi::OsStrExt as _;
        std::ffi::OsStr::from_bytes(&self.0)
    }
}

impl fmt::Display for RawString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RawString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}
