//! The tokens that admins made: which there are, and what each is worth now.
//!
//! Invariant: a token enrols at most as many keys as it was made for, and none
//! once it is revoked or its lifetime is over. Absent: secrets (only their
//! hashes come here) and who may make one (`membership`).

use std::collections::BTreeMap;

use super::refusals;
use crate::model::handshake::Refusal;
use crate::model::limits::{MAX_TOKENS, TOKEN_REMEMBERED};
use crate::model::trust::{Token, TokenId, TokenState, TokenView};
use crate::model::{Digest, Millis, NodeId, NodeName, Role, Timestamp};

/// All of them, by the hash of their secret.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    tokens: BTreeMap<Digest, Token>,
}

/// The present, by the two measures that a token's lifetime has.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenTime {
    /// By the dispatcher's clock.
    pub(super) now: Timestamp,
    /// How long the dispatcher has run.
    pub(super) uptime: Millis,
}

impl TokenTime {
    /// Whether the token's lifetime is over by either measure.
    fn is_past(self, token: &Token) -> bool {
        token.expires_at <= self.now || token.expires_uptime <= self.uptime
    }
}

/// Where a token stands.
fn state(token: &Token, time: TokenTime) -> TokenState {
    if token.revoked {
        TokenState::Revoked
    } else if token.used_by.len() >= token.uses as usize {
        TokenState::Used
    } else if time.is_past(token) {
        TokenState::Expired
    } else {
        TokenState::Valid
    }
}

/// Whether a token's role and what its bearer wants to be are of one kind: workers, or all others.
fn suits(token: &Token, wants: Role) -> bool {
    (token.role == Role::Worker) == (wants == Role::Worker)
}

impl Tokens {
    /// As they were restored.
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens: tokens.into_iter().map(|token| (token.hash, token)).collect() }
    }

    /// The role that this token gives `node`, which wants to be a `wants`.
    pub(super) fn redeem(&self, time: TokenTime, hash: &Digest, node: NodeId, wants: Role) -> Result<Role, Refusal> {
        let Some(token) = self.tokens.get(hash) else { return Err(refusals::token_unknown()) };
        if !suits(token, wants) {
            return Err(refusals::token_for_another_role(token, wants));
        }
        let used_before = token.used_by.contains(&node) && !time.is_past(token);
        match state(token, time) {
            TokenState::Valid => Ok(token.role),
            TokenState::Used if used_before => Ok(token.role),
            TokenState::Used => Err(refusals::token_used_up(token)),
            TokenState::Expired => Err(refusals::token_expired(token)),
            TokenState::Revoked => Err(refusals::token_revoked(token)),
        }
    }

    /// What the bearer of this token is called, when that was said.
    pub(super) fn name(&self, hash: &Digest) -> Option<&NodeName> {
        self.tokens.get(hash).and_then(|token| token.name.as_ref())
    }

    /// Notes that `node` was enrolled with a token that it may redeem. Says
    /// how the token stands afterwards, unless this key has used it before.
    pub(super) fn note_use(&mut self, hash: &Digest, node: NodeId) -> Option<Token> {
        let Some(token) = self.tokens.get_mut(hash) else { unreachable!("a token was redeemed that is not there") };
        if token.used_by.contains(&node) {
            return None;
        }
        token.used_by.push(node);
        Some(token.clone())
    }

    /// Whether another may be kept; forgets the oldest that enrols nobody any more to make room.
    pub(super) fn make_room(&mut self, time: TokenTime) -> (bool, Option<Digest>) {
        if self.tokens.len() < MAX_TOKENS {
            return (true, None);
        }
        let dead = self.tokens.values().filter(|token| state(token, time) != TokenState::Valid);
        let oldest = dead.min_by_key(|token| (token.created_at, token.hash)).map(|token| token.hash);
        if let Some(hash) = &oldest {
            self.tokens.remove(hash);
        }
        (oldest.is_some(), oldest)
    }

    /// Forgets those whose lifetime has been over for long.
    pub(super) fn forget_old(&mut self, now: Timestamp) -> Vec<Digest> {
        let old = |token: &&Token| token.expires_at + TOKEN_REMEMBERED <= now;
        let forgotten: Vec<Digest> = self.tokens.values().filter(old).map(|token| token.hash).collect();
        for hash in &forgotten {
            self.tokens.remove(hash);
        }
        forgotten
    }

    /// Keeps a new one.
    pub(super) fn add(&mut self, token: Token) {
        let before = self.tokens.insert(token.hash, token);
        assert!(before.is_none(), "a token was made twice");
    }

    /// Which one has this id.
    pub(super) fn find(&self, id: TokenId) -> Option<&Token> {
        self.tokens.values().find(|token| token.id() == id)
    }

    /// Takes one back.
    pub(super) fn revoke(&mut self, hash: &Digest) -> Token {
        let Some(token) = self.tokens.get_mut(hash) else { unreachable!("a token is revoked that is not there") };
        token.revoked = true;
        token.clone()
    }

    /// All of them for people, newest first.
    pub(super) fn views(&self, time: TokenTime) -> Vec<TokenView> {
        let mut views: Vec<TokenView> = self.tokens.values().map(|token| view(token, time)).collect();
        views.sort_by_key(|view| (std::cmp::Reverse(view.created_at), view.id));
        views
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert!(self.tokens.len() <= MAX_TOKENS, "more tokens are kept than may be");
        for (hash, token) in &self.tokens {
            assert_eq!(token.hash, *hash, "a token is kept under another's hash");
            assert!(token.role != Role::Dispatcher, "a token would make a dispatcher");
            assert!(token.created_at < token.expires_at, "a token never lived");
            assert!(token.uses >= 1 && token.used_by.len() <= token.uses as usize, "a token was used too often");
            let mut keys = token.used_by.clone();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), token.used_by.len(), "one key has used a token twice");
        }
    }
}

fn view(token: &Token, time: TokenTime) -> TokenView {
    TokenView {
        id: token.id(),
        role: token.role,
        name: token.name.clone(),
        uses: token.uses,
        used: u32::try_from(token.used_by.len()).unwrap_or(u32::MAX),
        created_at: token.created_at,
        expires_at: token.expires_at.min(time.now + token.expires_uptime.minus(time.uptime)),
        state: state(token, time),
    }
}
