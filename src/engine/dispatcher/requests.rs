//! What clients ask, and whether they may.
//!
//! Invariant: an admin may touch every job, a client its own; `all` means the
//! asker's own for both. A request that names a job of another owner by its
//! number fails as a whole, a range leaves it out. Absent: selectors (the shell resolves them) and listings (the
//! store's).

use std::collections::{BTreeMap, BTreeSet};

use super::watch::WatcherId;
use super::{Call, Change, DispatcherEngine, Notice, Peer, Whose};
use crate::model::limits::MAX_REASON_BYTES;
use crate::model::outcome::Cancellation;
use crate::model::requests::{Changes, Failure, FailureCode, Reply};
use crate::model::selector::{Part, whole_jobs};
use crate::model::{Actor, JobId, LinkId, NodeId, RequestId, Role, TaskId, Timestamp};

/// What a part means here. Whole jobs come first, each kind in order of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A whole job in memory.
    Job(JobId),
    /// One of its tasks, by position.
    Task(JobId, u64),
}

/// What a request has changed so far.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Tasks; of forgotten jobs, these.
    affected: u64,
    /// The jobs and their owners.
    owners: BTreeMap<JobId, NodeId>,
}

impl Touched {
    /// Counts what was changed of a job of `owner`, if that was anything.
    pub(super) fn add(&mut self, job: JobId, owner: NodeId, affected: u64) {
        if affected > 0 {
            self.affected += affected;
            self.owners.insert(job, owner);
        }
    }
}

/// A failure with nothing to be done about it.
pub(super) fn failure(code: FailureCode, text: String) -> Failure {
    Failure { code, text, hint: None }
}

impl DispatcherEngine {
    /// A client asks.
    pub(super) fn request(&mut self, now: Timestamp, link: LinkId, request: RequestId, call: Call) {
        if let Err(failure) = self.check_privilege(link, &call) {
            return self.outbox.reply(link, request, Reply::Failed(failure));
        }
        let answered = match call {
            Call::Submit { submission, ended_dependencies } => self
                .submit(now, WatcherId { link, request }, &submission, &ended_dependencies)
                .map(|reply| (reply, true)),
            Call::Watch(jobs) => match self.watch(now, WatcherId { link, request }, &jobs) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Call::Attach { job, client, takes_over } => {
                self.attach(WatcherId { link, request }, job, client, takes_over).map(|reply| (reply, false))
            }
            Call::Unrepeatable { id, why } => self.make_unrepeatable(link, id, why).map(|reply| (reply, false)),
            Call::Cancel { parts, whose, why } => {
                self.cancel(now, link, (&parts, whose), why).map(|reply| (reply, true))
            }
            Call::Retry { parts, whose, failed_only, recalled } => {
                self.retry(now, link, (&parts, whose), failed_only, recalled).map(|reply| (reply, true))
            }
            Call::Forget { jobs, whose } => self.forget_jobs(now, link, &jobs, whose).map(|reply| (reply, true)),
            Call::Explain(parts) => self.explain(link, &parts).map(|list| (Reply::Explained(list), false)),
            Call::Workers => Ok((Reply::Workers(self.workers(now)), false)),
            Call::Status => Ok((Reply::Status(self.status(now)), false)),
            Call::Approve { link } => self.approve(now, link).map(|reply| (reply, true)),
            Call::Revoke { name, kind } => self.revoke(now, link, &name, kind).map(|reply| (reply, true)),
            Call::Clients => Ok((self.clients(now), false)),
            Call::RenameClient { from, to } => self.rename(link, &from, &to).map(|reply| (reply, true)),
            Call::CreateToken(wanted) => self.create_token(now, wanted).map(|reply| (reply, true)),
            Call::Tokens => Ok((self.list_tokens(now), false)),
            Call::RevokeToken(id) => self.revoke_token(id).map(|reply| (reply, true)),
            Call::Drain { name, draining } => self.drain(now, link, &name, draining).map(|reply| (reply, true)),
        };
        match answered {
            Ok((reply, true)) => self.outbox.reply_after_sync(link, request, reply),
            Ok((reply, false)) => self.outbox.reply(link, request, reply),
            Err(failure) => self.outbox.reply(link, request, Reply::Failed(failure)),
        }
    }

    /// Who asks on a client's link.
    pub(super) fn asker(&self, link: LinkId) -> (NodeId, Role) {
        match self.links.get(&link) {
            Some(Peer::Client { node, role, .. }) => (*node, *role),
            _ => unreachable!("a request came on a link that is no client's"),
        }
    }

    /// The same as it is noted down.
    pub(super) fn actor(&self, link: LinkId) -> Actor {
        self.registry.actor(self.asker(link).0.key_no())
    }

    /// Whether the asker means a job of this owner, and may touch it.
    fn means(&self, link: LinkId, owner: NodeId, whose: Whose) -> bool {
        self.may_touch(link, owner) && (whose != Whose::Own || self.asker(link).0 == owner)
    }

