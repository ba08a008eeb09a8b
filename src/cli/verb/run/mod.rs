//! `octaskly run`: a command on some worker as if it ran here.
//!
//! The one invariant: whatever way this ends, the task does not outlive it
//! unnoticed: an interrupt, a lost reader and a failure of ours cancel the job
//! first. Without a known dispatcher the command runs in a cluster inside this
//! process. Absent: how bytes are moved (`live`) and how an array is printed
//! (`array`).

pub(super) mod array;
mod attach;
mod input;
mod live;
mod parting;
mod report;
mod source;
mod writer;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use array::Printing;
pub(super) use attach::perform as attach;
use input::Input;
use live::Live;
use parting::Parting;
use report::Report;
use source::Source;

use super::bring::{Bringer, Broken, Declared, bytes_of};
use super::cluster::{self, Cluster};
use super::interrupts::Interrupts;
use super::{Context, dry_run, ending, queue, unsent, wait};
use crate::cli::args::RunArgs;
use crate::cli::error::{CliError, KEPT_PER_ATTEMPT};
use crate::cli::exit;
use crate::cli::job_log::JobLog;
use crate::cli::output::meter::{FileMeter, Moving};
use crate::cli::output::{json, say};
use crate::cli::resolve::{self, JobPlan};
use crate::cli::session::Session;
use crate::client::ClientError;
use crate::model::limits::MAX_LOG_BYTES;
use crate::model::outcome::{Cancellation, Unrepeatable};
use crate::model::requests::{FailureCode, TaskFilter};
use crate::model::selector::{Part, Selector};
use crate::model::spec::{JobSpec, RetryPolicy, StdinSource};
use crate::model::views::JobView;
use crate::model::{Items, JobId, Outcome, TaskId, TaskState};
use crate::node::{EndSignal, NodeError};

/// How long a job that is of no use any more may take to be cancelled before we leave it behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs it and ends with its exit code (an array: 0 or 1).
pub(super) fn perform(args: &RunArgs, context: &Context) -> Result<ExitCode, CliError> {
    let mut plan = resolve::job(&args.task, resolve::Output::Live, &context.environment)?;
    if args.keep_order && plan.is_single() {
        return Err(CliError::needs_items("--keep-order"));
    }
    plan.spec.client_grace = Some(resolve::client_grace(args.client_grace.as_deref())?);
    let (source, name) = Source::open(&plan.stdin)?;
    plan.tell(context.quiet());
    if plan.dry_run {
        return dry_run::perform(plan);
    }
    let mut report = args.json_to.as_deref().map(Report::open).transpose()?;
    if plan.spec.items.count() == 0 {
        return report.map_or(Ok(()), Report::end).map(|()| ExitCode::SUCCESS);
    }
    let is_told = unsent::warn_of_script(&plan, "run", context)?;
    if let Some(log) = &mut plan.job_log {
        plan.spec.job_log = log.begin()?;
        plan.is_resumed = log.is_resumed();
    }
    if matches!((&plan.spec.stdin, &source), (StdinSource::Attached, Source::Nothing)) {
        plan.spec.stdin = StdinSource::Empty;
    }
    let input = Input::new(source, name);
    let ended = context.as_run(plan.spec.items.count(), async {
        let mut interrupts = Interrupts::listen().map_err(NodeError::Signals)?;
        let cluster = tokio::select! {
            cluster = Cluster::find(&args.connect, context) => cluster?,
            signal = interrupts.first() => return Ok(exit::of_signal(signal)),
        };
        let Cluster { session, mut embedded } = cluster;
        let is_embedded = embedded.is_some();
        if is_embedded {
            // Client and dispatcher are one process: neither is ever without the other.
            plan.spec.client_grace = None;
        }
        let printing = Printing { tag: args.tag, keep_order: args.keep_order, quiet: context.quiet() };
        let mut run = Run { session, printing, is_embedded, context, is_told, report: report.as_mut() };
        let ended = tokio::select! {
            ended = run.until_its_end(plan, input, &mut interrupts) => ended,
            error = cluster::failed(&mut embedded) => Err(error.into()),
        };
        match (embedded, &ended) {
            // What it runs ends with this process.
            (Some(_), Ok(Ended::Left(_))) => {}
            // It goes without a goodbye: nobody is left to hear one.
            (Some(embedded), _) => drop(embedded.stop().await),
            // Whoever leaves a job behind says so, for its grace begins then; and nobody waits long for that.
            (None, _) => drop(tokio::time::timeout(PATIENCE, run.session.close()).await),
        }
        ended.map(Ended::exit_code)
    });
    match report.map_or(Ok(()), Report::end) {
        Err(unwritten) if ended.is_ok() => Err(unwritten),
        _ => ended,
    }
}

