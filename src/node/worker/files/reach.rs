//! Reaching a source of pieces: the dispatcher, another worker, or another worker through the dispatcher.
//!
//! The one invariant: a stream comes out of here that was told what it is for. Absent: what is said on it
//! (`session`), and by which way to go (the engine's).

use super::Stock;
use super::session::SessionEnd;
use crate::engine::transfer::Way;
use crate::model::messages::StreamPurpose;
use crate::model::peers::PeerPurpose;
use crate::model::pieces::ReadPass;
use crate::model::{AttemptId, BlobRef, NodeId};
use crate::transport::{FrameRecv, FrameSend};

impl Stock {
    /// Opens a conversation about `blobs`, which the attempt `id` needs.
    pub(super) async fn reach(
        &self,
        id: AttemptId,
        way: Way,
        pass: Option<ReadPass>,
        blobs: &[BlobRef],
    ) -> Result<(FrameSend, FrameRecv), SessionEnd> {
        match way {
            Way::Dispatcher => self.reach_dispatcher(id, None, blobs).await,
            Way::Relay(holder) => self.reach_dispatcher(id, Some(holder), blobs).await,
            Way::Direct(node) => self.reach_worker(node, pass, blobs).await,
        }
    }

    async fn reach_dispatcher(
        &self,
        id: AttemptId,
        holder: Option<NodeId>,
        blobs: &[BlobRef],
    ) -> Result<(FrameSend, FrameRecv), SessionEnd> {
        let link = self.link().await.map_err(SessionEnd::Ours)?;
        let (mut send, recv) = link.open_bi().await?;
        send.send(&StreamPurpose::PieceFetch { id, holder, blobs: blobs.to_vec() }).await?;
        Ok((send, recv))
    }

    async fn reach_worker(
        &self,
        node: NodeId,
        pass: Option<ReadPass>,
        blobs: &[BlobRef],
    ) -> Result<(FrameSend, FrameRecv), SessionEnd> {
        let not_reached = |why: String| SessionEnd::NotReached(why);
        let Some(pass) = pass else { return Err(not_reached("show a grant: there is none".to_owned())) };
        let link = self.mesh.link(node).await.map_err(|error| not_reached(error.to_string()))?;
        let (mut send, recv) = link.open_bi().await?;
        send.send(&PeerPurpose::Pieces { pass, blobs: blobs.to_vec() }).await?;
        Ok((send, recv))
    }
}
