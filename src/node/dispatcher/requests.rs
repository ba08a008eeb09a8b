//! What clients ask: each request read from its stream, answered there.
//!
//! The one invariant: whatever is asked by number is looked up as its asker
//! sees it, so what is not his does not exist for him. Listings come from the
//! store alone; what changes the queue goes to the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{debug, warn};

use super::event::Question;
use super::outlet::Outlet;
use super::shell::{Asker, Shell};
use super::{administration, bulk, examine, files, logs, relay};
use crate::engine::dispatcher::{Call, WantedToken, check_repeated, check_submission, disk_is_full};
use crate::model::limits::{MAX_FRAME, MAX_ROWS};
use crate::model::records::DiskSpace;
use crate::model::requests::{Failure, FailureCode, JobFilter, OwnerFilter, Reply, Request, Submission, TaskFilter};
use crate::model::selector::{Part, Selector};
use crate::model::views::JobView;
use crate::model::{JobId, NodeName, Role, SealedSpec};
use crate::store::{Reader, StoreError, Viewer};
use crate::transport::{FrameRecv, FrameSend, TransportError};
use crate::wire::WireError;

/// Owners that an error names.
const OWNERS_NAMED: usize = 20;

/// Why a request ends without what was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The client is told.
    #[error("{}", .0.text)]
    Refused(Failure),
    /// The client is told that the dispatcher failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client has gone.
    #[error(transparent)]
    Gone(TransportError),
    /// The client was cut off, or the dispatcher ends; it may ask again.
    #[error("answer: the request was cut off")]
    CutOff,
}

/// An answer that fits into no frame is refused: a client whose stream just
/// broke off would ask for the same answer for ever.
impl From<TransportError> for Trouble {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Wire(WireError::TooLong { length, cap }) => Self::refused(
                FailureCode::Internal,
                format!("the answer takes {length} bytes, and {cap} are the most"),
                Some("ask for fewer jobs at once"),
            ),
            other => Self::Gone(other),
        }
    }
}

impl Trouble {
    pub(super) fn refused(code: FailureCode, text: impl Into<String>, hint: Option<&str>) -> Self {
        Self::Refused(Failure { code, text: text.into(), hint: hint.map(str::to_owned) })
    }
}

/// Serves one stream of a client.
pub(super) async fn serve(shell: Arc<Shell>, asker: Asker, send: FrameSend, mut recv: FrameRecv) {
    let request = match recv.recv::<Request>(MAX_FRAME).await {
        Ok(Some(request)) => request,
        Ok(None) => return,
        // The transport has closed the link when that was no request.
        Err(error) => return debug!(peer = asker.node.short(), "A request did not come: failed to {error}"),
    };
    if let Request::Attach { task, client, takes_over, received, resends } = request {
        let wish = relay::Wish { task, client, takes_over, received, resends };
        return relay::attach(&shell, &asker, wish, send, recv).await;
    }
    let mut outlet = Outlet::new(send);
    let served = match request {
        Request::Watch(jobs) => watch(&shell, &asker, jobs, &mut outlet).await,
        Request::Logs(wish) => logs::serve(&shell, &asker, wish, &mut outlet).await,
        Request::Attend { job, client, takes_over } => {
            let call = Call::Attach { job, client, takes_over };
            relay::hold(&shell, &asker, call, &mut outlet, &mut recv).await
        }
        Request::FetchOutput { task, wishes } => files::fetch_output(&shell, &asker, task, wishes, &mut outlet).await,
        Request::UploadBlobs(wishes) => match files::upload_blobs(&shell, &asker, wishes, &mut recv).await {
            Ok(reply) => finish(&mut outlet, &reply).await,
            Err(trouble) => Err(trouble),
        },
        other => match answer(&shell, &asker, other).await {
            Ok(reply) => {
                if let Reply::Failed(failure) = &reply {
                    tell_trespass(&shell, &asker, failure);
                }
                finish(&mut outlet, &reply).await
            }
            Err(trouble) => Err(trouble),
        },
    };
    if let Err(trouble) = served {
        if let Trouble::Refused(failure) = &trouble {
            tell_trespass(&shell, &asker, failure);
        }
        report(trouble, &mut outlet).await;
    }
}

/// Tells people of a request beyond its asker's role, as of every other refusal.
fn tell_trespass(shell: &Shell, asker: &Asker, failure: &Failure) {
    if failure.code == FailureCode::Forbidden {
        let (id, from) = (asker.node.short(), asker.from);
        shell.refusals.say(format_args!("Refused a request of {} ({from}, id {id}): {}", asker.role, failure.text));
    }
}