/// How a run came to its end.
enum Ended {
    /// With this exit code.
    With(ExitCode),
    /// By a signal, with the job going on or on its way to its end.
    Left(EndSignal),
}

impl Ended {
    fn exit_code(self) -> ExitCode {
        match self {
            Self::With(code) => code,
            Self::Left(signal) => exit::of_signal(signal),
        }
    }
}

/// One run.
struct Run<'a> {
    session: Session,
    printing: Printing,
    is_embedded: bool,
    context: &'a Context,
    /// Whether it was said that its program is a file that stays here.
    is_told: bool,
    /// `--json-to`.
    report: Option<&'a mut Report>,
}

/// What has to be known of a job to be its client.
struct Followed {
    /// All of it but the job and `--quiet`.
    parting: Parting,
    is_single: bool,
    /// Take over from another client.
    takes_over: bool,
    input: Input,
    /// How much output of an attempt is held.
    held: u64,
    /// Which tasks there are.
    numbers: Items,
    /// What they are about, for `--tag`.
    tags: Option<Items>,
    /// What is brought back.
    declared: Option<Declared>,
    /// `--joblog`.
    log: Option<JobLog>,
    retry: RetryPolicy,
    /// Why it may have to wait was said.
    is_told: bool,
    as_json: bool,
}

impl Followed {
    fn of(spec: &JobSpec, input: Input, is_embedded: bool) -> Self {
        let is_client = spec.client_grace().is_some() || is_embedded;
        let is_brought = is_client && !spec.outputs.is_empty();
        Self {
            parting: Parting { job: JobId(0), grace: spec.client_grace(), is_client, is_embedded, quiet: false },
            is_single: spec.items == Items::Single,
            takes_over: false,
            input,
            held: spec.held_output(),
            numbers: array::numbers(&spec.items),
            tags: None,
            declared: is_brought.then(|| Declared::new(spec.outputs.clone(), spec.items.clone())),
            log: None,
            retry: spec.retry.clone(),
            is_told: false,
            as_json: false,
        }
    }
}

