//! How nodes of one network find each other: beacons by UDP multicast.
//!
//! ```text
//! interfaces ─▶ sockets ─▶ station ─┬▶ schedule, voice   when to speak, and what
//!                             │     ├▶ allowance         how much is listened to
//!                             │     ├▶ seal              who signed
//!                             │     └▶ neighbours        who was heard lately
//!                             ├── Discovery             what a node owns of it
//!                             └── hearing               what it asks of it
//! ```
//!
//! A beacon may show a neighbour, say where a known key is to be found now, and
//! offer a dispatcher to a worker that has none. The one invariant: it does no
//! more. It makes nobody belong, pins no key, adds no capacity, removes no node,
//! and is answered, if at all, to the whole network. Deliberately absent: links
//! (`transport/`), and any belief in what was heard.

mod allowance;
mod hearing;
mod interfaces;
mod neighbours;
mod schedule;
mod seal;
mod sockets;
mod station;
mod twin;
mod voice;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use hearing::Hearing;
pub use interfaces::mute_interfaces;
pub use neighbours::{Neighbour, Offer};
pub use station::{Announcement, Config, Discovery, Standing};

/// The port of beacons unless told otherwise (`--discovery-port 5555`).
pub const DISCOVERY_PORT: u16 = 5555;

/// The group that IPv4 beacons go to: of the range for one organisation's own use (RFC 2365), its last two
/// bytes "OK".
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 79, 75);
/// The group of IPv6 beacons: transient, of one link (RFC 4291 §2.7), its end "OK".
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0, 0x4f4b);
