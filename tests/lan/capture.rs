//! Everything that passes a LAN's switch, byte for byte.
//!
//! The one invariant: a capture that was finished has seen every frame from
//! its start on, or fails; a lost frame would prove nothing. Absent: any
//! understanding of what is in the frames, apart from who speaks to which port.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::harness::lan::Lan;

/// Frames larger than a packet: segmentation offload hands them through a switch in one piece.
const LONGEST_FRAME: usize = 128 * 1024;
const SOCKET_BUFFER: libc::c_int = 32 * 1024 * 1024;
/// How long a look for another frame takes before it is asked whether to go on.
const LOOK: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 100_000 };

/// A capture that runs.
pub(crate) struct Capture {
    finish: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    /// Sees every frame from now on.
    pub(crate) fn begin(lan: &Lan) -> Self {
        let finish = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let over = Arc::clone(&finish);
        let thread = lan.at_the_switch(move || {
            let socket = open().expect("a packet socket, which takes the right to capture");
            ready.send(()).expect("the test waits");
            let mut frames = Vec::new();
            // One more look after it is over: what was sent before is in the buffer.
            while let Some(frame) = next(&socket).or_else(|| (!over.load(Ordering::SeqCst)).then(Vec::new)) {
                frames.push(frame);
            }
            assert_eq!(lost(&socket), 0, "frames were lost, so nothing can be said about them");
            frames
        });
        is_ready.recv().expect("the capture begins");
        Self { finish, thread }
    }

    /// All frames, in order.
    pub(crate) fn end(self) -> Frames {
        self.finish.store(true, Ordering::SeqCst);
        let frames = self.thread.join().expect("the capture ends");
        Frames(frames.into_iter().filter(|frame| !frame.is_empty()).collect())
    }
}

/// What a capture has seen.
pub(crate) struct Frames(Vec<Vec<u8>>);

impl Frames {
    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Bytes in all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether one of them contains `needle`.
    pub(crate) fn show(&self, needle: &[u8]) -> bool {
        assert!(needle.len() >= 8, "fewer bytes than that turn up by chance");
        self.0.iter().any(|frame| frame.windows(needle.len()).any(|part| part == needle))
    }

    /// Those that are no datagrams to `port`, by IPv4 or IPv6.
    pub(crate) fn but_to(&self, port: u16) -> Self {
        let goes_there = |frame: &Vec<u8>| {
            let (protocol, header) = match frame.get(12..14)? {
                [0x08, 0x00] => (*frame.get(23)?, 14 + usize::from(frame.get(14)? & 0x0f) * 4),
                [0x86, 0xdd] => (*frame.get(20)?, 14 + 40),
                _ => return None,
            };
            let to = u16::from_be_bytes([*frame.get(header + 2)?, *frame.get(header + 3)?]);
            (protocol == 17 && to == port).then_some(())
        };
        Self(self.0.iter().filter(|frame| goes_there(frame).is_none()).cloned().collect())
    }

    /// UDP ports spoken to or from, the smaller one of each datagram's two: those of whoever was there first.
    pub(crate) fn udp_ports(&self) -> std::collections::BTreeSet<u16> {
        let ports = |frame: &Vec<u8>| {
            let is_udp = frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&17);
            let header = 14 + usize::from(frame.get(14)? & 0x0f) * 4;
            let port = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
            if is_udp { Some(port(header)?.min(port(header + 2)?)) } else { None }
        };
        self.0.iter().filter_map(ports).collect()
    }

    /// Frames of TCP over IPv4: nothing of ours.
    pub(crate) fn tcp(&self) -> usize {
        let is_tcp = |frame: &&Vec<u8>| frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&6);
        self.0.iter().filter(is_tcp).count()
    }
}

/// A raw socket that hears every interface of the namespace this thread is in.
fn open() -> io::Result<OwnedFd> {
    let every_protocol = libc::c_int::from((libc::ETH_P_ALL as u16).to_be());
    // SAFETY: plain system calls; the descriptor is checked and then owned, the pointers are to live values.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, every_protocol);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        set(&socket, libc::SO_RCVTIMEO, &LOOK)?;
        // The forced one takes more rights than a user namespace gives; then the plain one has to do.
        if set(&socket, libc::SO_RCVBUFFORCE, &SOCKET_BUFFER).is_err() {
            set(&socket, libc::SO_RCVBUF, &SOCKET_BUFFER)?;
        }
        Ok(socket)
    }
}

unsafe fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("a small value");
    // SAFETY: the caller names an option whose value is a T, which lives until the call returns.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, std::ptr::from_ref(value).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next frame; `None` when none came for a while.
fn next(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut frame = vec![0; LONGEST_FRAME];
    // SAFETY: the buffer is as long as is said and lives until the call returns.
    let read = unsafe { libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), libc::MSG_TRUNC) };
    let length = usize::try_from(read).ok()?;
    assert!(length <= LONGEST_FRAME, "a frame of {length} bytes was cut");
    frame.truncate(length);
    frame.shrink_to_fit();
    Some(frame)
}

/// Frames that the system dropped since it was last asked.
fn lost(socket: &OwnedFd) -> u32 {
    let mut statistics: libc::tpacket_stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tpacket_stats>()).expect("a small struct");
    // SAFETY: both pointers are to live values of the size that is said.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            std::ptr::from_mut(&mut statistics).cast(),
            &raw mut length,
        )
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    statistics.tp_drops
}
