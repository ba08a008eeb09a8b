//! Effects on their way out.
//!
//! Invariant: of what is said to one worker in one batch, assignments go in one
//! message (or as many as [`MAX_BATCH`] asks for), behind the specs they name
//! and before any cancel of them. Absent: when anything is durable; the shell
//! holds `messages_after_sync` back.

use std::collections::BTreeMap;

use super::{CloseReason, DispatcherEffects, Notice, Outbound};
use crate::model::limits::MAX_BATCH;
use crate::model::messages::{Assignment, CancelAttempt, DispatcherMessage, FencedAttempt, JobOnWorker};
use crate::model::offload::GrantedAttempt;
use crate::model::records::Record;
use crate::model::requests::Reply;
use crate::model::{JobId, LinkId, RequestId};

/// Specs go in one message until they are this large together, so that a
/// message of several stays far below the largest frame.
const LEARN_BYTES: usize = 4 * 1024 * 1024;

/// What waits to be said to one worker.
#[derive(Debug, Default)]
struct Mail {
    forget: Vec<JobId>,
    learn: Vec<JobOnWorker>,
    assign: Vec<Assignment>,
    cancel: Vec<CancelAttempt>,
    assign_after_sync: Vec<Assignment>,
    cancel_after_sync: Vec<CancelAttempt>,
    retract: Vec<FencedAttempt>,
    grant: Vec<GrantedAttempt>,
    account: Vec<FencedAttempt>,
    recorded: Vec<FencedAttempt>,
}

/// Everything that waits to be done.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    records: Vec<Record>,
    notices: Vec<Notice>,
    messages: Vec<(LinkId, Outbound)>,
    after_sync: Vec<(LinkId, Outbound)>,
    mail: BTreeMap<LinkId, Mail>,
}

impl Outbox {
    /// Writes a fact down.
    pub(super) fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Tells people.
    pub(super) fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Says something once this batch is written.
    pub(super) fn send(&mut self, link: LinkId, message: Outbound) {
        self.messages.push((link, message));
    }

    /// Says something once all that was written so far is durable.
    pub(super) fn send_after_sync(&mut self, link: LinkId, message: Outbound) {
        self.after_sync.push((link, message));
    }

    /// Answers a request with what needs no disk.
    pub(super) fn reply(&mut self, link: LinkId, request: RequestId, reply: Reply) {
        self.messages.push((link, Outbound::Reply { request, reply }));
    }

    /// Answers a request once all that was written so far is durable.
    pub(super) fn reply_after_sync(&mut self, link: LinkId, request: RequestId, reply: Reply) {
        self.after_sync.push((link, Outbound::Reply { request, reply }));
    }

    /// Closes a link, with nothing further said on it.
    pub(super) fn close(&mut self, link: LinkId, reason: CloseReason, text: &str) {
        self.drop_mail(link);
        self.messages.push((link, Outbound::Close { reason, text: text.to_owned() }));
    }

    /// The link is gone: what waits for it can wait no longer.
    pub(super) fn drop_mail(&mut self, link: LinkId) {
        self.mail.remove(&link);
    }

    fn mail(&mut self, link: LinkId) -> &mut Mail {
        self.mail.entry(link).or_default()
    }

    /// Sends a spec.
    pub(super) fn learn(&mut self, link: LinkId, job: JobOnWorker) {
        self.mail(link).learn.push(job);
    }

    /// Hands out an attempt.
    pub(super) fn assign(&mut self, link: LinkId, assignment: Assignment, after_sync: bool) {
        let mail = self.mail(link);
        if after_sync { &mut mail.assign_after_sync } else { &mut mail.assign }.push(assignment);
    }

    /// Ends an attempt; after sync when its assignment was, lest the order overtakes it.
    pub(super) fn cancel(&mut self, link: LinkId, cancel: CancelAttempt, after_sync: bool) {
        let mail = self.mail(link);
        if after_sync { &mut mail.cancel_after_sync } else { &mut mail.cancel }.push(cancel);
    }

    /// Wants an attempt back that waits on its worker.
    pub(super) fn retract(&mut self, link: LinkId, attempt: FencedAttempt) {
        self.mail(link).retract.push(attempt);
    }

    /// Lets an attempt be handed on.
    pub(super) fn grant(&mut self, link: LinkId, granted: GrantedAttempt) {
        self.mail(link).grant.push(granted);
    }

    /// Asks for an attempt that was handed over.
    pub(super) fn account(&mut self, link: LinkId, attempt: FencedAttempt) {
        self.mail(link).account.push(attempt);
    }

    /// Thanks for a result once it is durable.
    pub(super) fn recorded(&mut self, link: LinkId, attempt: FencedAttempt) {
        self.mail(link).recorded.push(attempt);
    }

    /// Takes a spec back.
    pub(super) fn forget_job(&mut self, link: LinkId, job: JobId) {
        let mail = self.mail(link);
        mail.learn.retain(|learn| learn.job != job);
        mail.forget.push(job);
    }

    /// Everything so far.
    pub(super) fn take(&mut self) -> DispatcherEffects {
        let mut effects = DispatcherEffects {
            records: std::mem::take(&mut self.records),
            messages: std::mem::take(&mut self.messages),
            messages_after_sync: std::mem::take(&mut self.after_sync),
            notices: std::mem::take(&mut self.notices),
        };
        for (link, mail) in std::mem::take(&mut self.mail) {
            mail.deliver(link, &mut effects);
        }
        effects
    }
}

impl Mail {
    fn deliver(self, link: LinkId, effects: &mut DispatcherEffects) {
        let now = &mut effects.messages;
        batches(link, self.forget, DispatcherMessage::ForgetJobs, now);
        for jobs in by_size(self.learn) {
            batches(link, jobs, DispatcherMessage::Learn, now);
        }
        batches(link, self.assign, DispatcherMessage::Assign, now);
        batches(link, self.grant, DispatcherMessage::Grant, now);
        batches(link, self.retract, DispatcherMessage::Retract, now);
        batches(link, self.account, DispatcherMessage::Account, now);
        batches(link, self.cancel, DispatcherMessage::Cancel, now);
        let later = &mut effects.messages_after_sync;
        batches(link, self.assign_after_sync, DispatcherMessage::Assign, later);
        batches(link, self.cancel_after_sync, DispatcherMessage::Cancel, later);
        batches(link, self.recorded, DispatcherMessage::Recorded, later);
    }
}

/// Appends `entries` as messages of at most [`MAX_BATCH`] each; none when there are none.
fn batches<T>(
    link: LinkId,
    mut entries: Vec<T>,
    message: impl Fn(Vec<T>) -> DispatcherMessage,
    messages: &mut Vec<(LinkId, Outbound)>,
) {
    while !entries.is_empty() {
        let rest = if entries.len() > MAX_BATCH { entries.split_off(MAX_BATCH) } else { Vec::new() };
        messages.push((link, Outbound::ToWorker(message(entries))));
        entries = rest;
    }
}

/// Splits specs into runs of about [`LEARN_BYTES`]; a larger one goes alone.
fn by_size(jobs: Vec<JobOnWorker>) -> Vec<Vec<JobOnWorker>> {
    let mut runs: Vec<Vec<JobOnWorker>> = Vec::new();
    let mut room = 0;
    for job in jobs {
        let size = job.spec.encoded().len();
        match runs.last_mut() {
            Some(run) if size <= room => {
                room -= size;
                run.push(job);
            }
            _ => {
                room = LEARN_BYTES.saturating_sub(size);
                runs.push(vec![job]);
            }
        }
    }
    runs
}
