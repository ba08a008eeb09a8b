//! Workers that wait for approval: who they are, and the proof both ways that
//! an admin has read the code from the right screen.
//!
//! The one invariant: nobody is enrolled who has not proved to know the code
//! over this very link, and a code that is wrong tells neither side anything
//! else. Absent: names and records (the engine's), and the arithmetic of the
//! proofs (`trust::code`).

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info};

use super::event::LinkOut;
use super::requests::Trouble;
use super::shell::Shell;
use crate::model::handshake::{Refusal, RefusalCode, Waiting};
use crate::model::limits::{MAX_FRAME_UNAUTHENTICATED, MAX_JOINING};
use crate::model::requests::FailureCode;
use crate::model::trust::{JoinNews, JoinReply};
use crate::model::views::{WorkerState, WorkerView};
use crate::model::{LinkId, NodeName};
use crate::transport::{CloseCode, FrameRecv, FrameSend, Incoming, Link, TransportError};
use crate::trust::code::{ApprovalCode, CODE_TRIES, EXPORTER_LABEL, Joining, Side};

/// Nodes that may wait from one address: a room full of machines behind one router, not a flood.
const MAX_FROM_ONE_ADDRESS: usize = 8;
/// How long a worker may take to answer a proof; an admin waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How long an admin waits at most when another one was faster.
const ADMIN_WAITS: Duration = Duration::from_millis(4_500);
/// How long the worker's proof waits for the engine's word, which waits for the disk.
const ENROLLED_WITHIN: Duration = Duration::from_secs(30);
/// How long a worker may take to leave once it has heard that it may.
const FAREWELL: Duration = Duration::from_secs(1);

/// Everybody who waits.
#[derive(Clone, Default)]
pub(super) struct Joiners(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By name.
    seats: BTreeMap<NodeName, Waiter>,
    /// How many of each address are inside, also before they have a name.
    from: HashMap<IpAddr, usize>,
}

/// A node that waits.
struct Waiter {
    /// Tells it from the one that follows it under the name.
    link: LinkId,
    from: SocketAddr,
    approvals: mpsc::Sender<Approval>,
}

/// An admin's wish, on its way to the task of the worker's link.
struct Approval {
    code: ApprovalCode,
    answer: oneshot::Sender<Result<Proved, Trouble>>,
}

/// A waiting worker that knows the code which was typed for it.
pub(super) struct Proved {
    /// The link it waits on.
    pub(super) link: LinkId,
    /// To be told when it is enrolled, durably. Dropped, it is turned away.
    pub(super) enrolled: oneshot::Sender<()>,
}

impl Joiners {
    /// A place for one more from `address`.
    ///
    /// # Errors
    /// The refusal to send, when as many wait as may.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, Refusal> {
        let mut state = self.state();
        let all: usize = state.from.values().sum();
        let own = state.from.entry(address).or_insert(0);
        if *own >= MAX_FROM_ONE_ADDRESS || all >= MAX_JOINING {
            if *own == 0 {
                state.from.remove(&address);
            }
            return Err(Refusal {
                code: RefusalCode::TooManyJoining,
                text: "too many nodes wait for approval".to_owned(),
                hint: Some("approve those that wait, or stop some; this one keeps asking".to_owned()),
            });
        }
        *own += 1;
        drop(state);
        Ok(Place { joiners: self.clone(), address })
    }

    /// Lets the worker that waits as `name` prove that it shows `code`. Answers within five seconds.
    pub(super) async fn prove(&self, name: &NodeName, code: ApprovalCode) -> Result<Proved, Trouble> {
        let (answer, answered) = oneshot::channel();
        let seat = self.state().seats.get(name).map(|waiter| waiter.approvals.clone());
        let Some(seat) = seat else { return Err(nobody_waits(name)) };
        match seat.try_send(Approval { code, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(busy(name)),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(nobody_waits(name)),
        }
        match timeout(ADMIN_WAITS, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_gone)) => Err(nobody_waits(name)),
            Err(_) => Err(busy(name)),
        }
    }

    /// Fills in where those come from that wait.
    pub(super) fn complete(&self, workers: &mut [WorkerView]) {
        let state = self.state();
        for view in workers.iter_mut().filter(|view| view.state == WorkerState::Pending) {
            view.address = state.seats.get(&view.name).map(|waiter| waiter.from.to_string());
        }
    }

    fn sit(&self, name: &NodeName, waiter: Waiter) -> Seat {
        let link = waiter.link;
        self.state().seats.insert(name.clone(), waiter);
        Seat { joiners: self.clone(), name: name.clone(), link }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nobody_waits(name: &NodeName) -> Trouble {
    let hint = "octaskly workers shows who waits, as pending";
    Trouble::refused(FailureCode::NotFound, format!("no worker waits for approval as {name}"), Some(hint))
}

fn busy(name: &NodeName) -> Trouble {
    let text = format!("{name} is just being approved by somebody else");
    Trouble::refused(FailureCode::Conflict, text, Some("try again in a few seconds"))
}

/// One node's share of its address' places.
pub(super) struct Place {
    joiners: Joiners,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.joiners.state();
        if let Some(count) = state.from.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                state.from.remove(&self.address);
            }
        }
    }
}

