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
use super::error::CliError;
use super::output::say;
use super::resolve::{Environment, whereabouts};
use crate::client::{self, Client, ClientError, Target};
use crate::node::embedded::Embedded;
use crate::trust::{Home, Identity};

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
    quiet: bool,
}

/// Where the dispatcher is looked for.
enum Place {
    /// By address or access file; looked up anew each time, for a dispatcher may come back elsewhere.
    Known { home: Home, named: Option<String> },
    /// In this process.
    Embedded(Target),
}

impl Session {
    /// Connects to the dispatcher that `args` and the environment mean.
    pub(crate) async fn open(args: &ConnectArgs, environment: &Environment, quiet: bool) -> Result<Self, CliError> {
        match Self::open_known(args, environment, quiet).await? {
            Some(session) => Ok(session),
            None => Err(ClientError::NoDispatcher.into()),
        }
    }

    /// The same; `None` when no dispatcher is known.
    pub(crate) async fn open_known(
        args: &ConnectArgs,
        environment: &Environment,
        quiet: bool,
    ) -> Result<Option<Self>, CliError> {
        let place = whereabouts(args, environment)?;
        let Some(target) = client::find(&place.home, place.named.as_deref())? else { return Ok(None) };
        let identity = Identity::load_or_create(&place.home.client().map_err(ClientError::from)?)?;
        let client = Client::connect(&identity, &target, SOFTWARE).await?;
        let place = Place::Known { home: place.home, named: place.named };
        Ok(Some(Self::new(client, identity, place, quiet)))
    }

    /// Connects to a cluster inside this process.
    pub(crate) async fn embedded(cluster: &Embedded, quiet: bool) -> Result<Self, CliError> {
        let target = Target::from_access(cluster.access());
        // Known to that cluster alone, and gone with it.
        let identity = Identity::ephemeral()?;
        let client = Client::connect(&identity, &target, SOFTWARE).await?;
        Ok(Self::new(client, identity, Place::Embedded(target), quiet))
    }

    fn new(client: Client, identity: Identity, place: Place, quiet: bool) -> Self {
        let now = Arc::new(client);
        Self { client: watch::Sender::new(Arc::clone(&now)), now, identity, place, quiet }
    }

    /// The link as it is now.
    pub(crate) fn client(&self) -> &Client {
        &self.now
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
                        say::note(self.quiet, "lost the dispatcher; trying until it is back");
                        told = true;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn connect(&self) -> Result<Client, ClientError> {
        let found;
        let target = match &self.place {
            Place::Embedded(target) => target,
            Place::Known { home, named } => {
                found = client::find(home, named.as_deref())?.ok_or(ClientError::NoDispatcher)?;
                &found
            }
        };
        Client::connect(&self.identity, target, SOFTWARE).await
    }

    /// Says goodbye, unless a request is still under way; the link then ends with it.
    pub(crate) async fn close(self) {
        drop(self.client);
        if let Some(client) = Arc::into_inner(self.now) {
            client.close().await;
        }
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
