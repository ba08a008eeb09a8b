//! `octaskly attach`: returns to a `run` whose client went away.
//!
//! The one invariant: it shows what the run would have shown from here on, and
//! ends as that would have; of a task that has ended, all of its output. A job
//! that was submitted is looked at and left alone.

use std::process::ExitCode;

use super::super::interrupts::Interrupts;
use super::super::{Context, ending, last, logs, wait};
use super::array::Printing;
use super::input::Input;
use super::source::Source;
use super::{Ended, Followed, PATIENCE, Run};
use crate::cli::args::AttachArgs;
use crate::cli::error::{CliError, Place};
use crate::cli::output::say;
use crate::cli::resolve::{self, Selection, StdinPlan};
use crate::cli::value::ValueError;
use crate::cli::{exit, session::Session};
use crate::model::requests::JobFilter;
use crate::model::selector::{Part, Selector};
use crate::model::spec::StdinSource;
use crate::model::views::JobView;
use crate::model::{Items, TaskId};
use crate::node::NodeError;

/// Returns to it and ends with its exit code.
pub(in super::super) fn perform(args: &AttachArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(std::slice::from_ref(&args.id))?;
    let several = || CliError::value(Place::Argument("ID"), &args.id, ValueError::NotOneJob);
    if !is_one(&typed) {
        return Err(several());
    }
    context.as_receiver(async {
        let mut interrupts = Interrupts::listen().map_err(NodeError::Signals)?;
        let session = tokio::select! {
            session = context.connect(&args.connect) => session?,
            signal = interrupts.first() => return Ok(exit::of_signal(signal)),
        };
        let printing = Printing { tag: args.tag, keep_order: false, quiet: context.quiet() };
        let mut run = Run { session, printing, is_embedded: false, context, is_told: false, report: None };
        let ended = run.attach(typed, &mut interrupts).await;
        let _ = tokio::time::timeout(PATIENCE, run.session.close()).await;
        ended.map(Ended::exit_code)
    })
}

fn is_one(typed: &Selection) -> bool {
    match typed {
        Selection::Known(Selector::Last) => true,
        Selection::Known(Selector::All | Selector::Everyone) => false,
        Selection::Known(Selector::These(parts)) => match parts.as_slice() {
            [Part::Jobs(first, last)] => first == last,
            [Part::Task(_)] => true,
            _ => false,
        },
        Selection::OfLast(of_last) => of_last.is_one(),
    }
}

impl Run<'_> {
    async fn attach(&mut self, typed: Selection, interrupts: &mut Interrupts) -> Result<Ended, CliError> {
        let selector = last::meant(self.session.client(), typed).await?;
        let view = job(&self.session, &selector).await?;
        let nothing = || CliError::NothingSelected(selector.to_string());
        let spec = view.spec.as_ref().ok_or_else(nothing)?.spec();
        let is_single = spec.items == Items::Single;
        let task = match &selector {
            Selector::These(parts) => parts.iter().find_map(|part| match part {
                Part::Task(task) => Some(*task),
                Part::Jobs(..) => None,
            }),
            Selector::All | Selector::Everyone | Selector::Last => None,
        };
        let task = task.or(is_single.then(|| TaskId::new(view.job.0, 0)));
        if let Some(task) = task.filter(|_| !is_single || !spec.streams_to_client()) {
            return self.look_at(task, interrupts).await;
        }
        let takes_stdin = spec.stdin == StdinSource::Attached && !view.state.is_terminal();
        let plan = if takes_stdin { StdinPlan::Own } else { StdinPlan::Nothing };
        let (source, name) = Source::open(&plan)?;
        let mut followed = Followed::of(spec, Input::joining(source, name), false);
        followed.takes_over = true;
        followed.tags = self.printing.tag.then(|| spec.items.clone());
        self.follow(view.job, followed, interrupts).await
    }

    /// Prints the output of a task that streams to nobody, and ends as it did.
    async fn look_at(&mut self, task: TaskId, interrupts: &mut Interrupts) -> Result<Ended, CliError> {
        let goes_on = format!("task {task} goes on; `octaskly attach {task}` returns to it");
        let Printing { tag, quiet, .. } = self.printing;
        let session = &mut self.session;
        let ended = async {
            logs::until_the_end(session, task, tag).await?;
            let awaited = wait::Awaited { jobs: Vec::new(), tasks: vec![Part::Task(task)] };
            awaited.until_tasks_ended(session).await
        };
        let tasks = tokio::select! {
            ended = ended => ended?,
            code = interrupts.while_looking(quiet, &goes_on) => return Ok(Ended::With(code)),
        };
        let outcome = tasks.into_iter().next().and_then(|task| task.outcome);
        let outcome = outcome.ok_or_else(|| CliError::NothingSelected(task.to_string()))?;
        if let Some((text, hint)) = ending::of_task(&outcome) {
            say::error(&text, hint.as_deref());
        }
        Ok(Ended::With(exit::of_task(outcome.exit_code())))
    }
}

/// The job that a selector means, or whose task it means.
async fn job(session: &Session, selector: &Selector) -> Result<JobView, CliError> {
    let only = match selector {
        Selector::These(parts) => match parts.first() {
            Some(Part::Task(task)) => Selector::job(task.job),
            _ => selector.clone(),
        },
        keyword => keyword.clone(),
    };
    let filter = JobFilter { only: Some(only), limit: 1, ..JobFilter::default() };
    let found = session.client().jobs(filter).await?.into_iter().next();
    found.ok_or_else(|| CliError::NothingSelected(selector.to_string()))
}
