//! What admins decide about who belongs: approving, revoking, draining, and
//! tokens.
//!
//! Invariant: only an admin's word changes anything here, and it is told so
//! once that is on disk; a revoked key has no link from that very call on.
//! Absent: how nodes come in by what was decided (`admission`, `joining`).

use super::refusals::with_article;
use super::requests::failure;
use super::tokens::TokenTime;
use super::{Call, CloseReason, DispatcherEngine, Grounds, LossCause, Notice, Outbound, Peer, WantedToken, Whose};
use crate::model::limits::{MAX_ROWS, MAX_TOKEN_LIFETIME, MAX_TOKEN_USES, MAX_TOKENS, MIN_TOKEN_LIFETIME};
use crate::model::messages::DispatcherMessage;
use crate::model::node::ME;
use crate::model::records::{Act, EnrolledNode, Record};
use crate::model::requests::{Failure, FailureCode, NodeKind, Reply};
use crate::model::trust::{ClientView, Token, TokenId};
use crate::model::{LinkId, Millis, NodeId, NodeName, Role, Timestamp};

/// What only admins may do, for the one who may not; `None` for what every client may ask.
fn privilege(call: &Call) -> Option<&'static str> {
    match call {
        Call::Approve { .. } => Some("approve workers"),
        Call::Revoke { .. } => Some("revoke workers and clients"),
        Call::Clients => Some("list clients"),
        Call::RenameClient { .. } => Some("rename clients"),
        Call::CreateToken(_) => Some("create tokens"),
        Call::Tokens => Some("list tokens"),
        Call::RevokeToken(_) => Some("revoke tokens"),
        Call::Drain { .. } => Some("drain and resume workers"),
        Call::Cancel { whose, .. } | Call::Retry { whose, .. } | Call::Forget { whose, .. } => {
            (*whose == Whose::Everyone).then_some("act on the jobs of everyone")
        }
        Call::Submit { .. }
        | Call::Watch(_)
        | Call::Attach { .. }
        | Call::Unrepeatable { .. }
        | Call::Explain(_)
        | Call::Workers
        | Call::Status => None,
    }
}

fn done(affected: u64) -> Reply {
    Reply::Done { affected }
}

fn conflict(text: String, hint: &str) -> Failure {
    Failure { code: FailureCode::Conflict, text, hint: Some(hint.to_owned()) }
}

/// Refuses the word by which a client means itself.
fn check_client_name(name: &NodeName) -> Result<(), Failure> {
    if name.as_str() != ME {
        return Ok(());
    }
    let text = format!("no client may be called {ME}: in `list --owner {ME}` it means the one that asks");
    Err(Failure { code: FailureCode::Invalid, text, hint: Some("choose another name".to_owned()) })
}

fn no_worker(name: &NodeName) -> Failure {
    let hint = Some("`octaskly workers` lists them".to_owned());
    Failure { code: FailureCode::NotFound, text: format!("no worker is called {name}"), hint }
}

impl DispatcherEngine {
    /// Refuses a client what only an admin may ask.
    pub(super) fn check_privilege(&self, link: LinkId, call: &Call) -> Result<(), Failure> {
        match privilege(call) {
            Some(what) if self.asker(link).1 != Role::Admin => {
                Err(failure(FailureCode::Forbidden, format!("only an admin may {what}")))
            }
            _ => Ok(()),
        }
    }

