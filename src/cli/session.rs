//! A client command's way to its dispatcher, and back to it when the link
//! breaks.
//!
//! The one invariant: a command that has been let in once keeps trying until
//! its dispatcher is there again; one that has not gives up after the client's
//! five seconds. Absent: what is asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::args::ConnectArgs;
use super::error::{CliError, one_line};
use super::output::say;
use super::resolve::{Environment, Whereabouts, whereabouts};
use crate::client::{self, Attacher, Client, ClientError, Target};
use crate::model::ClientId;
use crate::model::handshake::RefusalCode;
use crate::node::embedded::Embedded;
use crate::trust::{Home, Identity, TrustError};

/// What we tell the dispatcher that we are.
pub(crate) const SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// First and longest wait between tries to come back.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// One authenticated link to a dispatcher, and what it takes to make it again.
pub(crate) struct Session {
    client: watch::Sender<Arc<Client>>,
    now: Arc<Client>,
    identity: Identity,
    place: Place,
    /// What this process calls itself where it is the client of a job.
    id: ClientId,
    /// What goes on while the dispatcher cannot be reached, and how to come back to it.
    goes_on: Option<String>,
    quiet: bool,
}

/// Where the dispatcher is looked for.
enum Place {
    /// By address, access file, token or memory; looked up anew each time, for a dispatcher may come back elsewhere.
    Known(Box<Whereabouts>),
    /// In this process.
    Embedded(Target),
}

impl Session {
    /// Connects to the dispatcher that `args` and the environment mean.
    pub(crate) async fn open(args: &ConnectArgs, environment: &Environment, quiet: bool) -> Result<Self, CliError> {
        match Self::open_known(args, environment, quiet).await? {
            Some(session) => Ok(session),
            // Without a home that is the reason why none is known.
            None => whereabouts(args, environment).and(Err(ClientError::NoDispatcher.into())),
        }
    }

    /// The same; `None` when no dispatcher is known, as where there is no home to know one from.
    pub(crate) async fn open_known(
        args: &ConnectArgs,
        environment: &Environment,
        quiet: bool,
    ) -> Result<Option<Self>, CliError> {
        let place = match whereabouts(args, environment) {
            Err(CliError::Trust(TrustError::NoHome)) if !names_a_dispatcher(args, environment) => return Ok(None),
            place => place?,
        };
        let Some(target) = find(&place)? else { return Ok(None) };
        let identity = Identity::load_or_create(&place.home.client().map_err(ClientError::from)?)?;
        let connected = client::heard::connect(&identity, &place.home, &target, SOFTWARE).await;
        let client = connected.map_err(|error| with_its_folder(error, &place.home))?;
        let newly = place.token.is_some();
        if let Err(error) = client::remember(&place.home, client.dispatcher(), client.address(), newly) {
            // What was asked for is not in the way of that.
            let text = format!("this dispatcher is not remembered: failed to {}", one_line(&error));
            say::warning(quiet, &text, error.hint().as_deref());
        }
        Ok(Some(Self::new(client, identity, Place::Known(Box::new(place)), quiet)?))
    }

    /// Connects to a cluster inside this process.
    pub(crate) async fn embedded(cluster: &Embedded, quiet: bool) -> Result<Self, CliError> {
        let target = Target::from_access(cluster.access());
        // Known to that cluster alone, and gone with it.
        let identity = Identity::ephemeral()?;
        let client = Client::connect(&identity, &target, SOFTWARE).await?;
        Self::new(client, identity, Place::Embedded(target), quiet)
    }

    fn new(client: Client, identity: Identity, place: Place, quiet: bool) -> Result<Self, CliError> {
        let now = Arc::new(client);
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(CliError::Random)?;
        let id = ClientId(u64::from_ne_bytes(id));
        Ok(Self { client: watch::Sender::new(Arc::clone(&now)), now, identity, place, id, goes_on: None, quiet })
    }

