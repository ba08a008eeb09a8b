//! Who plays in `tests/join.rs` beside `dispatcher/stage.rs`: real workers with
//! homes of their own, and what an admin types.

use std::net::SocketAddr;
use std::path::PathBuf;

use octaskly::model::handshake::{Credential, Intent, Waiting};
use octaskly::model::limits::MAX_FRAME_UNAUTHENTICATED;
use octaskly::model::requests::{Failure, NodeKind, Reply, Request};
use octaskly::model::trust::{ClientView, JoinNews, JoinReply, TokenId};
use octaskly::model::views::{WorkerState, WorkerView};
use octaskly::model::{Millis, NodeId, Role};
use octaskly::node::worker::{self, ApprovalAsked, WorkerOptions};
use octaskly::node::{NodeError, Shutdown};
use octaskly::transport::{Endpoint, FrameRecv, FrameSend, Link, TransportError, ask_to_join};
use octaskly::trust::{Identity, TokenText};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::stage::{Client, Stage, greeting, soon};

/// A machine with a home of its own, on which workers run.
pub(crate) struct Machine {
    home: tempfile::TempDir,
}

/// A real worker in this process.
pub(crate) struct RealWorker {
    ended: JoinHandle<Result<(), NodeError>>,
    shutdown: Shutdown,
    asks: mpsc::Receiver<ApprovalAsked>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().join("home")
    }

    /// The folder of the worker called `name`.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.home().join("workers").join(name)
    }

    /// Where the worker called `name` keeps whom it belongs to.
    pub(crate) fn pin(&self, name: &str) -> PathBuf {
        self.folder(name).join("dispatcher.cbor")
    }

    /// A worker that looks for its dispatcher at `address`.
    pub(crate) fn worker(&self, name: &str, address: SocketAddr) -> RealWorker {
        self.worker_with(name, address, None)
    }

    /// Likewise, with a token.
    pub(crate) fn worker_with(&self, name: &str, address: SocketAddr, token: Option<&str>) -> RealWorker {
        let mut options = WorkerOptions::new(self.home());
        options.name = Some(name.parse().expect("a name"));
        options.dispatcher.host = Some(address.ip().to_string());
        options.dispatcher.port = Some(address.port());
        options.token = token.map(|token| token.parse::<TokenText>().expect("a token"));
        options.program = Some(PathBuf::from(env!("CARGO_BIN_EXE_octaskly")));
        options.stop_grace = Millis(0);
        let (show, asks) = mpsc::channel(16);
        options.show_approval = Some(show);
        let shutdown = Shutdown::new();
        RealWorker { ended: tokio::spawn(worker::run(options, shutdown.clone())), shutdown, asks }
    }
}

impl RealWorker {
    /// What it shows next.
    pub(crate) async fn asks(&mut self) -> ApprovalAsked {
        soon("a worker that asks to be approved", self.asks.recv()).await.expect("the worker runs")
    }

    /// Whether it has shown something that nobody has looked at.
    pub(crate) fn has_asked(&mut self) -> bool {
        self.asks.try_recv().is_ok()
    }

    pub(crate) async fn stops(self) {
        self.shutdown.raise();
        self.ends().await.expect("a clean end");
    }

    /// How it ends by itself.
    pub(crate) async fn ends(self) -> Result<(), NodeError> {
        soon("the worker's end", self.ended).await.expect("no panic")
    }
}

/// A dispatcher, its admin, and a worker on another machine that waits to be approved as `b`.
pub(crate) struct Asking {
    pub(crate) stage: Stage,
    pub(crate) admin: Client,
    pub(crate) machine: Machine,
    pub(crate) worker: RealWorker,
    pub(crate) asked: ApprovalAsked,
}

impl Asking {
    pub(crate) async fn scene() -> Self {
        let stage = Stage::open().await;
        let admin = stage.client().await;
        let machine = Machine::new();
        let mut worker = machine.worker("b", stage.address());
        let asked = worker.asks().await;
        Self { stage, admin, machine, worker, asked }
    }
}

impl Stage {
    pub(crate) fn address(&self) -> SocketAddr {
        self.running().local_addr()
    }

    /// A node that asks to wait for approval, played by the test.
    pub(crate) async fn joiner(&self, identity: &Identity, name: &str) -> Result<Joiner, TransportError> {
        Joiner::at(self.address(), identity, name).await
    }
}

/// A worker that waits, played by the test.
pub(crate) struct Joiner {
    pub(crate) _endpoint: Endpoint,
    pub(crate) link: Link,
    pub(crate) waiting: Waiting,
    pub(crate) send: FrameSend,
    pub(crate) recv: FrameRecv,
}

impl Joiner {
    pub(crate) async fn at(address: SocketAddr, identity: &Identity, name: &str) -> Result<Self, TransportError> {
        let endpoint = Endpoint::bind(identity, "127.0.0.1:0".parse().expect("an address"), &[])?;
        let link = endpoint.connect_join(address, None).await?;
        let name = (!name.is_empty()).then(|| name.parse().expect("a name"));
        let (waiting, send, recv) = ask_to_join(&link, &greeting(1, Intent::Join { name }, Credential::None)).await?;
        Ok(Self { _endpoint: endpoint, link, waiting, send, recv })
    }

    pub(crate) async fn hears(&mut self) -> JoinNews {
        let news = soon("news", self.recv.recv::<JoinNews>(MAX_FRAME_UNAUTHENTICATED)).await;
        news.expect("the link stands").expect("the dispatcher goes on")
    }

    pub(crate) async fn says(&mut self, reply: JoinReply) {
        self.send.send(&reply).await.expect("said");
    }
}

impl Client {
    pub(crate) async fn approve(&self, asked: &ApprovalAsked) -> Reply {
        self.approve_as(asked.name.as_str(), &asked.code).await
    }

    pub(crate) async fn approve_as(&self, name: &str, code: &str) -> Reply {
        self.ask(Request::Approve { name: name.parse().expect("a name"), code: code.to_owned() }).await
    }

    pub(crate) async fn revoke(&self, name: &str, kind: Option<NodeKind>) {
        let reply = self.ask(Request::Revoke { name: name.parse().expect("a name"), kind }).await;
        assert_eq!(reply, Reply::Done { affected: 1 });
    }

    pub(crate) async fn token(&self, role: Role, uses: u32, lifetime: Millis) -> (String, TokenId) {
        match self.ask(Request::CreateToken { role, name: None, uses, lifetime }).await {
            Reply::TokenCreated { token, id } => (token, id),
            other => panic!("no token but {other:?}"),
        }
    }

    pub(crate) async fn workers(&self) -> Vec<WorkerView> {
        match self.ask(Request::Workers).await {
            Reply::Workers(workers) => workers,
            other => panic!("the roster is {other:?}"),
        }
    }

    pub(crate) async fn clients(&self) -> Vec<ClientView> {
        match self.ask(Request::Clients).await {
            Reply::Clients(clients) => clients,
            other => panic!("the clients are {other:?}"),
        }
    }

    /// Waits until the worker called `name` is in `state`.
    pub(crate) async fn sees(&self, name: &str, state: WorkerState) -> NodeId {
        soon(&format!("{name} to be {state:?}"), async {
            loop {
                let workers = self.workers().await;
                let found = workers.iter().find(|view| view.name.as_str() == name && view.state == state);
                if let Some(view) = found {
                    return view.node;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

/// The reason why a request failed.
pub(crate) fn failure(reply: Reply) -> Failure {
    match reply {
        Reply::Failed(failure) => failure,
        other => panic!("it did not fail but was answered by {other:?}"),
    }
}
