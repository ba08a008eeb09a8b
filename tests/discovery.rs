//! Nodes that find each other by beacon, on hosts of their own: who is heard,
//! who is shown, and what no beacon can do. `scripts/lan.sh` makes the hosts.
//!
//! Nothing here asserts how long something takes, except that limits of time
//! keep a failing test from hanging. Absent: what is heard of on one machine
//! alone (`src/discovery` tests that), and links between workers.

#![cfg(target_os = "linux")]

mod harness;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use harness::lan::{Host, on_a_lan, script};
use harness::{Node, SOON, eventually, soon};
use octaskly::model::{MilliCpu, NodeId, NodeName, Role, Timestamp};
use octaskly::trust::signed::Signed;
use octaskly::trust::{Identity, identity_id_text};
use octaskly::wire::beacon::{BEACON_VERSION, Beacon, BeaconAddress, BeaconKind, SealedBeacon};
