//! What admins ask: who belongs, and who gets work.
//!
//! The one invariant: a secret that is made here is shown once and kept
//! nowhere; the registry gets its hash. Absent: whether a name, a token or a
//! worker may be treated so (the engine's).

use super::joining::Proved;
use super::requests::{Trouble, put};
use super::shell::{Asker, Shell};
use crate::engine::dispatcher::{Call, WantedToken};
use crate::model::requests::{FailureCode, Reply};
use crate::model::trust::TokenId;
use crate::model::{Digest, NodeName, Role};
use crate::trust::code::{ApprovalCode, CodeError};
use crate::trust::token::TokenText;

/// Lets in the worker that waits as `name`, if it shows the code that was typed.
pub(super) async fn approve(shell: &Shell, asker: &Asker, name: NodeName, typed: &str) -> Result<Reply, Trouble> {
    // The engine would say so too, but only after the code was tried.
    if asker.role != Role::Admin {
        return Err(Trouble::refused(FailureCode::Forbidden, "only an admin may approve workers", None));
    }
    let code: ApprovalCode = typed.parse().map_err(|error: CodeError| {
        let hint = "a code is four groups of four letters and digits, as the worker shows it";
        Trouble::refused(FailureCode::Invalid, format!("the dispatcher failed to {error}"), Some(hint))
    })?;
    let Proved { link, enrolled } = shell.joiners.prove(&name, code).await?;
    let reply = put(shell, asker, Call::Approve { link }).await?;
    if matches!(reply, Reply::Done { .. }) {
        // When it has gone meanwhile it finds out at its next try.
        let _ = enrolled.send(());
    }
    Ok(reply)
}

/// Makes a token and shows it, this once.
pub(super) async fn create_token(
    shell: &Shell,
    asker: &Asker,
    wanted: impl FnOnce(Digest) -> WantedToken,
) -> Result<Reply, Trouble> {
    let token = TokenText::generate(shell.access.dispatcher)
        .map_err(|error| Trouble::refused(FailureCode::Internal, format!("the dispatcher failed to {error}"), None))?;
    let hash = token.hash();
    match put(shell, asker, Call::CreateToken(wanted(hash))).await? {
        Reply::Done { .. } => Ok(Reply::TokenCreated { token: token.reveal(), id: TokenId::of(&hash) }),
        other => Ok(other),
    }
}