impl Run<'_> {
    async fn until_its_end(
        &mut self,
        mut plan: JobPlan,
        input: Input,
        interrupts: &mut Interrupts,
    ) -> Result<Ended, CliError> {
        let mut followed = Followed::of(&plan.spec, input, self.is_embedded);
        followed.as_json = plan.json.is_some();
        followed.log = plan.job_log.take();
        followed.tags = self.printing.tag.then(|| plan.spec.items.clone());
        // Until the job is submitted there is nothing to cancel.
        tokio::select! {
            brought = queue::bring(&mut self.session, &plan.luggage) => brought?,
            signal = interrupts.first() => return Ok(Ended::With(exit::of_signal(signal))),
        }
        // Once it is, it is cancelled below; while nobody can say, it is not waited for long.
        let submitted = tokio::select! {
            submitted = queue::submit(&mut self.session, plan) => submitted?,
            signal = async {
                let signal = interrupts.first().await;
                tokio::time::sleep(PATIENCE).await;
                signal
            } => return Ok(Ended::With(exit::of_signal(signal))),
        };
        if let Some(why) = &submitted.unplaceable
            && !self.is_embedded
        {
            say::warning(
                self.printing.quiet,
                why,
                Some("it waits for a worker that can (`octaskly worker` starts one); Ctrl-C cancels it"),
            );
        }
        followed.is_told = submitted.unplaceable.is_some();
        self.follow(submitted.job, followed, interrupts).await
    }

    /// Is the client of a job until its end, or until a signal.
    async fn follow(&mut self, job: JobId, followed: Followed, interrupts: &mut Interrupts) -> Result<Ended, CliError> {
        let Followed { parting, takes_over, is_single: single, .. } = followed;
        let parting = Parting { job, quiet: self.printing.quiet, ..parting };
        if !self.is_embedded {
            self.session.goes_on(parting.way_back());
        }
        let Followed { input, held, numbers, tags, declared, mut log, retry, is_told, as_json, .. } = followed;
        let mut meter = FileMeter::new(Moving::Down, self.printing.quiet);
        let mut bringer = declared.map(|declared| Bringer::new(Path::new("."), declared, meter.count()));
        let by = parting.is_client.then(|| self.session.attacher(takes_over));
        let handle = self.session.handle();
        let printing = self.printing;
        let shown = async {
            if single {
                let by = self.session.attacher(takes_over);
                let live = Live::new(&mut self.session, TaskId::new(job.0, 0), by, input, held, tags);
                let missing = live.until_the_end().await?;
                let view = one(wait::until_ended(&mut self.session, vec![job]).await?, job)?;
                // What was cut short may have left half of a file, which must not replace a whole one.
                let is_whole = view.outcome.as_ref().is_some_and(Outcome::is_its_own);
                if let Some(bringer) = bringer.as_mut().filter(|_| is_whole) {
                    bring_all(&mut self.session, job, bringer, &mut meter).await?;
                }
                Ok((view, missing))
            } else {
                let (bringer, log) = (bringer.as_mut(), log.as_mut());
                array::until_the_end(&mut self.session, job, by, (numbers, tags), bringer, log, printing).await
            }
        };
        let shown = tokio::select! {
            shown = shown => shown,
            signal = parting.interrupted(interrupts, &handle) => return Ok(Ended::Left(signal)),
            never = parting.explain_waiting(&handle, is_told) => match never {},
        };
        let (view, missing) = match shown {
            Ok(shown) => shown,
            Err(error) if is_gone(&error) && !self.is_embedded => {
                parting.detach(EndSignal::HangUp);
                return Ok(Ended::Left(EndSignal::HangUp));
            }
            // The job is another client's now, or was never ours.
            Err(error) if is_taken(&error) || !parting.is_client => return Err(error),
            Err(error) => {
                // Nobody will see what the task still does.
                let why = Cancellation::requested(Some("its client could not go on".to_owned()));
                let _ = tokio::time::timeout(PATIENCE, parting::cancel(&handle, job, why)).await;
                // An embedded cluster takes what it has with it.
                let is_kept = matches!(error, CliError::Files(_)) && !self.is_embedded;
                return Err(if is_kept { CliError::NotBrought(Box::new(error), job) } else { error });
            }
        };
        if as_json {
            say::json(&json::Job::from(&view));
        }
        if let Some(report) = &mut self.report {
            report.write(self.session.client(), job, &view).await?;
        }
        if let Some(log) = log {
            log.end()?;
        }
        if single && let Some(why) = not_retried(&self.session, &retry, &view).await {
            say::warning(self.printing.quiet, &format!("the task was not retried: {why}"), Some(KEPT_PER_ATTEMPT));
        }
        let signal = interrupts.seen();
        let code = if single { single_code(&view, signal) } else { self.array_code(&view, signal) };
        if view.state == TaskState::Failed && signal.is_none() && !self.is_told {
            unsent::tell(self.session.client(), job, self.is_embedded, self.context).await;
        }
        if missing == 0 {
            return Ok(Ended::With(code));
        }
        let text = format!("{missing} bytes of output are missing: of each task {} MiB are kept", MAX_LOG_BYTES >> 20);
        say::error(&text, Some("a file that the task writes and --out names is brought back whole"));
        Ok(Ended::With(ExitCode::from(exit::OURS)))
    }

    /// The exit code of an array: whether all succeeded.
    fn array_code(&self, view: &JobView, signal: Option<EndSignal>) -> ExitCode {
        if let Some(signal) = signal {
            if let Some((text, _)) = ending::of_job(view) {
                let again = format!("; `octaskly retry {}` does again what did not succeed", view.job);
                let again = if self.is_embedded { String::new() } else { again };
                say::note(self.printing.quiet, &format!("{text}{again}"));
            }
            return exit::of_signal(signal);
        }
        match ending::of_job(view) {
            None => ExitCode::SUCCESS,
            Some((text, hint)) => {
                // An embedded cluster is gone by the time anybody could ask it.
                say::error(&text, hint.as_deref().filter(|_| !self.is_embedded));
                ExitCode::from(exit::FAILURE)
            }
        }
    }
}

