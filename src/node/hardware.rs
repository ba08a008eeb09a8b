//! What this machine has, as a worker here would advertise it: processors,
//! memory, GPUs.
//!
//! The one invariant: never more than this process may really use, so CPU
//! affinity and the limits of its control group count, and what cannot be read
//! counts as absent. Deliberately absent: free memory and load (a worker
//! advertises what it can hold, the dispatcher does the subtraction), and what
//! the user declared instead, which is `worker::options`' business.

use std::path::{Path, PathBuf};

use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::model::MilliCpu;

/// What was found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// Processors this process may use: its affinity mask, lowered by a CPU quota of its control group.
    pub cpu: MilliCpu,
    /// Memory in bytes: the machine's, lowered by a limit of its control group. 0 when it could not be read.
    pub memory_bytes: u64,
    /// Devices of the GPUs, in the order of their numbers.
    pub gpus: Vec<PathBuf>,
    /// Operating system as Rust names it (`linux`).
    pub os: &'static str,
    /// Processor architecture as Rust names it (`x86_64`).
    pub arch: &'static str,
}

impl Hardware {
    /// Looks at this machine. Reads a few small files of the system and takes well under a millisecond.
    #[must_use]
    pub fn detect() -> Self {
        // The standard library counts the affinity mask and the quotas of both
        // generations of control groups.
        let cores =
            std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
        Self {
            cpu: MilliCpu::from_cores(cores),
            memory_bytes: memory_bytes(),
            gpus: gpu_devices(Path::new("/dev"), Path::new("/sys/class/drm")),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
        }
    }

    /// Number of GPUs, as a capacity counts them.
    #[must_use]
    pub fn gpu_count(&self) -> u32 {
        u32::try_from(self.gpus.len()).unwrap_or(u32::MAX)
    }
}

fn memory_bytes() -> u64 {
    let Ok(mut system) = System::new() else { return 0 };
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let own = Pid::from_u32(std::process::id());
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, ProcessRefreshKind::nothing());
    let limit = system.process(own).and_then(sysinfo::Process::cgroup_limits).map(|limits| limits.total_memory);
    match (system.total_memory(), limit) {
        (total, Some(limit)) if limit > 0 => total.min(limit),
        (total, _) => total,
    }
}

/// GPUs below `dev`: NVIDIA's numbered device files; where there are none, the
/// render nodes that `drm` says are AMD's. Integrated and virtual display
/// adapters are render nodes too, and nobody means them by `--gpu`.
fn gpu_devices(dev: &Path, drm: &Path) -> Vec<PathBuf> {
    let nvidia = numbered(dev, "nvidia");
    if !nvidia.is_empty() {
        return nvidia;
    }
    let mut render = numbered(&dev.join("dri"), "renderD");
    render.retain(|node| {
        let vendor = node.file_name().map(|name| drm.join(name).join("device/vendor"));
        vendor.and_then(|file| std::fs::read_to_string(file).ok()).is_some_and(|vendor| vendor.trim() == AMD_VENDOR)
    });
    render
}

/// AMD's PCI vendor id, as sysfs writes it.
const AMD_VENDOR: &str = "0x1002";

/// Files of `directory` named `prefix` and a number, ordered by the number.
fn numbered(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let digits = name.to_str()?.strip_prefix(prefix)?;
            let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, content).expect("a file");
        }
        root
    }

    fn gpus(root: &tempfile::TempDir) -> Vec<String> {
        gpu_devices(&root.path().join("dev"), &root.path().join("drm"))
            .iter()
            .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let hardware = Hardware::detect();
        assert!(hardware.cpu >= MilliCpu::from_cores(1));
        assert!(hardware.memory_bytes > 1 << 20);
    }

    #[test]
    fn nvidia_devices_are_counted_by_number_and_their_control_files_are_not() {
        let root = machine(&[
            ("dev/nvidia10", ""),
            ("dev/nvidia2", ""),
            ("dev/nvidiactl", ""),
            ("dev/nvidia-uvm", ""),
            ("dev/nvidia", ""),
            ("dev/dri/renderD128", ""),
            ("drm/renderD128/device/vendor", "0x1002\n"),
        ]);
        assert_eq!(gpus(&root), ["nvidia2", "nvidia10"]);
    }

    #[test]
    fn an_integrated_display_adapter_is_no_gpu_but_an_amd_card_is() {
        let root = machine(&[
            ("dev/dri/renderD128", ""),
            ("dev/dri/card0", ""),
            ("drm/renderD128/device/vendor", "0x8086\n"),
            ("dev/dri/renderD129", ""),
            ("drm/renderD129/device/vendor", "0x1002\n"),
        ]);
        assert_eq!(gpus(&root), ["renderD129"]);
        assert_eq!(gpus(&machine(&[])), Vec::<String>::new());
    }
}