/// A node's name among those that wait, for as long as it does.
struct Seat {
    joiners: Joiners,
    name: NodeName,
    link: LinkId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.joiners.state();
        if state.seats.get(&self.name).is_some_and(|waiter| waiter.link == self.link) {
            state.seats.remove(&self.name);
        }
    }
}

/// Keeps a worker that the engine lets wait, until it is approved or leaves.
pub(super) async fn serve(
    shell: &Shell,
    id: LinkId,
    incoming: Incoming,
    waiting: Waiting,
    mut queue: mpsc::Receiver<LinkOut>,
) -> Result<(), TransportError> {
    let name = waiting.name.clone();
    // Its seat comes first: once it has been told to wait it shows its code, and somebody may type that at once.
    let (orders, mut approvals) = mpsc::channel(1);
    let waiter = Waiter { link: id, from: incoming.link.remote_addr(), approvals: orders };
    let _seat = shell.joiners.sit(&name, waiter);
    let (link, send, recv) = incoming.hold(waiting).await?;
    shell.knocks.say(format_args!(
        "Worker {name} ({}, id {}) asks to join: octaskly approve {name} CODE with the code it shows",
        link.remote_addr(),
        link.peer().short()
    ));
    let mut joiner = Joiner { shell, id, name, link, send, recv, wrong: 0 };
    loop {
        tokio::select! {
            approval = approvals.recv() => match approval {
                // Whoever typed it has given up meanwhile.
                Some(approval) if approval.answer.is_closed() => {}
                Some(approval) => if joiner.tried(approval).await? == Next::Leaves { return Ok(()) },
                None => return Ok(()),
            },
            end = joiner.link.closed() => {
                info!("Worker {} no longer asks to join ({end})", joiner.name);
                return Ok(());
            }
            out = queue.recv() => {
                match out {
                    Some(LinkOut::Close(code, text)) => joiner.link.close(code, &text),
                    _ => joiner.link.close(CloseCode::Stopping, "the dispatcher is stopping"),
                }
                return Ok(());
            }
        }
    }
}

/// A worker that waits.
struct Joiner<'a> {
    shell: &'a Shell,
    id: LinkId,
    name: NodeName,
    link: Link,
    send: FrameSend,
    recv: FrameRecv,
    wrong: u8,
}

/// What becomes of a worker that was tried with a code.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It goes on waiting.
    Waits,
    /// It has gone, or was sent away.
    Leaves,
}

