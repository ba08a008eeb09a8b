//! One try at reaching a dispatcher: whom to expect, what to say, and which
//! answer that brings.
//!
//! The one invariant: nobody is believed to be the dispatcher but the key that
//! was expected; a secret is said to nobody else. Absent: trying again
//! (`connector`), and waiting for approval (`join`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::connector::error_text;
use super::ways::{Knowledge, Way};
use crate::discovery::Offer;
use crate::model::handshake::{Credential, Hello, Intent, Refusal, RefusalCode, Waiting, Welcome};
use crate::model::limits::{PROTOCOL_OLDEST, PROTOCOL_VERSION};
use crate::model::node::WorkerProfile;
use crate::model::{InstanceId, NodeId, NodeName};
use crate::transport::{self, Alpn, Endpoint, FrameRecv, FrameSend, Link, TransportError, Unreached};
use crate::trust::{Identity, TrustError};

/// How long all addresses of a dispatcher have together: each that is silent is given up after five seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What dialling takes. Sockets are opened at the first use and kept.
pub(super) struct Dialler {
    identity: Arc<Identity>,
    pub(super) knowledge: Knowledge,
    profile: WorkerProfile,
    instance: InstanceId,
    /// A dispatcher has let this process in.
    pub(super) let_in: bool,
    v4: Option<Arc<Endpoint>>,
    v6: Option<Arc<Endpoint>>,
}

/// A dispatcher that answered, and not with no.
pub(super) enum Dialled {
    /// It said welcome.
    Welcome(Joined),
    /// It wants an approval first.
    Waiting(Held),
}

/// A link on which the dispatcher said welcome.
pub(super) struct Joined {
    pub(super) dispatcher: NodeId,
    pub(super) address: SocketAddr,
    pub(super) link: Link,
    pub(super) welcome: Welcome,
    pub(super) send: FrameSend,
    pub(super) recv: FrameRecv,
}

/// A link on which this worker waits for approval.
pub(super) struct Held {
    pub(super) address: SocketAddr,
    /// This worker's own key.
    pub(super) worker: NodeId,
    pub(super) link: Link,
    pub(super) waiting: Waiting,
    pub(super) send: FrameSend,
    pub(super) recv: FrameRecv,
    /// How it was found.
    pub(super) found: Found,
}

/// How a dispatcher was found that is to approve this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// At the address that the user gave, or on this machine.
    There,
    /// By a beacon: somebody says that he is a dispatcher.
    Heard,
    /// It enrolled this worker before, and has forgotten it.
    Before,
}

/// Why a try did not lead to a dispatcher that lets in or lets wait.
#[derive(Debug)]
pub(super) enum DialError {
    /// No dispatcher has left its access file here yet, and none answers on this machine.
    NoneKnown {
        /// Where it would be.
        access_file: PathBuf,
    },
    /// The dispatcher of the same process did not start.
    Forsaken,
    /// The access file or the pin is there and cannot be used.
    Trust(TrustError),
    /// The host given cannot be resolved.
    UnknownHost {
        /// The host as it was given.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// Nobody let us talk to the dispatcher.
    Unreachable {
        /// The addresses tried.
        tried: Vec<SocketAddr>,
    },
    /// Whoever answers has another key than the one expected.
    OtherKey {
        /// Where.
        address: SocketAddr,
        /// By what it was expected.
        expected_by: ExpectedBy,
    },
    /// It answered, with no.
    Refused(Refusal),
    /// One that was heard by beacon answered with no, which says little: anybody can be heard.
    HeardRefused {
        /// Where.
        address: SocketAddr,
        /// What it said.
        refusal: Refusal,
    },
    /// Several dispatchers are heard, and only a person knows which one is meant.
    SeveralHeard(Vec<Offer>),
    /// This node has no socket to dial from.
    NoSocket(TransportError),
}

/// What named the key that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpectedBy {
    /// The access file.
    Access,
    /// `--token`.
    Token,
    /// The pin of an earlier enrolment.
    Pin,
}

impl Dialler {
    pub(super) fn new(
        identity: Arc<Identity>,
        knowledge: Knowledge,
        profile: WorkerProfile,
        instance: InstanceId,
    ) -> Self {
        Self { identity, knowledge, profile, instance, let_in: false, v4: None, v6: None }
    }

    /// Tries every way in order, each at all its addresses, and stops at the first answer, be it yes or no.
    pub(super) async fn dial(&mut self) -> Result<Dialled, DialError> {
        let ways = self.knowledge.ways(self.let_in).await?;
        let mut failed = self.knowledge.none_known();
        for way in &ways {
            match self.try_way(way).await {
                // At a host of the user's choice this home's own dispatcher is one guess of several.
                Err(error @ DialError::OtherKey { expected_by: ExpectedBy::Access, .. }) => failed = error,
                Err(DialError::Refused(refusal)) if refusal.code == RefusalCode::NotEnrolled => {
                    return match way {
                        Way::Pinned(pin) => self.try_way(&Way::Join(Some(pin.clone()))).await,
                        Way::Access(_) | Way::Token(_) | Way::Join(_) | Way::Heard(_) => {
                            Err(DialError::Refused(refusal))
                        }
                    };
                }
                Err(DialError::Unreachable { .. }) if self.is_a_guess(way) => return self.try_heard().await,
                Ok(Dialled::Waiting(held)) if self.knowledge.access_leads_to(held.link.peer()) => {
                    // A dispatcher of this home has just started: its file is there before it answers anybody.
                    drop(held);
                    return Box::pin(self.dial()).await;
                }
                other => return other,
            }
        }
        Err(failed)
    }

