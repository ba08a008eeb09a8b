//! Simulated clients: they submit, watch, cancel, retry and forget, and ask
//! again after every reconnect until they are answered.
//!
//! Invariant: what a client was told is held against the dispatcher forever.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Event};
use super::network::Party;
use super::workload::Wish;
use crate::engine::dispatcher::{Call, Inbound, Whose};
use crate::model::outcome::{Cancellation, Unrepeatable};
use crate::model::requests::{Failure, FailureCode, Reply, Submission};
use crate::model::selector::Part;
use crate::model::spec::Dependency;
use crate::model::views::JobView;
use crate::model::{ClientId, JobId, LinkId, Millis, NodeId, RequestId, SealedSpec};

/// How often the output of a `run` is shown.
const SHOWN_EVERY: Millis = Millis::from_secs(3);

/// A client.
pub(super) struct ClientNode {
    pub(super) key: NodeId,
    pub(super) link: Option<LinkId>,
    pub(super) dialing: Option<LinkId>,
    /// Requests on the present link that are not answered, and whose they are.
    open: BTreeMap<RequestId, (usize, Question)>,
}

/// What a client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Queue this wish.
    Submit(usize),
    /// Be its client, when it is a `run`: this one.
    Attach(JobId, u64),
    /// What its attempt has written was shown: there must be no other one.
    Shown(JobId),
    /// How does it stand?
    Watch(JobId),
    /// End it.
    Cancel(JobId),
    /// Do its failed tasks again.
    Retry(JobId),
    /// Remove it.
    Forget(JobId),
    /// As an admin: do this about a worker.
    Chore(usize),
}

/// What a client does about one wish.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) wish: Wish,
    client: usize,
    /// As it was submitted first: it is the same every time.
    sealed: Option<SealedSpec>,
    pub(super) job: Option<JobId>,
    pub(super) next: Next,
    /// Whether it is to be cancelled and nobody has confirmed that yet.
    cancelling: bool,
}

/// The next step of an errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Its time has not come.
    Wait,
    /// To be acknowledged.
    Submit,
    /// To be seen to its end.
    Watch,
    /// To be done again.
    Retry,
    /// To be removed.
    Forget,
    /// Nothing is left to do.
    Done,
}

impl ClientNode {
    /// One that has done nothing yet.
    pub(super) fn new(key: NodeId) -> Self {
        Self { key, link: None, dialing: None, open: BTreeMap::new() }
    }

    /// An answer to this request is an answer to that chore.
    pub(super) fn await_chore(&mut self, request: RequestId, chore: usize) {
        self.open.insert(request, (0, Question::Chore(chore)));
    }
}

impl Errand {
    /// One that has not begun.
    pub(super) fn new(wish: Wish, client: usize) -> Self {
        Self { wish, client, sealed: None, job: None, next: Next::Wait, cancelling: false }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.next == Next::Done && !self.cancelling
    }
}

impl Cluster {
    /// The time of a wish has come.
    pub(super) fn set_out(&mut self, number: usize) {
        let errand = &self.errands[number];
        let resolved = errand.wish.after.iter().filter_map(|(earlier, condition)| {
            let job = self.errands[*earlier].job?;
            Some(Dependency { job, condition: *condition })
        });
        let mut spec = errand.wish.spec.clone();
        spec.after = resolved.collect();
        let errand = &mut self.errands[number];
        errand.sealed = Some(SealedSpec::seal(spec));
        errand.next = Next::Submit;
        self.go_on(number);
    }

    /// The time to cancel a wish has come.
    pub(super) fn want_cancelled(&mut self, number: usize) {
        self.errands[number].cancelling = true;
        if let Some(job) = self.errands[number].job {
            self.ask(number, Question::Cancel(job));
        }
    }

    /// Every other `run` shows output of whatever attempt is live, again and again until it has finished.
    pub(super) fn output_shown(&mut self, number: usize) {
        let errand = &self.errands[number];
        let (Next::Watch, Some(job)) = (errand.next, errand.job) else { return };
        self.agenda.after(SHOWN_EVERY, Event::Shown(number));
        self.ask(number, Question::Shown(job));
    }

    /// A client has a link: everything unanswered is asked again.
    pub(super) fn client_linked(&mut self, client: usize) {
        self.clients[client].open.clear();
        self.take_up_chores(client);
        for number in 0..self.errands.len() {
            if self.errands[number].client == client {
                self.go_on(number);
                if let (true, Some(job)) = (self.errands[number].cancelling, self.errands[number].job) {
                    self.ask(number, Question::Cancel(job));
                }
            }
        }
    }

