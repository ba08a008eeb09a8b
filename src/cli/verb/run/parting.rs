//! What a signal to a `run` does to its job, and what its user is told: what goes
//! on, what was cancelled, and the command to go on with.
//!
//! The rules: Ctrl-C and SIGTERM cancel, a second one leaves at once; SIGHUP, by
//! which a closed terminal or a lost connection says goodbye, leaves the job to
//! `octaskly attach`. An embedded cluster ends with us, so there all of them cancel.

use std::convert::Infallible;
use std::time::Duration;

use super::super::explain;
use super::super::interrupts::Interrupts;
use crate::cli::output::say;
use crate::cli::session::Handle;
use crate::client::ClientError;
use crate::model::outcome::Cancellation;
use crate::model::requests::{FailureCode, JobFilter};
use crate::model::selector::Selector;
use crate::model::{JobId, Millis};
use crate::node::EndSignal;

/// A job that has not begun after this long is worth a word.
const UNBEGUN: Duration = Duration::from_secs(1);

/// Between two tries to cancel a job.
const AGAIN: Duration = Duration::from_secs(1);

/// How a `run` and its job may part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parting {
    pub(super) job: JobId,
    /// How long the job goes on without a client; `None` is for ever.
    pub(super) grace: Option<Millis>,
    /// Whether we are its client, whose Ctrl-C cancels it.
    pub(super) is_client: bool,
    pub(super) is_embedded: bool,
    pub(super) quiet: bool,
}

impl Parting {
    /// Waits for the signal that makes us leave: SIGHUP, or the second of the others, the first of which cancels the job.
    pub(super) async fn interrupted(&self, interrupts: &mut Interrupts, handle: &Handle) -> EndSignal {
        let Self { job, quiet, .. } = *self;
        let signal = interrupts.first().await;
        if !self.is_client || signal == EndSignal::HangUp && !self.is_embedded {
            self.detach(signal);
            return signal;
        }
        say::note(quiet, &format!("{signal}: cancelling job {job}; once more leaves at once"));
        let mut is_cancelled = false;
        let second = tokio::select! {
            () = async {
                cancel(handle, job, Cancellation::Interrupted).await;
                is_cancelled = true;
                // Its end is waited for elsewhere.
                std::future::pending().await
            } => signal,
            second = interrupts.second() => second,
        };
        match (self.is_embedded, is_cancelled) {
            (true, _) => {}
            (false, true) => {
                say::note(quiet, &format!("job {job} is being cancelled: `octaskly wait {job}` waits for its end"))
            }
            (false, false) => {
                say::note(
                    quiet,
                    &format!("the dispatcher does not answer: `octaskly cancel {job}` cancels the job later"),
                );
            }
        }
        second
    }

    /// Says that the job goes on without us.
    pub(super) fn detach(&self, signal: EndSignal) {
        say::note(self.quiet, &format!("{signal}: {}", self.way_back()));
    }

    /// What goes on, and the command that returns to it.
    pub(super) fn way_back(&self) -> String {
        let job = self.job;
        match self.grace {
            Some(Millis(0)) => format!("job {job} is cancelled when its client is gone"),
            Some(grace) => format!("job {job} goes on; within {grace}, `octaskly attach {job}` returns to it"),
            None => format!("job {job} goes on; `octaskly attach {job}` returns to it"),
        }
    }

    /// Says after a second why the job has not begun, if it has not. Never ends.
    pub(super) async fn explain_waiting(&self, handle: &Handle, is_told: bool) -> Infallible {
        tokio::time::sleep(UNBEGUN).await;
        if !is_told && let Some(reason) = self.why_waiting(handle).await {
            let more = format!(" (`octaskly explain {}` says more)", self.job);
            let more = if self.is_embedded { String::new() } else { more };
            say::note(self.quiet, &format!("job {} waits {reason}{more}", self.job));
        }
        std::future::pending().await
    }

    /// Why none of the job's tasks has begun; `None` when one has, or nobody can say.
    async fn why_waiting(&self, handle: &Handle) -> Option<String> {
        let client = handle.clone().client();
        let only = Selector::job(self.job);
        let filter = JobFilter { only: Some(only.clone()), limit: 1, ..JobFilter::default() };
        let job = client.jobs(filter).await.ok()?.into_iter().next()?;
        if job.tasks.running > 0 || job.tasks.ended() > 0 {
            return None;
        }
        explain::in_short(client.explain(only).await.ok()?.first()?)
    }
}

/// Cancels the job, over as many links as it takes.
pub(super) async fn cancel(handle: &Handle, job: JobId, why: Cancellation) {
    let mut handle = handle.clone();
    loop {
        let client = handle.client();
        match client.cancel(Selector::job(job), why.clone()).await {
            // Over the next link, or over this one when only the request was cut off.
            Err(error) if error.is_transient() => drop(tokio::time::timeout(AGAIN, handle.renewed()).await),
            Err(ClientError::Failed(failure)) if failure.code == FailureCode::Internal => {
                tokio::time::sleep(AGAIN).await;
            }
            // Done, or there is nothing to be done about it.
            _ => return,
        }
    }
}
