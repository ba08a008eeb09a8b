//! Which values of the vocabulary travel as frames, and the bounds of their lists.

use super::WireError;
use super::frame::Message;
use crate::model::NumberList;
use crate::model::examination::WorkerFindings;
use crate::model::files::{BlobWish, MAX_FAILED_SOURCES, TaskFiles};
use crate::model::handshake::{Answer, Hello};
use crate::model::limits::{
    BLOBS_A_STREAM, MAX_ADDRESS_BYTES, MAX_BATCH, MAX_NEIGHBOURS, MAX_PEER_ADDRESSES, MAX_REASON_BYTES,
    MAX_ROSTER_BYTES, MAX_ROWS,
};
use crate::model::messages::{DispatcherMessage, EndedAttempt, FilesReply, StreamPurpose, WorkerMessage};
use crate::model::offload::TakenOver;
use crate::model::peers::{PeerMessage, PeerPurpose, PeerSelf};
use crate::model::pieces::{HoldersAsk, MAX_NAMED, PieceAnswer, PieceAsk};
use crate::model::requests::{Reply, Request};
use crate::model::selector::Selector;
use crate::model::trust::{JoinNews, JoinReply};

impl Message for Hello {}
impl Message for Answer {}
impl Message for JoinNews {}
impl Message for JoinReply {}
impl Message for PeerMessage {}
impl Message for PeerPurpose {}
impl Message for PeerSelf {}
impl Message for NumberList {}
impl Message for WorkerFindings {
    fn check_bounds(&self) -> Result<(), WireError> {
        at_most("mute interfaces", self.mute_interfaces.len(), MAX_BATCH)?;
        at_most("neighbours", self.heard.len(), MAX_BATCH)?;
        at_most("probed peers", self.peers.len(), MAX_BATCH)
    }
}
impl Message for StreamPurpose {
    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::BlobRead { wishes } => sane(wishes),
            Self::BlobOffer { blobs, .. } => at_most("offered blobs", blobs.len(), MAX_BATCH),
            Self::WhoHas { blobs, .. } | Self::PieceFetch { blobs, .. } | Self::PieceRead { blobs } => {
                at_most("blobs", blobs.len(), BLOBS_A_STREAM)
            }
            Self::BlobCopy { contents, blobs } => {
                at_most("copied outputs", contents.len(), MAX_BATCH)?;
                at_most("copied blobs", blobs.len(), MAX_BATCH)
            }
            Self::Attached { .. }
            | Self::LogUpload { .. }
            | Self::LogRead { .. }
            | Self::OutputsOf { .. }
            | Self::Keeping
            | Self::Examine => Ok(()),
        }
    }
}

// Alone it is a column of the store.
impl Message for TaskFiles {
    fn check_bounds(&self) -> Result<(), WireError> {
        at_most("outputs", self.outputs.len(), MAX_BATCH)?;
        at_most("transfers", self.transfers.len(), MAX_BATCH)?;
        at_most("failed sources", self.failed_sources.len(), MAX_FAILED_SOURCES)?;
        let why = self.failed_sources.iter().map(|source| source.why.len());
        at_most("bytes of a failure", why.max().unwrap_or(0), MAX_REASON_BYTES)
    }
}

impl Message for HoldersAsk {
    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::Again { empty } => at_most("workers", empty.len(), MAX_NAMED),
            Self::Fetched => Ok(()),
        }
    }
}

impl Message for PieceAsk {
    fn check_bounds(&self) -> Result<(), WireError> {
        at_most("blobs", self.0.len(), BLOBS_A_STREAM)
    }
}

impl Message for PieceAnswer {
    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::Has(pieces) => at_most("blobs", pieces.len(), BLOBS_A_STREAM),
            Self::Busy | Self::Refused(_) => Ok(()),
        }
    }
}

impl Message for FilesReply {
    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::Wanted(wishes) => sane(wishes),
            Self::Found(outputs) => at_most("outputs", outputs.len(), MAX_BATCH),
            Self::Holders(holders) => at_most("holders", holders.workers.len(), MAX_NAMED),
            Self::Needed(contents) => at_most("needed outputs", contents.len(), MAX_BATCH),
            Self::Lacking(digests) => at_most("lacking outputs", digests.len(), MAX_BATCH),
            Self::Remade(text) => at_most("characters of a reason", text.len(), MAX_REASON_BYTES),
            Self::Follows | Self::Kept | Self::Refused(_) => Ok(()),
        }
    }
}
// Alone they are entries of the worker's outbox.
impl Message for EndedAttempt {}
impl Message for TakenOver {}

