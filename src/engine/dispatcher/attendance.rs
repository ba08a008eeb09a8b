//! Which process is the client of a job, and what happens when it is gone.
//!
//! Invariant: a job that needs a client, and has had none for its grace, is
//! cancelled; the time that the dispatcher stood still or was down does not
//! count. At most one process is the client of a job. Absent: what flows between
//! client and task (the shell's).

use super::job::Job;
use super::timers::Timer;
use super::watch::WatcherId;
use super::{DispatcherEngine, Peer};
use crate::model::limits::CLIENT_RETURN;
use crate::model::outcome::Cancellation;
use crate::model::requests::{Failure, FailureCode, Reply};
use crate::model::{ClientId, JobId, Millis, Timestamp};

/// The client of a job.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// How long the job goes on without one; `None` when it needs none.
    pub(super) grace: Option<Millis>,
    /// Who attached last.
    client: Option<ClientId>,
    /// The request by which that is attached, while it is.
    pub(super) here: Option<WatcherId>,
    /// When the job is cancelled, unless a client attaches before. Set exactly while one is needed and none is here.
    pub(super) away_until: Option<Timestamp>,
}

impl DispatcherEngine {
    /// A job was submitted by a request: whoever made that is about to attach.
    pub(super) fn submitted_by(&mut self, id: JobId, request: WatcherId) {
        let attendance = &mut self.jobs.at_mut(id).attendance;
        if attendance.grace.is_some() && attendance.here.is_none() {
            self.set_here(id, None, request);
        }
    }

    /// A client attaches to a job until its request is gone or another takes over, which is told by a second reply. To a
    /// job that has ended there is nothing to attach.
    pub(super) fn attach(
        &mut self,
        request: WatcherId,
        id: JobId,
        client: ClientId,
        takes_over: bool,
    ) -> Result<Reply, Failure> {
        self.check_owner(request.link, id)?;
        let Some(job) = self.jobs.get(id).filter(|job| job.ended_at.is_none()) else {
            return Ok(Reply::Done { affected: 0 });
        };
        let Attendance { client: before, here, .. } = job.attendance;
        let other = here.filter(|_| before.is_some_and(|before| before != client));
        match other {
            Some(_) if !takes_over => return Err(taken(id, "is attached")),
            Some(other) => self.outbox.reply(other.link, other.request, Reply::Failed(taken(id, "has taken over"))),
            None => {}
        }
        self.set_here(id, Some(client), request);
        Ok(Reply::Done { affected: 1 })
    }

    fn set_here(&mut self, id: JobId, client: Option<ClientId>, request: WatcherId) {
        let attendance = &mut self.jobs.at_mut(id).attendance;
        attendance.client = client.or(attendance.client);
        attendance.away_until = None;
        let before = attendance.here.replace(request);
        for (asked, is_here) in before.map(|before| (before, false)).into_iter().chain([(request, true)]) {
            if let Some(Peer::Client { attending, .. }) = self.links.get_mut(&asked.link) {
                if is_here {
                    attending.insert(asked.request, id)
                } else {
                    attending.remove(&asked.request)
                };
            }
        }
        self.jobs.away.remove(&id);
    }

    /// A request is gone, and with it the client that attached by it.
    pub(super) fn detach(&mut self, now: Timestamp, request: WatcherId) {
        if let Some(Peer::Client { attending, .. }) = self.links.get_mut(&request.link)
            && let Some(id) = attending.remove(&request.request)
        {
            self.client_left(now, id, request);
        }
    }

    /// The client that attached to a job by this request is gone.
    pub(super) fn client_left(&mut self, now: Timestamp, id: JobId, request: WatcherId) {
        let Some(job) = self.jobs.get_mut(id).filter(|job| job.attendance.here == Some(request)) else { return };
        job.attendance.here = None;
        if let Some(grace) = job.attendance.grace {
            self.expect_client(id, now + grace);
        }
    }

    /// After a restart a job has to find its client again, which cannot have come before.
    pub(super) fn await_client(&mut self, now: Timestamp, id: JobId) {
        if let Some(grace) = self.jobs.at(id).attendance.grace {
            self.expect_client(id, now + grace.max(CLIENT_RETURN));
        }
    }

    fn expect_client(&mut self, id: JobId, until: Timestamp) {
        self.jobs.at_mut(id).attendance.away_until = Some(until);
        self.jobs.away.insert(id);
        self.timers.set(until, Timer::ClientGone(id));
    }

    /// No client could come while the dispatcher stood still.
    pub(super) fn excuse_clients(&mut self, gap: Millis) {
        for id in self.jobs.away.clone() {
            if let Some(until) = self.jobs.at(id).attendance.away_until {
                self.expect_client(id, until + gap);
            }
        }
    }

    /// The client of a job may have been gone for too long.
    pub(super) fn check_attendance(&mut self, now: Timestamp, id: JobId) {
        let until = self.jobs.get(id).and_then(|job| job.attendance.away_until);
        if until.is_some_and(|until| until <= now) {
            self.needs_no_client(id);
            self.cancel_job(now, id, &Cancellation::ClientGone);
        }
    }

    /// A job has ended, is being cancelled for want of a client, or goes on without one.
    pub(super) fn needs_no_client(&mut self, id: JobId) {
        let attendance = &mut self.jobs.at_mut(id).attendance;
        attendance.grace = None;
        attendance.away_until = None;
        self.jobs.away.remove(&id);
    }

    /// Panics with what is broken about a job's client.
    pub(super) fn check_client(&self, id: JobId, job: &Job) {
        let Attendance { grace, here, away_until, .. } = job.attendance;
        assert_eq!(away_until.is_some(), grace.is_some() && here.is_none(), "the client of job {id} is here and away");
        assert_eq!(away_until.is_some(), self.jobs.away.contains(&id), "the client of job {id} is not looked for");
        if let Some(until) = away_until {
            assert!(self.timers.is_set(Timer::ClientGone(id), until), "nobody counts how long a client is gone");
        }
        if let Some(here) = here {
            let known = matches!(self.links.get(&here.link),
                Some(Peer::Client { attending, .. }) if attending.get(&here.request) == Some(&id));
            assert!(known, "the client of job {id} is on a link that does not know it");
        }
    }
}

fn taken(job: JobId, what: &str) -> Failure {
    Failure {
        code: FailureCode::Conflict,
        text: format!("another client {what}: job {job} has one at a time"),
        hint: Some(format!("`octaskly attach {job}` takes over; `octaskly logs -f {job}` only looks")),
    }
}