    /// The name that this worker asks for.
    pub(super) fn name(&self) -> Option<NodeName> {
        self.profile.name.clone()
    }

    /// Closes the sockets; what was sent gets a moment to arrive.
    pub(super) async fn close(self, text: &str) {
        for endpoint in [self.v4, self.v6].into_iter().flatten() {
            endpoint.close(text).await;
        }
    }

    /// Nobody said that a dispatcher is there.
    fn is_a_guess(&self, way: &Way) -> bool {
        matches!(way, Way::Join(None)) && self.knowledge.address.host.is_none()
    }

    /// Asks the one dispatcher that is heard to approve this worker. Nothing that comes of it ends the worker: it
    /// was told of nobody, and anybody can send a beacon.
    async fn try_heard(&mut self) -> Result<Dialled, DialError> {
        let mut offers = self.knowledge.offers();
        let offer = match (offers.pop(), offers.is_empty()) {
            (Some(offer), true) => offer,
            (None, _) => return Err(self.knowledge.none_known()),
            (Some(last), false) => {
                offers.push(last);
                return Err(DialError::SeveralHeard(offers));
            }
        };
        let Some(address) = offer.addresses.first().copied() else { return Err(self.knowledge.none_known()) };
        match self.try_way(&Way::Heard(offer)).await {
            Ok(dialled) => Ok(dialled),
            Err(DialError::Refused(refusal)) => Err(DialError::HeardRefused { address, refusal }),
            Err(error @ (DialError::NoSocket(_) | DialError::Trust(_))) => Err(error),
            Err(_) => Err(self.knowledge.none_known()),
        }
    }

    /// Where to try `way`: at what is known of it or was given, and where it may be as well.
    async fn places(&self, way: &Way) -> Result<(Vec<SocketAddr>, Vec<SocketAddr>), DialError> {
        let mut guesses = self.knowledge.guesses(way);
        let known = match self.knowledge.candidates(way).await {
            Ok(known) => known,
            Err(DialError::UnknownHost { .. }) if !guesses.is_empty() => Vec::new(),
            Err(error) => return Err(error),
        };
        guesses.retain(|at| !known.contains(at));
        Ok((known, guesses))
    }

    async fn try_way(&mut self, way: &Way) -> Result<Dialled, DialError> {
        match way {
            Way::Access(access) => self.join(way, access.dispatcher, Credential::Access(access.secret)).await,
            Way::Token(token) => self.join(way, token.dispatcher, token.credential()).await,
            Way::Pinned(pin) => self.join(way, pin.dispatcher, Credential::None).await,
            Way::Join(None) => self.ask(way, None, Found::There).await,
            Way::Join(Some(pin)) => self.ask(way, Some(pin.dispatcher), Found::Before).await,
            Way::Heard(offer) => self.ask(way, Some(offer.dispatcher), Found::Heard).await,
        }
    }

    /// Joins the dispatcher that has this key, at whichever place it proves that first.
    async fn join(&mut self, way: &Way, expected: NodeId, credential: Credential) -> Result<Dialled, DialError> {
        let (tried, guesses) = self.places(way).await?;
        // What the user gave is tried first, and alone.
        let rounds = match self.knowledge.address.host {
            Some(_) => vec![tried.clone(), guesses],
            None => vec![[tried.clone(), guesses].concat()],
        };
        let mut other_key = None;
        for places in rounds {
            let unreached = match self.dial_first(&places, expected).await? {
                Ok((address, link)) => return self.greet(way, (address, link), credential, tried).await,
                Err(unreached) => unreached,
            };
            for (address, error) in unreached {
                tracing::debug!("No dispatcher: failed to {}", error_text(&error));
                // Where a guess led to somebody else, that is not the dispatcher that was meant.
                if matches!(error, TransportError::WrongKey { .. }) && tried.contains(&address) {
                    other_key.get_or_insert(address);
                }
            }
            if other_key.is_some() {
                // Somebody else sits where the user sent this worker: he is to hear of it.
                break;
            }
        }
        Err(match other_key {
            Some(address) => DialError::OtherKey { address, expected_by: self.expected_by(way) },
            None => DialError::Unreachable { tried },
        })
    }