impl Message for WorkerMessage {
    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::Holding(held) => at_most("held attempts", held.len(), MAX_BATCH),
            Self::Started(started) => at_most("started attempts", started.len(), MAX_BATCH),
            Self::Ended(ended) => {
                at_most("ended attempts", ended.len(), MAX_BATCH)?;
                ended.iter().filter_map(|ended| ended.report.files.as_deref()).try_for_each(TaskFiles::check_bounds)
            }
            Self::Returned(returned) => at_most("returned attempts", returned.len(), MAX_BATCH),
            Self::Refused(refused) => at_most("refused attempts", refused.len(), MAX_BATCH),
            Self::Neighbours(heard) => {
                at_most("neighbours", heard.len(), MAX_NEIGHBOURS)?;
                heard.iter().filter_map(|peer| peer.address.as_ref()).try_for_each(|address| short_address(address))
            }
            Self::Listening(addresses) => {
                at_most("addresses", addresses.len(), MAX_PEER_ADDRESSES)?;
                addresses.iter().try_for_each(|address| short_address(address))
            }
            Self::Linked(peers) => {
                at_most("direct links", peers.len(), MAX_BATCH)?;
                peers.iter().try_for_each(|peer| short_address(&peer.address))
            }
            Self::TookOver(taken) => at_most("attempts taken over", taken.len(), MAX_BATCH),
            Self::GaveAway(given) => at_most("attempts given away", given.len(), MAX_BATCH),
            Self::NeverCame(attempts) => at_most("attempts that never came", attempts.len(), MAX_BATCH),
            Self::Heartbeat { .. } | Self::Short(_) | Self::SpecMissing(_) | Self::Stopping | Self::Moved(_) => Ok(()),
        }
    }
}

impl Message for DispatcherMessage {
    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::Learn(jobs) => at_most("jobs", jobs.len(), MAX_BATCH),
            Self::Assign(assignments) => at_most("assignments", assignments.len(), MAX_BATCH),
            Self::Cancel(orders) => at_most("cancellations", orders.len(), MAX_BATCH),
            Self::Recorded(recorded) => at_most("recorded attempts", recorded.len(), MAX_BATCH),
            Self::ForgetJobs(jobs) => at_most("forgotten jobs", jobs.len(), MAX_BATCH),
            Self::Roster(signed) => at_most("bytes of a roster", signed.len(), MAX_ROSTER_BYTES),
            Self::Retract(attempts) => at_most("retracted attempts", attempts.len(), MAX_BATCH),
            Self::Grant(granted) => at_most("granted attempts", granted.len(), MAX_BATCH),
            Self::Account(attempts) => at_most("attempts to account for", attempts.len(), MAX_BATCH),
            Self::HeartbeatSeen { .. } | Self::Drain | Self::Resume | Self::KeyCopied => Ok(()),
        }
    }
}

impl Message for Request {
    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::Watch(jobs) => at_most("watched jobs", jobs.len(), MAX_ROWS as usize),
            Self::Cancel { what, .. } | Self::Retry { what, .. } | Self::Forget(what) | Self::Explain(what) => {
                selector(what)
            }
            Self::Jobs(filter) => filter.only.as_ref().map_or(Ok(()), selector),
            Self::Tasks(filter) => selector(&filter.of),
            Self::Logs(request) => selector(&request.of),
            Self::Blobs(blobs) => at_most("blobs", blobs.len(), MAX_BATCH),
            Self::UploadBlobs(wishes) | Self::FetchOutput { wishes, .. } => sane(wishes),
            Self::Submit(_)
            | Self::Attach { .. }
            | Self::Attend { .. }
            | Self::Workers
            | Self::Peers
            | Self::Examine
            | Self::Status
            | Self::Approve { .. }
            | Self::Revoke { .. }
            | Self::Clients
            | Self::RenameClient { .. }
            | Self::CreateToken { .. }
            | Self::Tokens
            | Self::RevokeToken(_)
            | Self::Drain(_)
            | Self::Resume(_) => Ok(()),
        }
    }
}

impl Message for Reply {
    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::Progress(jobs) | Self::Jobs(jobs) => at_most("jobs", jobs.len(), MAX_ROWS as usize),
            Self::Tasks(tasks) => at_most("tasks", tasks.len(), MAX_ROWS as usize),
            Self::Explained(tasks) => at_most("explanations", tasks.len(), MAX_ROWS as usize),
            Self::Workers(workers) => at_most("workers", workers.len(), MAX_ROWS as usize),
            Self::Peers(peers) => at_most("peers", peers.len(), MAX_ROWS as usize),
            Self::Examined(found) => {
                at_most("examined nodes", found.nodes.len(), MAX_ROWS as usize)?;
                at_most("examined pairs", found.pairs.len(), MAX_ROWS as usize)
            }
            Self::Clients(clients) => at_most("clients", clients.len(), MAX_ROWS as usize),
            Self::Tokens(tokens) => at_most("tokens", tokens.len(), MAX_ROWS as usize),
            Self::Wanted(wishes) => sane(wishes),
            Self::Changed(changes) => at_most("owners", changes.owners.len(), MAX_ROWS as usize),
            _ => Ok(()),
        }
    }
}

fn selector(selector: &Selector) -> Result<(), WireError> {
    match selector {
        Selector::These(parts) => at_most("parts of a selector", parts.len(), MAX_ROWS as usize),
        Selector::All | Selector::Everyone | Selector::Last => Ok(()),
    }
}

/// A bounded list of wishes for pieces that their blobs have.
fn sane(wishes: &[BlobWish]) -> Result<(), WireError> {
    at_most("wanted blobs", wishes.len(), MAX_BATCH)?;
    match wishes.iter().find(|wish| !wish.is_sane()) {
        Some(wish) => Err(WireError::Malformed(format!("blob {} has no such pieces", wish.blob.digest.short()))),
        None => Ok(()),
    }
}

fn short_address(address: &str) -> Result<(), WireError> {
    at_most("characters of an address", address.len(), MAX_ADDRESS_BYTES)
}

fn at_most(what: &'static str, length: usize, bound: usize) -> Result<(), WireError> {
    if length > bound { Err(WireError::ListTooLong { what, length, bound }) } else { Ok(()) }
}