/// Brings back what the only task of a job has left.
async fn bring_all(
    session: &mut Session,
    job: JobId,
    bringer: &mut Bringer,
    meter: &mut FileMeter,
) -> Result<(), CliError> {
    let mut is_known = false;
    loop {
        let brought = async {
            let of = Selector::These(vec![Part::Task(TaskId::new(job.0, 0))]);
            let filter = TaskFilter { of, states: Vec::new(), after: None, limit: 1 };
            for task in session.client().tasks(filter).await? {
                if !std::mem::replace(&mut is_known, true) {
                    meter.left(bytes_of(&task, |_| true));
                }
                meter.meanwhile(bringer.bring(session.client(), &task, |_| true)).await?;
            }
            Ok(())
        };
        match brought.await {
            Ok(()) => {
                meter.end();
                return Ok(());
            }
            Err(Broken::Link(error)) => session.reopen(error).await?,
            Err(Broken::Ours(error)) => return Err(error),
        }
    }
}

/// Why the only task of a job was not retried, though its retries were not used up.
async fn not_retried(session: &Session, retry: &RetryPolicy, view: &JobView) -> Option<Unrepeatable> {
    let limit = retry.limit.filter(|limit| *limit > 0)?;
    view.outcome.as_ref().filter(|outcome| retry.on.covers(outcome))?;
    let of = Selector::job(view.job);
    let tasks = session.client().tasks(TaskFilter { of, states: Vec::new(), after: None, limit: 1 }).await.ok()?;
    let task = tasks.first().filter(|task| task.counts.failures <= limit)?;
    task.decisive()?.unrepeatable
}

/// The exit code of a single task: its own, unless a signal to us ended it.
fn single_code(view: &JobView, signal: Option<EndSignal>) -> ExitCode {
    match (&view.outcome, signal) {
        (Some(Outcome::Cancelled(Cancellation::Interrupted)), Some(signal)) => exit::of_signal(signal),
        (Some(outcome), _) => {
            if let Some((text, hint)) = ending::of_task(outcome) {
                say::error(&text, hint.as_deref());
            }
            exit::of_task(outcome.exit_code())
        }
        (None, _) => {
            say::error(&format!("job {} has ended and nobody can say how", view.job), None);
            ExitCode::from(exit::OURS)
        }
    }
}

/// The one job among those that were watched.
fn one(jobs: Vec<JobView>, job: JobId) -> Result<JobView, CliError> {
    let found = jobs.into_iter().find(|view| view.job == job);
    found.ok_or_else(|| CliError::NothingSelected(job.to_string()))
}

/// Whether our terminal is gone, which is noticed before a shell passes on the signal that says so.
fn is_gone(error: &CliError) -> bool {
    matches!(error, CliError::Output(source) if source.raw_os_error() == Some(nix::errno::Errno::EIO as i32))
}

/// Whether another client has the job.
fn is_taken(error: &CliError) -> bool {
    matches!(error, CliError::Client(ClientError::Failed(failure)) if failure.code == FailureCode::Conflict)
}
