//! Whether the client of a `run` is there.
//!
//! Invariant: a job that needs its client, and has not had it for a minute, is
//! cancelled. Absent: what flows between client and task (the shell's).

use super::job::Attendance;
use super::timers::Timer;
use super::{DispatcherEngine, Peer};
use crate::model::limits::CLIENT_GONE_AFTER;
use crate::model::outcome::Cancellation;
use crate::model::{JobId, LinkId, Timestamp};

impl DispatcherEngine {
    /// The client of a job is on this link.
    pub(super) fn attached(&mut self, link: LinkId, id: JobId) {
        if self.check_owner(link, id).is_err() {
            return;
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.attendance == Attendance::NotNeeded {
            return;
        }
        job.attendance = Attendance::Here(link);
        if let Some(Peer::Client { attending, .. }) = self.links.get_mut(&link) {
            attending.insert(id);
        }
    }

    /// The client of a job is no longer on this link.
    pub(super) fn detached(&mut self, now: Timestamp, link: LinkId, id: JobId) {
        if let Some(Peer::Client { attending, .. }) = self.links.get_mut(&link) {
            attending.remove(&id);
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.attendance == Attendance::Here(link) {
            job.attendance = Attendance::GoneSince(now);
            self.timers.set(now + CLIENT_GONE_AFTER, Timer::ClientGone(id));
        }
    }

    /// The client of a job may have been gone for too long.
    pub(super) fn check_attendance(&mut self, now: Timestamp, id: JobId) {
        let gone = self.jobs.get(id).map(|job| job.attendance);
        if matches!(gone, Some(Attendance::GoneSince(since)) if since + CLIENT_GONE_AFTER <= now) {
            self.cancel_job(now, id, &Cancellation::ClientGone);
        }
    }
}
