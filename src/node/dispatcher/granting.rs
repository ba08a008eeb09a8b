//! The dispatcher's word that workers carry to each other.
//!
//! The one invariant: nothing is granted where workers give each other nothing. Absent: whether somebody may have
//! what is granted (whoever calls has seen to that).

use std::sync::Arc;

use crate::model::{Digest, Millis, NodeId};
use crate::node::Clock;
use crate::trust::grants::BlobGrant;
use crate::trust::{Identity, Signed};

/// How long a grant to read files is good: while they are fetched it is given anew every few seconds, so it need
/// only outlast that the dispatcher is away for a while.
const READ_VALID: Millis = Millis::from_secs(600);

/// Signs grants. Clones are the same.
#[derive(Clone)]
pub(super) struct Granter {
    /// `None` where there are no direct links.
    identity: Option<Arc<Identity>>,
    clock: Clock,
}

impl Granter {
    pub(super) fn new(identity: Option<Arc<Identity>>, clock: Clock) -> Self {
        Self { identity, clock }
    }

    /// That `reader` may read these files of whoever has them.
    pub(super) fn to_read(&self, reader: NodeId, digests: Vec<Digest>) -> Option<Vec<u8>> {
        let identity = self.identity.as_ref()?;
        let grant = BlobGrant { digests, reader, expires_at: self.clock.now() + READ_VALID };
        match Signed::sign(identity, &grant) {
            Ok(signed) => Some(signed.to_bytes()),
            Err(error) => {
                tracing::error!("Files are not granted: failed to {error}");
                None
            }
        }
    }
}
