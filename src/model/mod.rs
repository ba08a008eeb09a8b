//! The plain vocabulary of Octaskly: ids, times, specs, demands, outcomes,
//! messages, records and views.
//!
//! Everything here is data that any room may name. The one invariant: a value
//! of these types says the same on every node, so nothing in it depends on the
//! machine that holds it. Deliberately absent: sockets, clocks, files, threads,
//! and any decision (decisions are `engine/`'s).

pub mod combination;
mod compact;
pub mod demand;
pub mod digest;
pub mod examination;
pub mod file_mode;
pub mod files;
pub mod handshake;
pub mod ids;
pub mod intervals;
pub mod item_list;
pub mod items;
pub mod limits;
pub mod messages;
pub mod node;
pub mod number_list;
pub mod obstacle;
pub mod offload;
pub mod outcome;
pub mod paths;
pub mod peers;
pub mod pieces;
pub mod raw;
pub mod records;
pub mod requests;
pub mod selector;
pub mod spec;
pub mod time;
pub mod trust;
pub mod views;

pub use combination::{Axis, Combination};
pub use demand::{Capacity, Demand, MilliCpu};
pub use digest::Digest;
pub use file_mode::FileMode;
pub use files::{BlobRef, Content};
pub use ids::{
    AttemptId, AttemptNo, ClientId, Epoch, Fence, InstanceId, JobId, KeyNo, LinkId, NodeId, RequestId, TaskId,
    TaskIndex,
};
pub use intervals::IntervalSet;
pub use item_list::ItemList;
pub use items::{Item, Items};
pub use node::{Actor, NodeName, Role};
pub use number_list::{NumberList, NumberRange};
pub use outcome::{AttemptReport, Cause, JobState, Outcome, TaskState};
pub use raw::RawString;
pub use spec::{JobSpec, SealedSpec};
pub use time::{Millis, Timestamp, Uptime};