    /// The outer error is one that no other address mends.
    async fn dial_first(
        &mut self,
        places: &[SocketAddr],
        expected: NodeId,
    ) -> Result<Result<(SocketAddr, Link), Unreached>, DialError> {
        let mut dials = Vec::new();
        for place in places {
            dials.push((self.endpoint(*place)?, *place));
        }
        Ok(transport::connect_first(dials, expected, Alpn::Worker, PATIENCE).await)
    }

    /// Says hello to the dispatcher that was meant.
    async fn greet(
        &mut self,
        way: &Way,
        (address, link): (SocketAddr, Link),
        credential: Credential,
        tried: Vec<SocketAddr>,
    ) -> Result<Dialled, DialError> {
        let hello = self.hello(Intent::Worker(self.profile.clone()), credential);
        match transport::hello(&link, &hello).await {
            Ok((welcome, send, recv)) => {
                let dispatcher = link.peer();
                self.let_in = true;
                self.keep(way, dispatcher, address);
                Ok(Dialled::Welcome(Joined { dispatcher, address, link, welcome, send, recv }))
            }
            Err(TransportError::Refused(refusal)) if self.has_outdated_secret(way, &refusal) => {
                Err(DialError::Unreachable { tried })
            }
            Err(TransportError::Refused(refusal)) => Err(DialError::Refused(refusal)),
            Err(other) => {
                tracing::debug!("No dispatcher: failed to {}", error_text(&other));
                Err(DialError::Unreachable { tried })
            }
        }
    }

    /// What a key other than the expected one contradicts.
    fn expected_by(&self, way: &Way) -> ExpectedBy {
        match way {
            Way::Access(_) => ExpectedBy::Access,
            Way::Token(token) if !self.knowledge.is_enrolled_with(token.dispatcher) => ExpectedBy::Token,
            Way::Token(_) | Way::Pinned(_) | Way::Join(_) | Way::Heard(_) => ExpectedBy::Pin,
        }
    }

    /// Asks a dispatcher that does not know this worker to be approved: whoever is at the first place that answers,
    /// or `expected` alone.
    async fn ask(&mut self, way: &Way, expected: Option<NodeId>, found: Found) -> Result<Dialled, DialError> {
        let (tried, guesses) = self.places(way).await?;
        let mut other_key = None;
        for address in tried.iter().chain(&guesses) {
            let hello = self.hello(Intent::Join { name: self.profile.name.clone() }, Credential::None);
            let worker = self.identity.id();
            let endpoint = self.endpoint(*address)?;
            let asked = async {
                let link = endpoint.connect_join(*address, expected).await?;
                let (waiting, send, recv) = transport::ask_to_join(&link, &hello).await?;
                Ok(Held { address: *address, worker, link, waiting, send, recv, found })
            };
            let asked: Result<Held, TransportError> = asked.await;
            match asked {
                Ok(held) => return Ok(Dialled::Waiting(held)),
                Err(TransportError::Refused(refusal)) => return Err(DialError::Refused(refusal)),
                Err(TransportError::WrongKey { .. }) => other_key = other_key.or(Some(*address)),
                Err(other) => tracing::debug!("No dispatcher: failed to {}", error_text(&other)),
            }
        }
        Err(match other_key.filter(|address| tried.contains(address)) {
            Some(address) => DialError::OtherKey { address, expected_by: ExpectedBy::Pin },
            None => DialError::Unreachable { tried },
        })
    }

    /// Remembers where a dispatcher was met that enrolled this worker for good.
    fn keep(&self, way: &Way, dispatcher: NodeId, address: SocketAddr) {
        if matches!(way, Way::Access(_)) {
            return;
        }
        if let Err(error) = self.knowledge.remember(dispatcher, address) {
            tracing::warn!("The next start will not know this dispatcher: failed to {error}");
        }
    }

    /// A dispatcher that starts accepts dials before it replaces the file of its predecessor.
    fn has_outdated_secret(&self, way: &Way, refusal: &Refusal) -> bool {
        match way {
            Way::Access(access) => {
                refusal.code == RefusalCode::BadCredential && self.knowledge.access_differs_from(access)
            }
            Way::Token(_) | Way::Pinned(_) | Way::Join(_) | Way::Heard(_) => false,
        }
    }

    /// What a worker says first.
    fn hello(&self, intent: Intent, credential: Credential) -> Hello {
        Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance,
            intent,
            credential,
        }
    }

    /// The socket of `address`' family.
    fn endpoint(&mut self, address: SocketAddr) -> Result<Arc<Endpoint>, DialError> {
        let (slot, any): (_, IpAddr) = match address {
            SocketAddr::V4(_) => (&mut self.v4, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (&mut self.v6, Ipv6Addr::UNSPECIFIED.into()),
        };
        match slot {
            Some(endpoint) => Ok(Arc::clone(endpoint)),
            None => {
                let endpoint = Endpoint::bind(&self.identity, (any, 0).into(), &[]).map_err(DialError::NoSocket)?;
                Ok(Arc::clone(slot.insert(Arc::new(endpoint))))
            }
        }
    }
}