    /// Lets in the worker that waits on a link.
    pub(super) fn approve(&mut self, now: Timestamp, link: LinkId) -> Result<Reply, Failure> {
        let Some(Peer::Joining { node, name }) = self.links.get(&link) else {
            return Err(failure(FailureCode::NotFound, "the worker no longer waits for approval".to_owned()));
        };
        let (node, name) = (*node, name.clone());
        if let Some(role) = self.registry.role(node).filter(|role| *role != Role::Worker) {
            let text = format!("the key that waits as {name} belongs to {} by now", with_article(role));
            return Err(failure(FailureCode::Conflict, text));
        }
        if self.is_live_name_of_another(now, node, &name) {
            let hint = "start the worker that waits with another --name";
            return Err(conflict(format!("another worker is called {name} by now"), hint));
        }
        self.forget_joiner(link);
        self.release_name(now, node, &name);
        self.enrol(now, node, Role::Worker, name.clone());
        let (role, grounds) = (Role::Worker, Grounds::Approval);
        self.outbox.notice(Notice::NodeEnrolled { node, name, role, grounds });
        Ok(done(1))
    }

    /// Throws a node out for good.
    pub(super) fn revoke(
        &mut self,
        now: Timestamp,
        link: LinkId,
        name: &NodeName,
        kind: Option<NodeKind>,
    ) -> Result<Reply, Failure> {
        let node = self.whom(name, kind)?;
        let asker = self.asker(link).0;
        if node == asker {
            let hint = "another admin may revoke it";
            return Err(conflict(format!("{name} is the key that asks for this"), hint));
        }
        let by = self.actor(link).name;
        self.outbox.record(Record::NodeRevoked { node, at: now });
        if let Some(key) = self.roster.find(node) {
            self.lose_worker(now, key, LossCause::Revoked);
            self.leave(key);
        }
        self.cut_off(now, node);
        let EnrolledNode { name, role, .. } = self.registry.revoke(now, node);
        self.resolve_doubt(now);
        self.outbox.notice(Notice::NodeRevoked { node, name, role, by });
        Ok(done(1))
    }

    /// The enrolled key that a name means.
    fn whom(&self, name: &NodeName, kind: Option<NodeKind>) -> Result<NodeId, Failure> {
        let named = |role, of: NodeKind| match kind {
            Some(kind) if kind != of => None,
            _ => self.registry.named(role, name),
        };
        let was_revoked =
            |role, of: NodeKind| kind.is_none_or(|kind| kind == of) && self.registry.was_revoked(role, name);
        match (named(Role::Worker, NodeKind::Worker), named(Role::Client, NodeKind::Client)) {
            (Some(_), Some(_)) => {
                let text = format!("both a worker and a client are called {name}");
                Err(conflict(text, "say which: --worker or --client"))
            }
            (Some(node), None) | (None, Some(node)) => Ok(node),
            (None, None) if kind != Some(NodeKind::Client) && self.lobby.named(name).is_some() => {
                let hint = "it stays out as long as nobody approves it";
                Err(conflict(format!("{name} only waits for approval"), hint))
            }
            (None, None)
                if was_revoked(Role::Worker, NodeKind::Worker) || was_revoked(Role::Client, NodeKind::Client) =>
            {
                let hint = Some("its key stays out for good, and its name is free".to_owned());
                let text = format!("{name} was revoked already");
                Err(Failure { code: FailureCode::NotFound, text, hint })
            }
            (None, None) => {
                let text = match kind {
                    Some(NodeKind::Worker) => format!("no worker is called {name}"),
                    Some(NodeKind::Client) => format!("no client is called {name}"),
                    None => format!("no worker or client is called {name}"),
                };
                let hint = Some("`octaskly workers` and `octaskly clients` list them".to_owned());
                Err(Failure { code: FailureCode::NotFound, text, hint })
            }
        }
    }

    /// Closes every link that a revoked key still has beside a worker's.
    fn cut_off(&mut self, now: Timestamp, node: NodeId) {
        let of_node = |peer: &Peer| match peer {
            Peer::Client { node: key, .. } | Peer::Guard { node: key, .. } | Peer::Joining { node: key, .. } => {
                *key == node
            }
            Peer::Worker(_) => false,
        };
        let links: Vec<LinkId> = self.links.iter().filter(|(_, peer)| of_node(peer)).map(|(link, _)| *link).collect();
        for link in links {
            self.link_down(now, link);
            self.outbox.close(link, CloseReason::Revoked, "this key was revoked");
        }
    }