    /// Whether the asker may touch a job of this owner.
    pub(super) fn may_touch(&self, link: LinkId, owner: NodeId) -> bool {
        let (node, role) = self.asker(link);
        role == Role::Admin || node == owner
    }

    /// Refuses whoever may not touch a job that is here.
    pub(super) fn check_owner(&self, link: LinkId, job: JobId) -> Result<(), Failure> {
        match self.jobs.get(job) {
            Some(known) if !self.may_touch(link, known.submitted.owner) => Err(forbidden(job)),
            _ => Ok(()),
        }
    }

    /// What parts mean among the jobs in memory, each once; what is not here has ended and is left out.
    pub(super) fn targets(&self, link: LinkId, parts: &[Part], whose: Whose) -> Result<BTreeSet<Target>, Failure> {
        let mut targets = BTreeSet::new();
        for part in parts {
            match part {
                Part::Task(task) => targets.extend(self.task_target(link, *task)?),
                Part::Jobs(first, last) if first == last => self.check_owner(link, *first)?,
                Part::Jobs(..) => {}
            }
        }
        for (first, last) in whole_jobs(parts).ranges() {
            let jobs = self.jobs.range(JobId(first), JobId(last));
            let meant = jobs.filter(|job| self.means(link, job.submitted.owner, whose));
            targets.extend(meant.map(|job| Target::Job(job.id())));
        }
        Ok(targets)
    }

    fn task_target(&self, link: LinkId, task: TaskId) -> Result<Option<Target>, Failure> {
        self.check_owner(link, task.job)?;
        let Some(job) = self.jobs.get(task.job) else { return Ok(None) };
        match job.spec().items.position_of(task.index) {
            Some(position) => Ok(Some(Target::Task(task.job, position))),
            None => Err(failure(FailureCode::NotFound, format!("job {} has no task {}", task.job, task.index.0))),
        }
    }

    fn cancel(
        &mut self,
        now: Timestamp,
        link: LinkId,
        (parts, whose): (&[Part], Whose),
        why: Cancellation,
    ) -> Result<Reply, Failure> {
        let reason = why.reason().map(str::to_owned);
        if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
            let text = format!("the reason has more than {MAX_REASON_BYTES} bytes");
            return Err(failure(FailureCode::Invalid, text));
        }
        let why = match why {
            // Whoever asks does not say who that is.
            Cancellation::Requested { reason, .. } => Cancellation::Requested { by: Some(self.actor(link)), reason },
            Cancellation::Interrupted => why,
            Cancellation::ClientGone | Cancellation::MaxFails | Cancellation::Superseded => {
                return Err(failure(FailureCode::Invalid, "no client cancels for this reason".to_owned()));
            }
        };
        let mut touched = Touched::default();
        for target in self.targets(link, parts, whose)? {
            let (job, affected) = match target {
                Target::Job(job) => (job, self.cancel_job(now, job, &why)),
                Target::Task(job, position) => (job, u64::from(self.cancel_task(now, job, position, &why))),
            };
            touched.add(job, self.jobs.at(job).submitted.owner, affected);
        }
        Ok(self.changed(link, Change::Cancelled, &touched, reason))
    }

    fn forget_jobs(
        &mut self,
        now: Timestamp,
        link: LinkId,
        jobs: &[(JobId, NodeId)],
        whose: Whose,
    ) -> Result<Reply, Failure> {
        let mut touched = Touched::default();
        for (id, owner) in jobs {
            let known = self.jobs.get(*id);
            let owner = known.map_or(*owner, |job| job.submitted.owner);
            if !self.means(link, owner, whose) {
                return Err(forbidden(*id));
            }
            if known.is_some_and(|job| job.ended_at.is_none()) {
                let text = format!("job {id} has not ended");
                let hint = Some(format!("octaskly cancel {id}"));
                return Err(Failure { code: FailureCode::Conflict, text, hint });
            }
            touched.owners.insert(*id, owner);
        }
        touched.affected = touched.owners.len() as u64;
        let by = self.actor(link);
        for id in touched.owners.keys() {
            self.forget(now, *id, Some(by.clone()));
        }
        Ok(self.changed(link, Change::Forgotten, &touched, None))
    }

    /// Tells the asker and the log what was changed.
    pub(super) fn changed(&mut self, link: LinkId, change: Change, touched: &Touched, reason: Option<String>) -> Reply {
        let mut changes = Changes { affected: touched.affected, ..Changes::default() };
        for owner in touched.owners.values() {
            let owners = vec![(self.registry.client_name(owner.key_no()), 1)];
            changes.add(Changes { jobs: 1, owners, ..Changes::default() });
        }
        if changes.affected > 0 {
            let (by, affected) = (self.actor(link).name, changes.affected);
            let jobs = touched.owners.keys().map(|job| job.0).collect();
            self.outbox.notice(Notice::JobsChanged { by, change, jobs, affected, reason });
        }
        Reply::Changed(changes)
    }
}

/// The refusal to touch somebody else's job.
pub(super) fn forbidden(job: JobId) -> Failure {
    failure(FailureCode::Forbidden, format!("job {job} belongs to somebody else"))
}
