//! Queueing the job that `run` and `submit` describe.
//!
//! The one invariant: however often the link breaks, one plan makes one job:
//! every repetition carries the same idempotency key.

use super::{last, wait};
use crate::cli::error::CliError;
use crate::cli::output::meter::{FileMeter, Moving};
use crate::cli::output::{say, text};
use crate::cli::resolve::{After, JobPlan};
use crate::cli::session::Session;
use crate::client::files::Luggage;
use crate::client::{Client, ClientError, Submitted};
use crate::model::files::{BlobWish, InputSource};
use crate::model::outcome::Cancellation;
use crate::model::requests::{JobFilter, OwnerFilter, Submission};
use crate::model::selector::Selector;
use crate::model::spec::Dependency;
use crate::model::views::JobView;
use crate::model::{JobId, JobSpec, SealedSpec, TaskState, ids};

/// Bytes of chance in a key that nobody gave: never twice the same.
const KEY_BYTES: usize = 16;

/// Queues `plan`, its files first, and returns once it is durable.
pub(super) async fn queue(session: &mut Session, plan: JobPlan) -> Result<Submitted, CliError> {
    bring(session, &plan.luggage).await?;
    submit(session, plan).await
}

/// Queues a plan whose files were brought.
pub(super) async fn submit(session: &mut Session, plan: JobPlan) -> Result<Submitted, CliError> {
    let idempotency_key = match plan.idempotency_key {
        Some(key) => key,
        None => random_key()?,
    };
    let mut spec = plan.spec;
    if plan.is_resumed {
        end_earlier(session, &spec).await?;
    }
    spec.after = dependencies(session, plan.after).await?;
    if !plan.of_last.is_empty() {
        let last = last::job(session.client()).await?;
        for place in plan.of_last {
            if let Some(InputSource::Output { job, .. }) = spec.inputs.get_mut(place).map(|input| &mut input.source) {
                *job = last;
            }
        }
    }
    let spec = SealedSpec::seal(spec);
    let submission = Submission { spec, idempotency_key, strict: plan.strict };
    loop {
        match session.client().submit(submission.clone()).await {
            Ok(submitted) => return Ok(submitted),
            Err(error) => session.reopen(error).await?,
        }
        // What was kept for us went with the link.
        bring(session, &plan.luggage).await?;
    }
}

/// Ends the jobs that an earlier command with the same job log has left: what has no row is this one's to do.
async fn end_earlier(session: &mut Session, spec: &JobSpec) -> Result<(), CliError> {
    let jobs = loop {
        match unfinished(session.client(), spec).await {
            Ok(jobs) => break jobs,
            Err(error) => session.reopen(error).await?,
        }
    };
    for job in &jobs {
        let text =
            format!("job {job}, which an earlier command with this job log left, is cancelled: this one goes on");
        say::note(session.is_quiet(), &text);
        let why = Cancellation::requested(Some("its job log was resumed".to_owned()));
        session.client().cancel(Selector::job(*job), why).await?;
    }
    if !jobs.is_empty() {
        wait::until_ended(session, jobs).await?;
    }
    Ok(())
}

/// Jobs of this client with the same log that have not ended.
async fn unfinished(client: &Client, spec: &JobSpec) -> Result<Vec<JobId>, ClientError> {
    let states = vec![TaskState::Waiting, TaskState::Ready, TaskState::Running];
    let title = spec.title();
    let mut found = Vec::new();
    for job in client.jobs(JobFilter { states, owner: Some(OwnerFilter::Me), ..JobFilter::default() }).await? {
        if job.name != title {
            continue;
        }
        let only = JobFilter { only: Some(Selector::job(job.job)), limit: 1, ..JobFilter::default() };
        let same = |job: &JobView| job.spec.as_ref().is_some_and(|other| other.spec().job_log == spec.job_log);
        if client.jobs(only).await?.iter().any(same) {
            found.push(job.job);
        }
    }
    Ok(found)
}

/// Has the dispatcher have every file that the job needs, and keep it while this link stands.
pub(super) async fn bring(session: &mut Session, luggage: &Luggage) -> Result<(), CliError> {
    let mut meter = FileMeter::new(Moving::Up, session.is_quiet());
    while !luggage.is_empty() {
        let client = session.client();
        let count = meter.count();
        let brought = async {
            let missing = client.missing(luggage.keys().copied()).await?;
            tell(&missing, luggage);
            meter.left(bytes_of(&missing));
            meter.meanwhile(client.upload(missing, luggage, &count)).await
        };
        match brought.await {
            Ok(()) => break,
            Err(error) => session.reopen(error).await?,
        }
    }
    meter.end();
    Ok(())
}

/// Says how much of what the job needs has to travel; each content counts once, however many files have it.
fn tell(missing: &[BlobWish], luggage: &Luggage) {
    let all = luggage.keys().fold(0u64, |total, blob| total.saturating_add(blob.bytes));
    let (few, many) = (missing.len(), luggage.len());
    tracing::debug!("Uploading {few} of {many} contents ({} of {})", text::bytes(bytes_of(missing)), text::bytes(all));
}

/// How many bytes these wishes want.
fn bytes_of(wishes: &[BlobWish]) -> u64 {
    wishes.iter().map(BlobWish::bytes).fold(0, u64::saturating_add)
}

/// What the plan waits for, `last` looked up.
async fn dependencies(session: &mut Session, after: Vec<After>) -> Result<Vec<Dependency>, CliError> {
    let mut found = Vec::with_capacity(after.len());
    for one in after {
        found.push(match one {
            After::Job(dependency) => dependency,
            After::Last(condition) => Dependency { job: last::job(session.client()).await?, condition },
        });
    }
    Ok(found)
}

fn random_key() -> Result<String, CliError> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(CliError::Random)?;
    Ok(ids::base32_text(&bytes))
}
