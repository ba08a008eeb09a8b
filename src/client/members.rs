//! What admins ask about who belongs: approving, revoking, tokens, draining.
//!
//! The dispatcher decides what this client's key may ask; a client that is no
//! admin gets [`ClientError::Failed`]. Absent: how an answer is shown.

use super::{Client, ClientError, unexpected};
use crate::model::requests::{NodeKind, Reply, Request};
use crate::model::trust::{ClientView, TokenId, TokenView};
use crate::model::{Millis, NodeName, Role};

/// A token that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct CreatedToken {
    /// The whole of it, secret included; nobody gets to see it again.
    pub token: String,
    /// What it is called from here on.
    pub id: TokenId,
}

/// Without the secret.
impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Client {
    /// Lets in the worker that waits as `name` and shows `code`; returns once that is durable.
    ///
    /// # Errors
    /// When nobody waits under that name, the code is wrong, or the link breaks.
    pub async fn approve(&self, name: NodeName, code: String) -> Result<(), ClientError> {
        self.ask_done("approve", &Request::Approve { name, code }).await.map(|_| ())
    }

    /// Throws the worker or client called `name` out for good; its name is free afterwards.
    ///
    /// # Errors
    /// When nobody is called that, both a worker and a client are and `kind` is `None`, it is
    /// this client itself, or the link breaks.
    pub async fn revoke(&self, name: NodeName, kind: Option<NodeKind>) -> Result<(), ClientError> {
        self.ask_done("revoke", &Request::Revoke { name, kind }).await.map(|_| ())
    }

    /// Enrolled clients and admins, by name, and those revoked lately.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn clients(&self) -> Result<Vec<ClientView>, ClientError> {
        match self.ask(&Request::Clients).await? {
            Reply::Clients(clients) => Ok(clients),
            other => Err(unexpected("clients", other)),
        }
    }

    /// Gives the client or admin called `from` another name; says whether that was news.
    ///
    /// # Errors
    /// When nobody is called `from`, another one is called `to`, or the link breaks.
    pub async fn rename_client(&self, from: NodeName, to: NodeName) -> Result<bool, ClientError> {
        Ok(self.ask_done("rename", &Request::RenameClient { from, to }).await? > 0)
    }

    /// Makes a token that turns `uses` keys into nodes of `role`, called `name`, during `lifetime`.
    ///
    /// # Errors
    /// When it is out of bounds, the name is taken, as many tokens are kept as may be, or the link breaks.
    pub async fn create_token(
        &self,
        role: Role,
        name: Option<NodeName>,
        uses: u32,
        lifetime: Millis,
    ) -> Result<CreatedToken, ClientError> {
        match self.ask(&Request::CreateToken { role, name, uses, lifetime }).await? {
            Reply::TokenCreated { token, id } => Ok(CreatedToken { token, id }),
            other => Err(unexpected("token", other)),
        }
    }

    /// All tokens, newest first.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        match self.ask(&Request::Tokens).await? {
            Reply::Tokens(tokens) => Ok(tokens),
            other => Err(unexpected("tokens", other)),
        }
    }

    /// Takes a token back; says whether that was news.
    ///
    /// # Errors
    /// When there is no such token, or the link breaks.
    pub async fn revoke_token(&self, id: TokenId) -> Result<bool, ClientError> {
        Ok(self.ask_done("token", &Request::RevokeToken(id)).await? > 0)
    }

    /// Gives a worker no new work; says whether that was news.
    ///
    /// # Errors
    /// When no worker is called that, or the link breaks.
    pub async fn drain(&self, name: NodeName) -> Result<bool, ClientError> {
        Ok(self.ask_done("drain", &Request::Drain(name)).await? > 0)
    }

    /// Gives a drained worker work again; says whether that was news.
    ///
    /// # Errors
    /// When no worker is called that, or the link breaks.
    pub async fn resume(&self, name: NodeName) -> Result<bool, ClientError> {
        Ok(self.ask_done("resume", &Request::Resume(name)).await? > 0)
    }
}
