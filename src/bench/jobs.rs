//! The jobs of a bench: queued, waited for, forgotten.
//!
//! The one invariant: every job that was queued is in the list of open ones
//! until it is forgotten, so that whatever ends a bench can end its jobs.

use super::{Bench, BenchError};
use crate::model::outcome::Cancellation;
use crate::model::requests::Submission;
use crate::model::selector::{Part, Selector};
use crate::model::spec::{CommandLine, JobSpec, RetryPolicy, TimeLimit};
use crate::model::{JobId, Millis, SealedSpec, TaskState, ids};

/// Bytes of chance in an idempotency key.
const KEY_BYTES: usize = 16;
/// What a bench may take beyond its time before it is given up: a round that was begun is to be finished.
const GRACE: Millis = Millis::from_secs(5);
/// How long jobs that are of no use any more may take to be ended and removed.
const PARTING: Millis = Millis::from_secs(2);

impl Bench<'_> {
    /// A job of this bench, to be filled in.
    pub(super) fn spec(&self, command: CommandLine) -> JobSpec {
        let here = [("os", std::env::consts::OS), ("arch", std::env::consts::ARCH)];
        JobSpec {
            name: Some("octaskly bench".to_owned()),
            labels: here.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            // A bench that was killed leaves nothing that runs for long; one that lives gives up before its tasks do.
            time_limit: TimeLimit::Limited(Millis(self.give_up_after().0.saturating_add(GRACE.0))),
            retry: RetryPolicy { limit: Some(0), ..RetryPolicy::default() },
            ..JobSpec::single(command)
        }
    }

    /// Queues a job; returns once it is durable.
    pub(super) async fn submit(&self, spec: &SealedSpec) -> Result<JobId, BenchError> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(BenchError::Random)?;
        let idempotency_key = ids::base32_text(&key);
        let submission = Submission { spec: spec.clone(), idempotency_key, strict: false };
        let job = self.client.submit(submission).await?.job;
        self.with_open(|open| open.push(job));
        Ok(job)
    }

    /// Waits until a job has ended, and all of it well.
    pub(super) async fn ended(&self, job: JobId) -> Result<(), BenchError> {
        let mut watch = self.client.watch(vec![job]).await?;
        while let Some(news) = watch.next().await? {
            let Some(view) = news.into_iter().find(|view| view.job == job) else { continue };
            if view.state.is_terminal() {
                let failed = view.tasks.total - view.tasks.succeeded;
                return if view.state == TaskState::Succeeded {
                    Ok(())
                } else {
                    Err(BenchError::TasksFail { job, failed })
                };
            }
        }
        Err(crate::client::ClientError::NoReply.into())
    }

    /// Both; gives up when the bench has taken longer than it may.
    pub(super) async fn run(&self, spec: &SealedSpec) -> Result<JobId, BenchError> {
        self.in_time(async {
            let job = self.submit(spec).await?;
            self.ended(job).await?;
            Ok(job)
        })
        .await
    }

    /// What `work` comes to, unless the bench takes longer than it may.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
        let deadline = self.clock.deadline(self.begun + self.give_up_after());
        tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(BenchError::TooSlow(self.give_up_after())))
    }

    /// Removes what has ended, all of it.
    pub(super) async fn forget(&self) -> Result<(), BenchError> {
        let Some(selected) = self.selected() else { return Ok(()) };
        self.client.forget(selected).await?;
        self.with_open(Vec::clear);
        Ok(())
    }

    /// Ends and removes whatever this bench has left in the queue, as far as that can be done in two seconds.
    pub async fn abandon(&self) {
        let Some(selected) = self.selected() else { return };
        let parting = async {
            let why = Cancellation::requested(Some("the bench is over".to_owned()));
            self.client.cancel(selected.clone(), why).await?;
            let jobs = self.with_open(|open| open.clone());
            let mut watch = self.client.watch(jobs).await?;
            while watch.next().await?.is_some() {}
            self.client.forget(selected).await
        };
        // Nobody is left to hear about it; what stays is in `octaskly list` under the bench's name.
        let _ = tokio::time::timeout(PARTING.as_duration(), parting).await;
    }

    fn selected(&self) -> Option<Selector> {
        let parts: Vec<Part> = self.with_open(|open| open.iter().map(|job| Part::Jobs(*job, *job)).collect());
        (!parts.is_empty()).then_some(Selector::These(parts))
    }

    fn give_up_after(&self) -> Millis {
        Millis(self.plan.time.0.saturating_add(self.plan.time.0).saturating_add(GRACE.0))
    }
}