/// Tells the client why it gets nothing, where it can still be told.
pub(super) async fn report(trouble: Trouble, outlet: &mut Outlet) {
    let failure = match trouble {
        Trouble::Refused(failure) => failure,
        Trouble::Store(error) => {
            warn!("A request could not be answered: failed to {error}");
            let text = format!("the dispatcher failed to {error}");
            Failure { code: FailureCode::Internal, text, hint: Some("its log may say more".to_owned()) }
        }
        Trouble::Gone(error) => return debug!("A request ended early: failed to {error}"),
        // A stream that breaks off tells the client to ask again.
        Trouble::CutOff => return,
    };
    let _ = outlet.fail(failure).await;
}

async fn finish(outlet: &mut Outlet, reply: &Reply) -> Result<(), Trouble> {
    outlet.reply(reply).await?;
    Ok(outlet.finish().await?)
}

/// Requests with one reply.
async fn answer(shell: &Shell, asker: &Asker, request: Request) -> Result<Reply, Trouble> {
    let viewer = asker.viewer();
    match request {
        Request::Submit(submission) => submit(shell, asker, submission).await,
        Request::Cancel { what, why } => bulk::cancel(shell, asker, what, why).await,
        Request::Retry { what, failed_only } => bulk::retry(shell, asker, what, failed_only).await,
        Request::Forget(what) => bulk::forget(shell, asker, what).await,
        Request::Jobs(filter) => jobs(shell, asker, filter).await,
        Request::Tasks(filter) => tasks(shell, viewer, filter).await,
        Request::Explain(what) => explain(shell, asker, what).await,
        Request::Blobs(blobs) => files::blobs(shell, asker, blobs).await,
        Request::Workers => match put(shell, asker, Call::Workers).await? {
            Reply::Workers(mut workers) => {
                shell.directory.complete(&mut workers);
                shell.joiners.complete(&mut workers);
                files::complete_draining(shell, &mut workers).await?;
                Ok(Reply::Workers(workers))
            }
            other => Ok(other),
        },
        Request::Peers => match put(shell, asker, Call::Workers).await? {
            Reply::Workers(roster) => {
                let mut peers = shell.neighbourhood.view(&roster, |node| shell.directory.is_connected(node));
                peers.truncate(MAX_ROWS as usize);
                Ok(Reply::Peers(peers))
            }
            other => Ok(other),
        },
        Request::Examine => examine::examine(shell, asker).await,
        Request::Status => match put(shell, asker, Call::Status).await? {
            Reply::Status(mut status) => {
                status.address = shell.address.to_string();
                status.files_bytes = shell.files.bytes();
                status.store_bytes = shell.history.read(Reader::bytes).await?;
                Ok(Reply::Status(status))
            }
            other => Ok(other),
        },
        Request::Approve { name, code } => administration::approve(shell, asker, name, &code).await,
        Request::CreateToken { role, name, uses, lifetime } => {
            administration::create_token(shell, asker, |hash| WantedToken { hash, role, name, uses, lifetime }).await
        }
        Request::RenameClient { from, to } => put(shell, asker, Call::RenameClient { from, to }).await,
        Request::Revoke { name, kind } => put(shell, asker, Call::Revoke { name, kind }).await,
        Request::Clients => put(shell, asker, Call::Clients).await,
        Request::Tokens => put(shell, asker, Call::Tokens).await,
        Request::RevokeToken(token) => put(shell, asker, Call::RevokeToken(token)).await,
        Request::Drain(name) => put(shell, asker, Call::Drain { name, draining: true }).await,
        Request::Resume(name) => put(shell, asker, Call::Drain { name, draining: false }).await,
        // Served before: they have more than one reply.
        Request::Watch(_)
        | Request::Attach { .. }
        | Request::Attend { .. }
        | Request::Logs(_)
        | Request::UploadBlobs(_)
        | Request::FetchOutput { .. } => Err(Trouble::CutOff),
    }
}

/// One question to the engine, one reply. While nothing can be written it would wait for that, and is refused instead.
pub(super) async fn put(shell: &Shell, asker: &Asker, question: impl Into<Question>) -> Result<Reply, Trouble> {
    if shell.history.disk() == DiskSpace::Nothing {
        return Err(Trouble::Refused(disk_is_full()));
    }
    shell.ask(asker, question.into()).await.reply().await.ok_or(Trouble::CutOff)
}