    /// This process, as the client of a job.
    pub(crate) fn attacher(&self, takes_over: bool) -> Attacher {
        Attacher { client: self.id, takes_over }
    }

    /// From here on, whoever is told that the dispatcher is lost is told this as well.
    pub(crate) fn goes_on(&mut self, what: String) {
        self.goes_on = Some(what);
    }

    /// The link as it is now.
    pub(crate) fn client(&self) -> &Client {
        &self.now
    }

    /// `--quiet`.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The link for whoever makes requests of his own meanwhile.
    pub(crate) fn handle(&self) -> Handle {
        Handle { client: self.client.subscribe() }
    }

    /// Makes a new link after `error` broke the old one, however long that takes.
    ///
    /// # Errors
    /// When `error` is none that a new link could mend, or the dispatcher that comes back refuses us.
    pub(crate) async fn reopen(&mut self, error: ClientError) -> Result<(), CliError> {
        if !error.is_transient() {
            return Err(error.into());
        }
        let mut wait = RETRY.0;
        let mut told = false;
        loop {
            // Also before the first try: a dispatcher that lets us in and cuts us off again must not be hammered.
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
            match self.connect().await {
                Ok(client) => {
                    self.now = Arc::new(client);
                    self.client.send_replace(Arc::clone(&self.now));
                    if told {
                        say::note(self.quiet, "the dispatcher is back");
                    }
                    return Ok(());
                }
                Err(error) if error.is_transient() || matches!(error, ClientError::NoDispatcher) => {
                    if !told {
                        let rest = self.goes_on.as_ref().map(|what| format!(" ({what})")).unwrap_or_default();
                        say::note(self.quiet, &format!("lost the dispatcher; trying until it is back{rest}"));
                        told = true;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn connect(&self) -> Result<Client, ClientError> {
        match &self.place {
            Place::Embedded(target) => Client::connect(&self.identity, target, SOFTWARE).await,
            Place::Known(place) => {
                let target = find(place)?.ok_or(ClientError::NoDispatcher)?;
                let connected = client::heard::connect(&self.identity, &place.home, &target, SOFTWARE).await;
                connected.map_err(|error| with_its_folder(error, &place.home))
            }
        }
    }

    /// Says goodbye, unless a request is still under way; the link then ends with it.
    pub(crate) async fn close(self) {
        drop(self.client);
        if let Some(client) = Arc::into_inner(self.now) {
            client.close().await;
        }
    }
}

/// Whether a dispatcher is named, or a token that names one.
fn names_a_dispatcher(args: &ConnectArgs, environment: &Environment) -> bool {
    let by_option = args.dispatcher.is_some() || args.token.is_some();
    by_option || ["OCTASKLY_DISPATCHER", "OCTASKLY_TOKEN"].iter().any(|name| environment.get(name).is_some())
}

fn find(place: &Whereabouts) -> Result<Option<Target>, ClientError> {
    client::find(&place.home, place.named.as_deref(), place.token.as_ref())
}

/// The dispatcher does not know which folder of ours to remove for a new key; we do.
fn with_its_folder(error: ClientError, home: &Home) -> ClientError {
    match error {
        ClientError::Refused { code: code @ RefusalCode::Revoked, text, .. } => {
            let folder = home.client_folder();
            let hint = Some(format!("for a new key remove {}, then enrol with --token", folder.display()));
            ClientError::Refused { code, text, hint }
        }
        other => other,
    }
}

/// The link of a [`Session`], wherever it is now.
#[derive(Clone)]
pub(crate) struct Handle {
    client: watch::Receiver<Arc<Client>>,
}

impl Handle {
    /// The link as it is now.
    pub(crate) fn client(&mut self) -> Arc<Client> {
        Arc::clone(&self.client.borrow_and_update())
    }

    /// Waits until there is another link than the last one handed out.
    pub(crate) async fn renewed(&mut self) {
        if self.client.changed().await.is_err() {
            // The session is over and so is its link.
            std::future::pending::<()>().await;
        }
    }
}