    /// Clients and admins, by name; those revoked lately among them.
    pub(super) fn clients(&self, now: Timestamp) -> Reply {
        let others = |node: &&EnrolledNode| node.role != Role::Worker;
        let links = |node: NodeId| {
            let of_node = |peer: &&Peer| matches!(peer, Peer::Client { node: key, .. } if *key == node);
            u32::try_from(self.links.values().filter(of_node).count()).unwrap_or(u32::MAX)
        };
        let view = |known: &EnrolledNode| ClientView {
            name: known.name.clone(),
            node: known.node,
            role: known.role,
            enrolled_at: known.enrolled_at,
            links: links(known.node),
            revoked: known.revoked_at.is_some(),
        };
        let known = self.registry.enrolled().chain(self.registry.lately_revoked(now)).filter(others);
        let mut clients: Vec<ClientView> = known.map(view).collect();
        clients.sort_by(|a, b| a.name.cmp(&b.name));
        clients.truncate(MAX_ROWS as usize);
        Reply::Clients(clients)
    }

    /// Keeps a new token.
    pub(super) fn create_token(&mut self, now: Timestamp, wanted: WantedToken) -> Result<Reply, Failure> {
        let WantedToken { hash, role, name, uses, lifetime } = wanted;
        let invalid = |text: String| Err(failure(FailureCode::Invalid, text));
        if role == Role::Dispatcher {
            return invalid("a token makes workers, clients and admins, not dispatchers".to_owned());
        }
        if !(1..=MAX_TOKEN_USES).contains(&uses) {
            return invalid(format!("a token enrols 1 to {MAX_TOKEN_USES} nodes, not {uses}"));
        }
        if !(MIN_TOKEN_LIFETIME..=MAX_TOKEN_LIFETIME).contains(&lifetime) {
            return invalid(format!("a token lives {MIN_TOKEN_LIFETIME} to {MAX_TOKEN_LIFETIME}, not {lifetime}"));
        }
        self.check_token_name(role, name.as_ref(), uses)?;
        let id = TokenId::of(&hash);
        if self.tokens.find(id).is_some() {
            return Err(conflict(format!("there is a token {id} already"), "try again"));
        }
        self.forget_old_tokens(now);
        let (has_room, forgotten) = self.tokens.make_room(self.token_time(now));
        if let Some(hash) = forgotten {
            self.outbox.record(Record::TokenForgotten { hash });
        }
        if !has_room {
            let hint = Some("`octaskly token revoke` takes back those that nobody needs".to_owned());
            return Err(Failure { code: FailureCode::Full, text: format!("{MAX_TOKENS} tokens are valid"), hint });
        }
        let (created_at, expires_at) = (now, now + lifetime);
        let expires_uptime = Millis(self.uptime.at(now).0.saturating_add(lifetime.0));
        let (used_by, revoked) = (Vec::new(), false);
        let token =
            Token { hash, role, name: name.clone(), uses, used_by, created_at, expires_at, expires_uptime, revoked };
        self.outbox.record(Record::TokenChanged(token.clone()));
        self.tokens.add(token);
        self.outbox.notice(Notice::TokenCreated { id, role, name, uses });
        Ok(done(1))
    }

    /// Refuses a name that the token's bearer could not get.
    fn check_token_name(&self, role: Role, name: Option<&NodeName>, uses: u32) -> Result<(), Failure> {
        let Some(name) = name else { return Ok(()) };
        if role != Role::Worker {
            return check_client_name(name);
        }
        if uses > 1 {
            let text = format!("{uses} workers cannot all be called {name}");
            let hint = Some("make a token for each of them, or leave --name out".to_owned());
            return Err(Failure { code: FailureCode::Invalid, text, hint });
        }
        match self.registry.named(Role::Worker, name) {
            Some(_) => Err(conflict(
                format!("a worker is called {name} already"),
                &format!("choose another name, or free this one: octaskly revoke {name} --worker"),
            )),
            None => Ok(()),
        }
    }