    /// A client's link is gone.
    pub(super) fn client_unlinked(&mut self, client: usize, link: LinkId) {
        let node = &mut self.clients[client];
        if node.link == Some(link) || node.dialing == Some(link) {
            node.link = None;
            node.dialing = None;
            node.open.clear();
            let pause = self.dice.network.mostly_short(1, 3_000);
            self.agenda.after(pause, Event::Dial(Party::Client(client)));
        }
    }

    /// Takes the next step of an errand.
    fn go_on(&mut self, number: usize) {
        let errand = &self.errands[number];
        let attached = errand.wish.spec.client_grace().is_some();
        match (errand.next, errand.job) {
            (Next::Submit, _) => self.ask(number, Question::Submit(number)),
            (Next::Watch, Some(job)) => {
                if attached {
                    let client = errand.client as u64;
                    self.ask(number, Question::Attach(job, client));
                }
                self.ask(number, Question::Watch(job));
            }
            (Next::Retry, Some(job)) => self.ask(number, Question::Retry(job)),
            (Next::Forget, Some(job)) => self.ask(number, Question::Forget(job)),
            (Next::Wait | Next::Done, _) => {}
            (next, None) => panic!("{next:?} without a job"),
        }
    }

    /// Asks, when there is a link; every request travels on a stream of its own, so that they overtake each other.
    fn ask(&mut self, number: usize, question: Question) {
        let client = self.errands[number].client;
        let Some(link) = self.clients[client].link else { return };
        self.requests += 1;
        let request = RequestId(self.requests);
        match question {
            Question::Retry(job) => self.ledger.retry_asked(job),
            Question::Forget(job) => _ = self.ledger.forgettable.insert(job),
            _ => {}
        }
        if !matches!(question, Question::Attach(..)) {
            self.clients[client].open.insert(request, (number, question));
        }
        let delay = self.network.delay(&mut self.dice.network);
        self.agenda.after(delay, Event::Ask(link, request, question));
    }

    /// A client is answered.
    pub(super) fn client_answered(&mut self, client: usize, request: RequestId, reply: Reply) {
        let Some((number, question)) = self.clients[client].open.get(&request).copied() else { return };
        if let Question::Chore(chore) = question {
            self.clients[client].open.remove(&request);
            return self.chore_answered(chore, request, &reply);
        }
        let answered = match (question, reply) {
            (Question::Watch(job), Reply::Progress(views)) => self.progress(number, job, &views),
            (Question::Submit(_), Reply::Submitted { job, .. }) => {
                self.acknowledged(number, job);
                true
            }
            (Question::Cancel(_), Reply::Changed(_) | Reply::Failed(_)) => {
                self.errands[number].cancelling = false;
                true
            }
            (Question::Shown(_), Reply::Done { .. } | Reply::Failed(_)) => true,
            (Question::Retry(_), Reply::Changed(_) | Reply::Failed(_)) => {
                self.turn_to(number, Next::Watch);
                true
            }
            (Question::Forget(job), Reply::Failed(Failure { code: FailureCode::Conflict, .. })) => {
                panic!("job {job} has ended and cannot be forgotten")
            }
            (Question::Forget(_), Reply::Changed(_) | Reply::Failed(_)) => {
                self.turn_to(number, Next::Done);
                true
            }
            (Question::Submit(_), Reply::Failed(failure)) => {
                let forgotten = self.errands[number]
                    .sealed
                    .iter()
                    .flat_map(|spec| &spec.spec().after)
                    .any(|it| self.ledger.forgettable.contains(&it.job));
                assert!(forgotten, "wish {number} is refused: {failure:?}");
                self.turn_to(number, Next::Done);
                true
            }
            (question, reply) => panic!("{question:?} of wish {number} is answered by {reply:?}"),
        };
        if answered {
            self.clients[client].open.remove(&request);
        }
    }

    fn turn_to(&mut self, number: usize, next: Next) {
        self.errands[number].next = next;
        self.go_on(number);
    }

    fn acknowledged(&mut self, number: usize, job: JobId) {
        let errand = &mut self.errands[number];
        let before = self.ledger.acknowledged.insert(errand.wish.key.clone(), job);
        assert!(before.is_none_or(|before| before == job), "wish {number} became jobs {before:?} and {job}");
        assert!(errand.job.is_none_or(|before| before == job), "wish {number} became another job");
        errand.job = Some(job);
        if let Some(after) = errand.wish.cancel.take() {
            self.agenda.after(after, Event::Cancel(number));
        }
        if errand.wish.spec.streams_to_client() && number.is_multiple_of(2) {
            self.agenda.after(SHOWN_EVERY, Event::Shown(number));
        }
        self.turn_to(number, Next::Watch);
    }