async fn submit(shell: &Shell, asker: &Asker, submission: Submission) -> Result<Reply, Trouble> {
    // Before anything is looked up for it.
    check_submission(&submission).map_err(Trouble::Refused)?;
    files::check_inputs(shell, asker, submission.spec.spec()).await?;
    let node = asker.node;
    let sent = submission.clone();
    let after: Vec<JobId> = submission.spec.spec().after.iter().map(|dependency| dependency.job).collect();
    let look_up = move |reader: &Reader| {
        let mut ended = BTreeMap::new();
        for job in after {
            if let Some(state) = reader.ended(job)? {
                ended.insert(job, state);
            }
        }
        let earlier = match reader.job_by_key(node, &sent.idempotency_key)? {
            Some(job) => reader.spec(job)?.map(|spec| Box::new((job, answer_again(&sent, job, &spec)))),
            None => None,
        };
        Ok((earlier, ended))
    };
    let (earlier, ended_dependencies) = shell.history.read(look_up).await?;
    let call = Call::Submit { submission, ended_dependencies };
    put(shell, asker, Question { call, earlier }).await
}

/// To a submission whose key its owner has used before, for a job that has ended.
fn answer_again(submission: &Submission, job: JobId, spec: &SealedSpec) -> Reply {
    match check_repeated(submission, job, spec.spec()) {
        Ok(()) => Reply::Submitted { job, unplaceable: None },
        Err(failure) => Reply::Failed(failure),
    }
}

async fn jobs(shell: &Shell, asker: &Asker, filter: JobFilter) -> Result<Reply, Trouble> {
    let viewer = asker.viewer();
    if let Some(only) = &filter.only {
        resolve(shell, viewer, only.clone()).await?;
    }
    if let Some(OwnerFilter::Named(name)) = &filter.owner {
        check_owner(shell, asker, name.clone()).await?;
    }
    Ok(Reply::Jobs(shell.history.read_fresh(move |reader| reader.jobs(&filter, viewer)).await?))
}

/// Refuses a name that no client has, and to a client every name but its own.
async fn check_owner(shell: &Shell, asker: &Asker, name: NodeName) -> Result<(), Trouble> {
    let (node, wanted) = (asker.node, name.clone());
    let read = move |reader: &Reader| {
        let is_own = reader.client_name(node)?.as_ref() == Some(&wanted);
        Ok((is_own, reader.is_client(&wanted)?, reader.owners(OWNERS_NAMED)?))
    };
    let (is_own, is_client, owners) = shell.history.read_fresh(read).await?;
    if asker.role != Role::Admin && !is_own {
        let text = "only an admin may list the jobs of others".to_owned();
        return Err(Trouble::refused(FailureCode::Forbidden, text, Some("without --owner it lists your own")));
    }
    if is_client {
        return Ok(());
    }
    let owners: Vec<String> = owners.iter().map(NodeName::to_string).collect();
    let hint = match &owners[..] {
        [] => "nobody has submitted a job yet".to_owned(),
        owners if owners.len() == OWNERS_NAMED => format!("owners are {} and others", owners.join(", ")),
        owners => format!("owners are {}", owners.join(", ")),
    };
    Err(Trouble::refused(FailureCode::NotFound, format!("no client is called {name}"), Some(&hint)))
}

async fn tasks(shell: &Shell, viewer: Viewer, filter: TaskFilter) -> Result<Reply, Trouble> {
    resolve(shell, viewer, filter.of.clone()).await?;
    let files = shell.files.clone();
    let read = move |reader: &Reader| {
        let mut tasks = reader.tasks(&filter, viewer)?;
        files.complete(reader, &mut tasks)?;
        Ok(tasks)
    };
    Ok(Reply::Tasks(shell.history.read_fresh(read).await?))
}

/// What `what` means to `viewer`; asking for something by number that is not there is an error.
pub(super) async fn resolve(shell: &Shell, viewer: Viewer, what: Selector) -> Result<Vec<Part>, Trouble> {
    let is_last = what == Selector::Last;
    let found = shell.history.read_fresh(move |reader| reader.resolve(&what, viewer)).await?;
    if let Some(missing) = found.missing.first() {
        return Err(not_found(shell, viewer, *missing).await?);
    }
    if is_last && found.parts.is_empty() {
        return Err(Trouble::refused(FailureCode::NotFound, "you have submitted no job yet", None));
    }
    Ok(found.parts)
}