    /// Gives a client another name. Its jobs name its key, so they show the new name at once.
    pub(super) fn rename(&mut self, link: LinkId, from: &NodeName, to: &NodeName) -> Result<Reply, Failure> {
        let Some(node) = self.registry.named(Role::Client, from) else {
            let hint = Some("`octaskly clients` lists them".to_owned());
            return Err(Failure { code: FailureCode::NotFound, text: format!("no client is called {from}"), hint });
        };
        if from == to {
            return Ok(done(0));
        }
        check_client_name(to)?;
        if self.registry.named(Role::Client, to).is_some() {
            return Err(conflict(format!("another client is called {to}"), "choose another name"));
        }
        let Some(known) = self.registry.get(node).cloned() else { unreachable!("a name leads to no key") };
        let by = self.actor(link).name;
        let (role, at) = (known.role, known.enrolled_at);
        self.outbox.record(Record::NodeEnrolled { node, role, name: to.clone(), at });
        self.registry.enrol(EnrolledNode { name: to.clone(), ..known });
        self.outbox.notice(Notice::ClientRenamed { node, from: from.clone(), to: to.clone(), by });
        Ok(done(1))
    }

    /// All tokens, newest first.
    pub(super) fn list_tokens(&mut self, now: Timestamp) -> Reply {
        self.forget_old_tokens(now);
        Reply::Tokens(self.tokens.views(self.token_time(now)))
    }

    /// The present, for tokens.
    pub(super) fn token_time(&self, now: Timestamp) -> TokenTime {
        TokenTime { now, uptime: self.uptime.at(now) }
    }

    fn forget_old_tokens(&mut self, now: Timestamp) {
        for hash in self.tokens.forget_old(now) {
            self.outbox.record(Record::TokenForgotten { hash });
        }
    }

    /// Takes a token back. Whom it enrolled stays enrolled.
    pub(super) fn revoke_token(&mut self, id: TokenId) -> Result<Reply, Failure> {
        let Some(token) = self.tokens.find(id) else {
            let hint = Some("`octaskly token list` shows them".to_owned());
            return Err(Failure { code: FailureCode::NotFound, text: format!("there is no token {id}"), hint });
        };
        if token.revoked {
            return Ok(done(0));
        }
        let hash = token.hash;
        let token = self.tokens.revoke(&hash);
        self.outbox.record(Record::TokenChanged(token));
        self.outbox.notice(Notice::TokenRevoked { id });
        Ok(done(1))
    }

    /// Gives a worker no new work, or some again. What it runs goes on.
    pub(super) fn drain(
        &mut self,
        now: Timestamp,
        link: LinkId,
        name: &NodeName,
        draining: bool,
    ) -> Result<Reply, Failure> {
        let node = self.registry.named(Role::Worker, name).ok_or_else(|| no_worker(name))?;
        if self.registry.get(node).is_some_and(|worker| worker.draining == draining) {
            return Ok(done(0));
        }
        let act = Act { by: self.actor(link), at: now };
        self.outbox.record(Record::WorkerDraining { node, draining, act: act.clone() });
        self.outbox.notice(Notice::WorkerDraining { worker: name.clone(), draining, by: act.by.name.clone() });
        self.registry.set_draining(node, draining, act);
        if let Some(key) = self.roster.find(node) {
            let worker = self.roster.at_mut(key);
            worker.draining = draining;
            if let Some(link) = worker.order_link() {
                let order = if draining { DispatcherMessage::Drain } else { DispatcherMessage::Resume };
                self.outbox.send(link, Outbound::ToWorker(order));
            }
            self.open_or_close(key);
        }
        Ok(done(1))
    }
}
