//! What clients ask, and whether they may.
//!
//! Invariant: an admin may touch every job, a client its own; a request that
//! names a job of somebody else by its number fails as a whole, a range leaves
//! them out. Absent: selectors (the shell resolves them) and listings (the
//! store's).

use std::collections::BTreeSet;

use super::watch::WatcherId;
use super::{Call, DispatcherEngine, Peer};
use crate::model::limits::MAX_REASON_BYTES;
use crate::model::outcome::Cancellation;
use crate::model::requests::{Failure, FailureCode, Reply};
use crate::model::selector::{Part, whole_jobs};
use crate::model::{JobId, LinkId, NodeId, RequestId, Role, TaskId, Timestamp};

/// What a part means here. Whole jobs come first, each kind in order of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A whole job in memory.
    Job(JobId),
    /// One of its tasks, by position.
    Task(JobId, u64),
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
            Call::Cancel { parts, why } => self.cancel(now, link, &parts, &why).map(|reply| (reply, true)),
            Call::Retry { parts, failed_only, recalled } => {
                self.retry(now, link, &parts, failed_only, recalled).map(|reply| (reply, true))
            }
            Call::Forget { jobs } => self.forget_jobs(link, &jobs).map(|reply| (reply, true)),
            Call::Explain(parts) => self.explain(link, &parts).map(|list| (Reply::Explained(list), false)),
            Call::Workers => Ok((Reply::Workers(self.workers(now)), false)),
            Call::Status => Ok((Reply::Status(self.status(now)), false)),
            Call::Approve { link } => self.approve(now, link).map(|reply| (reply, true)),
            Call::Revoke { name, kind } => self.revoke(now, link, &name, kind).map(|reply| (reply, true)),
            Call::Clients => Ok((self.clients(now), false)),
            Call::CreateToken { hash, role, uses, lifetime } => {
                self.create_token(now, hash, role, uses, lifetime).map(|reply| (reply, true))
            }
            Call::Tokens => Ok((self.list_tokens(now), false)),
            Call::RevokeToken(id) => self.revoke_token(id).map(|reply| (reply, true)),
            Call::Drain { name, draining } => self.drain(&name, draining).map(|reply| (reply, true)),
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
    pub(super) fn targets(&self, link: LinkId, parts: &[Part]) -> Result<BTreeSet<Target>, Failure> {
        let mut targets = BTreeSet::new();
        for part in parts {
            match part {
                Part::Task(task) => targets.extend(self.task_target(link, *task)?),
                Part::Jobs(first, last) if first == last => self.check_owner(link, *first)?,
                Part::Jobs(..) => {}
            }
        }
        for (first, last) in whole_jobs(parts).ranges() {
            let mine =
                self.jobs.range(JobId(first), JobId(last)).filter(|job| self.may_touch(link, job.submitted.owner));
            targets.extend(mine.map(|job| Target::Job(job.id())));
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

    fn cancel(&mut self, now: Timestamp, link: LinkId, parts: &[Part], why: &Cancellation) -> Result<Reply, Failure> {
        if matches!(why, Cancellation::Requested(Some(reason)) if reason.len() > MAX_REASON_BYTES) {
            let text = format!("the reason has more than {MAX_REASON_BYTES} bytes");
            return Err(failure(FailureCode::Invalid, text));
        }
        let mut affected = 0;
        for target in self.targets(link, parts)? {
            affected += match target {
                Target::Job(job) => self.cancel_job(now, job, why),
                Target::Task(job, position) => u64::from(self.cancel_task(now, job, position, why)),
            };
        }
        Ok(Reply::Done { affected })
    }

    fn forget_jobs(&mut self, link: LinkId, jobs: &[JobId]) -> Result<Reply, Failure> {
        for id in jobs {
            self.check_owner(link, *id)?;
            if self.jobs.get(*id).is_some_and(|job| job.ended_at.is_none()) {
                let text = format!("job {id} has not ended");
                let hint = Some(format!("octaskly cancel {id}"));
                return Err(Failure { code: FailureCode::Conflict, text, hint });
            }
        }
        let distinct: BTreeSet<JobId> = jobs.iter().copied().collect();
        for id in &distinct {
            self.forget(*id);
        }
        Ok(Reply::Done { affected: distinct.len() as u64 })
    }
}

/// The refusal to touch somebody else's job.
pub(super) fn forbidden(job: JobId) -> Failure {
    failure(FailureCode::Forbidden, format!("job {job} belongs to somebody else"))
}
