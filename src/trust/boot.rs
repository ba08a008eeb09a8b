//! Which boot of the machine this is.
//!
//! The one invariant: within one boot the answer never changes, and no two
//! boots give the same one. Where the system does not say, nothing is answered,
//! and whoever asks takes the boot for the same as before. Absent: what another
//! boot means (the store's, and the engine's).

/// The name of this boot, where the system has one.
#[cfg(target_os = "linux")]
#[must_use]
pub fn id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// The name of this boot: not asked for on this system, so a power loss is taken for a crash of the process.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn id() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_one_name() {
        assert_eq!(id(), id());
        assert_eq!(id().is_some(), cfg!(target_os = "linux"));
    }
}