impl Joiner<'_> {
    /// Tries one code. The admin is answered in any case.
    async fn tried(&mut self, approval: Approval) -> Result<Next, TransportError> {
        let Approval { code, answer } = approval;
        let joining = Joining {
            exporter: self.link.exporter(EXPORTER_LABEL)?,
            worker: self.link.peer(),
            dispatcher: self.shell.access.dispatcher,
            name: self.name.clone(),
        };
        let exchange = async {
            self.send.send(&JoinNews::Proof(code.prove(Side::Dispatcher, &joining))).await?;
            self.recv.recv::<JoinReply>(MAX_FRAME_UNAUTHENTICATED).await
        };
        let reply = match timeout(ANSWER_WITHIN, exchange).await {
            Ok(Ok(Some(reply))) => reply,
            Ok(Ok(None)) | Err(_) => return Ok(self.is_silent(answer)),
            Ok(Err(error)) => {
                self.is_silent(answer);
                return Err(error);
            }
        };
        match reply {
            JoinReply::Proof(proof) if code.verify(Side::Worker, &joining, &proof) => self.let_in(answer).await,
            JoinReply::Proof(_) => {
                self.shell.refusals.say(format_args!(
                    "Refused worker {} ({}, id {}): it claims to know the code that was typed for it, and does not",
                    self.name,
                    self.link.remote_addr(),
                    self.link.peer().short()
                ));
                let text = format!(
                    "{} does not know the code that was typed: something is between it and here, or it is not what it says",
                    self.name
                );
                let hint = "check the worker's screen and its --dispatcher address";
                let _ = answer.send(Err(Trouble::refused(FailureCode::Conflict, text, Some(hint))));
                self.link.close(CloseCode::Refused, "it did not prove that it knows the code");
                Ok(Next::Leaves)
            }
            JoinReply::WrongCode { left } => Ok(self.wrong_code(left, answer)),
        }
    }

    fn wrong_code(&mut self, left: u8, answer: oneshot::Sender<Result<Proved, Trouble>>) -> Next {
        self.wrong += 1;
        // It counts over all its links, this side over one; neither is believed beyond its own count.
        let left = left.min(CODE_TRIES.saturating_sub(self.wrong));
        let name = &self.name;
        let from = self.link.remote_addr();
        self.shell.refusals.say(format_args!("A wrong code was typed for worker {name} ({from}); tries left: {left}"));
        let (text, hint) = match left {
            0 => (
                format!("that is not the code that {name} shows; it was the last try with it"),
                "the worker shows a new code",
            ),
            1 => (format!("that is not the code that {name} shows (1 try left)"), "read it from the worker's screen"),
            n => {
                (format!("that is not the code that {name} shows ({n} tries left)"), "read it from the worker's screen")
            }
        };
        let _ = answer.send(Err(Trouble::refused(FailureCode::Conflict, text, Some(hint))));
        if left > 0 {
            return Next::Waits;
        }
        self.link.close(CloseCode::Refused, "three wrong codes were typed for this worker");
        Next::Leaves
    }

    fn is_silent(&self, answer: oneshot::Sender<Result<Proved, Trouble>>) -> Next {
        let text = format!("{} does not answer", self.name);
        let hint = "is it still running? octaskly workers shows who waits";
        let _ = answer.send(Err(Trouble::refused(FailureCode::Conflict, text, Some(hint))));
        // A late answer would be taken for the answer to the next try.
        self.link.close(CloseCode::TooSlow, "no answer to a proof in time");
        Next::Leaves
    }

    /// It knows the code: the admin's request enrols it, and then it hears so.
    async fn let_in(&mut self, answer: oneshot::Sender<Result<Proved, Trouble>>) -> Result<Next, TransportError> {
        let (enrolled, done) = oneshot::channel();
        let _ = answer.send(Ok(Proved { link: self.id, enrolled }));
        match timeout(ENROLLED_WITHIN, done).await {
            Ok(Ok(())) => {
                self.send.send(&JoinNews::Enrolled).await?;
                self.send.finish().await?;
                let _ = timeout(FAREWELL, self.link.closed()).await;
                self.link.close(CloseCode::Done, "enrolled");
            }
            Ok(Err(_)) | Err(_) => {
                debug!(worker = self.name.as_str(), "It proved its code and was not enrolled");
                self.link.close(CloseCode::Refused, "it could not be enrolled");
            }
        }
        Ok(Next::Leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_eight_places_and_all_together_no_more_than_there_are() {
        let joiners = Joiners::default();
        let at = |n: u8| IpAddr::from([10, 0, 0, n]);
        let place = |n| match joiners.enter(at(n)) {
            Ok(place) => place,
            Err(refusal) => panic!("{refusal:?}"),
        };
        let own: Vec<Place> = (0..MAX_FROM_ONE_ADDRESS).map(|_| place(1)).collect();
        assert!(joiners.enter(at(1)).is_err(), "one address has no more");
        let others: Vec<Place> = (2..=8).flat_map(|n| [n; MAX_FROM_ONE_ADDRESS]).map(place).collect();
        assert_eq!(own.len() + others.len(), MAX_JOINING);
        assert!(joiners.enter(at(9)).is_err(), "nobody gets one more");
        assert!(!joiners.state().from.contains_key(&at(9)), "nothing is remembered of who got none");
        drop((own, others));
        assert!(joiners.state().from.is_empty());
    }

    #[test]
    fn a_seat_that_was_taken_over_is_not_given_up_by_its_former_owner() {
        let joiners = Joiners::default();
        let name: NodeName = "a".parse().expect("a name");
        let from = "10.0.0.1:1".parse().expect("an address");
        let waiter = |n| Waiter { link: LinkId(n), from, approvals: mpsc::channel(1).0 };
        let first = joiners.sit(&name, waiter(1));
        let second = joiners.sit(&name, waiter(2));
        drop(first);
        assert!(joiners.state().seats.contains_key(&name));
        drop(second);
        assert!(joiners.state().seats.is_empty());
    }
}