/// That there is no such thing, and where it was removed lately, by whom.
async fn not_found(shell: &Shell, viewer: Viewer, part: Part) -> Result<Trouble, Trouble> {
    let (what, job) = match part {
        Part::Jobs(first, last) if first == last => (format!("there is no job {first}"), Some(first)),
        Part::Jobs(first, last) => (format!("there are no jobs {first}-{last}"), None),
        Part::Task(task) => (format!("there is no task {task}"), Some(task.job)),
    };
    let removal = match job {
        Some(job) => shell.history.read(move |reader| reader.removed(job, viewer)).await?,
        None => None,
    };
    let text = match removal.map(|removal| removal.by) {
        Some(Some(by)) => format!("{what} any more: {} forgot it", by.name),
        Some(None) => format!("{what} any more: it was kept for as long as ended jobs are"),
        None => what,
    };
    Ok(Trouble::refused(FailureCode::NotFound, text, Some("octaskly list --all shows what there is")))
}

/// Explains what has not ended by the engine, and states of the rest how they ended.
async fn explain(shell: &Shell, asker: &Asker, what: Selector) -> Result<Reply, Trouble> {
    let viewer = asker.viewer();
    let everything = what == Selector::All;
    let parts = resolve(shell, viewer, what).await?;
    let split = move |reader: &Reader| bulk::split(reader, viewer, &parts, everything);
    let (active, mut explained) = shell.history.read(split).await?;
    if !active.is_empty() {
        match put(shell, asker, Call::Explain(active)).await? {
            Reply::Explained(more) => explained.extend(more),
            other => return Ok(other),
        }
    }
    explained.sort_by_key(|explanation| explanation.task);
    explained.truncate(MAX_ROWS as usize);
    Ok(Reply::Explained(explained))
}

/// Sends how `jobs` stand until all of them have ended.
async fn watch(shell: &Shell, asker: &Asker, jobs: Vec<JobId>, outlet: &mut Outlet) -> Result<(), Trouble> {
    let wanted: BTreeSet<JobId> = jobs.into_iter().collect();
    let (ended, active) = standing(shell, asker.viewer(), wanted).await?;
    if active.is_empty() {
        return finish(outlet, &Reply::Progress(ended)).await;
    }
    let mut inquiry = shell.ask(asker, Call::Watch(active).into()).await;
    let watched = async {
        loop {
            let Reply::Progress(mut jobs) = inquiry.reply().await.ok_or(Trouble::CutOff)? else {
                return Err(Trouble::CutOff);
            };
            let all_ended = jobs.iter().all(|job| job.state.is_terminal());
            jobs.extend(ended.iter().cloned());
            jobs.sort_by_key(|job| job.job);
            let news = Reply::Progress(jobs);
            if all_ended {
                return finish(outlet, &news).await;
            }
            outlet.reply(&news).await?;
        }
    };
    let result = watched.await;
    inquiry.over(shell).await;
    result
}

/// Those of `wanted` that have ended, as the store has them, and those that have not.
async fn standing(
    shell: &Shell,
    viewer: Viewer,
    wanted: BTreeSet<JobId>,
) -> Result<(Vec<JobView>, Vec<JobId>), Trouble> {
    let only = Selector::These(wanted.iter().map(|job| Part::Jobs(*job, *job)).collect());
    let filter = JobFilter { only: Some(only), states: Vec::new(), limit: MAX_ROWS, ..JobFilter::default() };
    let mut found = shell.history.read_fresh(move |reader| reader.jobs(&filter, viewer)).await?;
    let there: BTreeSet<JobId> = found.iter().map(|job| job.job).collect();
    if let Some(missing) = wanted.difference(&there).next() {
        return Err(not_found(shell, viewer, Part::Jobs(*missing, *missing)).await?);
    }
    for job in &mut found {
        // News is about states; a spec may be megabytes.
        job.spec = None;
    }
    let (ended, active): (Vec<_>, Vec<_>) = found.into_iter().partition(|job| job.state.is_terminal());
    Ok((ended, active.into_iter().map(|job| job.job).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_fits_into_no_frame_is_refused_and_a_client_that_has_gone_is_not() {
        let too_long = TransportError::from(WireError::TooLong { length: 200_000_000, cap: MAX_FRAME });
        let Trouble::Refused(failure) = Trouble::from(too_long) else { panic!("the client would ask for ever") };
        assert!(failure.text.contains("200000000 bytes"), "{}", failure.text);
        assert!(matches!(Trouble::from(TransportError::StreamClosed), Trouble::Gone(_)));
    }
}
