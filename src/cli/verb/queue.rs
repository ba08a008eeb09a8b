//! Queueing the job that `run` and `submit` describe.
//!
//! The one invariant: however often the link breaks, one plan makes one job:
//! every repetition carries the same idempotency key.

use super::last;
use crate::cli::error::CliError;
use crate::cli::output::meter::{FileMeter, Moving};
use crate::cli::output::text;
use crate::cli::resolve::{After, JobPlan};
use crate::cli::session::Session;
use crate::client::Submitted;
use crate::client::files::Luggage;
use crate::model::files::{BlobWish, InputSource};
use crate::model::requests::Submission;
use crate::model::spec::Dependency;
use crate::model::{SealedSpec, ids};

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