    /// Whether the watched job has ended.
    fn progress(&mut self, number: usize, job: JobId, views: &[JobView]) -> bool {
        let Some(view) = views.iter().find(|view| view.job == job) else { panic!("progress of other jobs") };
        let totals = view.tasks;
        let sum = totals.waiting + totals.ready + totals.running + totals.ended();
        assert_eq!(sum, totals.total, "job {job} is shown with tasks in no state or two: {totals:?}");
        if !view.state.is_terminal() {
            return false;
        }
        assert_eq!(totals.ended(), totals.total, "job {job} is shown as ended with tasks to do");
        self.ledger.shown.insert(job, view.state);
        let wish = &mut self.errands[number].wish;
        let next = if std::mem::take(&mut wish.retry) {
            Next::Retry
        } else if wish.forget && self.may_forget(job) {
            Next::Forget
        } else {
            Next::Done
        };
        self.turn_to(number, next);
        true
    }

    /// Forgetting a job that another one waits for is a case of its own; it is not asked for here.
    fn may_forget(&self, job: JobId) -> bool {
        let waits = |errand: &Errand| {
            !errand.is_done() && errand.wish.after.iter().any(|(it, _)| self.errands[*it].job == Some(job))
        };
        !self.errands.iter().any(waits)
    }

    /// A request arrives; the dispatcher's shell answers from its store what the engine does not know.
    pub(super) fn asked(&mut self, link: LinkId, request: RequestId, question: Question) {
        if !self.network.peek(link).is_some_and(|known| known.known_above) {
            return;
        }
        let Some(engine) = &self.dispatcher.engine else { return };
        let store = &self.dispatcher.written;
        let known = |job: JobId| engine.knows(job);
        let call = match question {
            Question::Submit(number) => {
                let errand = &self.errands[number];
                let before =
                    store.job_by_key(self.clients[errand.client].key, &errand.wish.key).filter(|job| !known(*job));
                if let Some(job) = before {
                    return self.reply_from_store(link, request, Reply::Submitted { job, unplaceable: None });
                }
                let Some(spec) = errand.sealed.clone() else { panic!("wish {number} is submitted before its time") };
                let ended = |it: &Dependency| Some((it.job, store.jobs.get(&it.job)?.ended?));
                let ended_dependencies = spec.spec().after.iter().filter_map(ended).collect();
                let idempotency_key = errand.wish.key.clone();
                Call::Submit { submission: Submission { spec, idempotency_key, strict: false }, ended_dependencies }
            }
            Question::Watch(job) if !known(job) => {
                let Some(view) = store.view(job) else { panic!("job {job} is gone") };
                return self.reply_from_store(link, request, Reply::Progress(vec![view]));
            }
            Question::Watch(job) => Call::Watch(vec![job]),
            Question::Attach(job, client) => Call::Attach { job, client: ClientId(client), takes_over: false },
            Question::Shown(job) => {
                let rows = store.jobs.get(&job).into_iter().flat_map(|row| row.tasks.values());
                match rows.flat_map(|row| &row.live).next() {
                    Some(live) => Call::Unrepeatable { id: live.id, why: Unrepeatable::OutputPassedOn },
                    None => return self.reply_from_store(link, request, Reply::Done { affected: 0 }),
                }
            }
            Question::Cancel(job) => {
                let parts = vec![Part::Jobs(job, job)];
                Call::Cancel { parts, whose: Whose::Allowed, why: Cancellation::requested(None) }
            }
            Question::Retry(job) => {
                let parts = vec![Part::Jobs(job, job)];
                Call::Retry {
                    parts,
                    whose: Whose::Allowed,
                    failed_only: request.0.is_multiple_of(2),
                    recalled: store.recall(job).into_iter().collect(),
                }
            }
            Question::Forget(job) => {
                let jobs = store.jobs.get(&job).map(|row| (job, row.submitted.owner)).into_iter().collect();
                Call::Forget { jobs, whose: Whose::Own }
            }
            Question::Chore(number) => match self.chore_call(number, request) {
                Some(call) => call,
                None => return,
            },
        };
        if let Question::Retry(job) = question {
            self.permit_retry(job);
        }
        self.hear_above(link, Inbound::Request { request, call });
    }

    fn reply_from_store(&mut self, link: LinkId, request: RequestId, reply: Reply) {
        let reply = crate::engine::dispatcher::Outbound::Reply { request, reply };
        self.tell(link, reply);
    }

    /// Now and then a client closes a request stream before it is answered and asks again.
    pub(super) fn lose_patience(&mut self, client: usize) {
        let Some(link) = self.clients[client].link else { return };
        let open = std::mem::take(&mut self.clients[client].open);
        for (request, (number, question)) in open {
            self.agenda.after(Millis(1), Event::AskGone(link, request));
            match question {
                Question::Chore(chore) => self.ask_chore(chore),
                question => self.ask(number, question),
            }
        }
    }
}
