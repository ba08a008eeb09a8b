//! `octaskly get`: brings the outputs of ended tasks to this machine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::bring::{Bringer, Broken, Declared, bytes_of, outputs};
use super::interrupts::Interrupts;
use super::{Context, last};
use crate::blob::matches_pattern;
use crate::cli::args::GetArgs;
use crate::cli::error::{CliError, Place};
use crate::cli::exit;
use crate::cli::output::meter::{FileMeter, Moving};
use crate::cli::output::{Page, json, say, text};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::cli::value::ValueError;
use crate::model::files::tidy;
use crate::model::requests::{JobFilter, TaskFilter};
use crate::model::selector::{Part, Selector};
use crate::model::views::TaskView;
use crate::model::{JobId, RawString, TaskState};
use crate::node::NodeError;

/// Tasks looked at in one reply.
const PAGE: u32 = 1000;

/// Brings them; exit 0 when something came, 1 when there was nothing to bring.
pub(super) fn perform(args: &GetArgs, context: &Context) -> Result<ExitCode, CliError> {
    context.as_receiver(async {
        let mut interrupts = Interrupts::listen().map_err(NodeError::Signals)?;
        // Given up here, and not by the signal itself, it removes what is not whole.
        tokio::select! {
            brought = bring(args, context) => brought,
            signal = interrupts.first() => Ok(exit::of_signal(signal)),
        }
    })
}

async fn bring(args: &GetArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(std::slice::from_ref(&args.id))?;
    if args.outputs.iter().any(|name| name.is_empty()) {
        return Err(CliError::value(Place::Argument("OUT"), OsStr::new(""), ValueError::Empty));
    }
    let wanted: Vec<RawString> = args.outputs.iter().map(|name| tidy(name.as_bytes())).collect();
    let destination = args.directory.as_deref().map_or(Path::new("."), Path::new);
    let mut session = context.connect(&args.connect).await?;
    let of = last::meant(session.client(), typed).await?;
    let meter = FileMeter::new(Moving::Down, context.quiet());
    let brought = args.json.json.map(|_| Vec::new());
    let mut getting =
        Getting { wanted, destination: destination.to_owned(), seen: Vec::new(), count: 0, meter, brought };
    for job in jobs(&session, &of).await? {
        let declared = declared(&session, job).await?;
        let mut bringer = Bringer::new(destination, declared, getting.meter.count());
        getting.of_job(&mut session, &of, job, &mut bringer).await?;
    }
    getting.meter.end();
    session.close().await;
    let missed = getting.wanted.iter().enumerate().find(|(place, _)| !getting.seen.contains(place));
    if let Some((_, name)) = missed {
        return Err(CliError::NoOutput { of: args.id.to_string_lossy().into_owned(), name: Some(name.clone()) });
    }
    if getting.count == 0 {
        return Err(CliError::NoOutput { of: args.id.to_string_lossy().into_owned(), name: None });
    }
    if let (Some(form), Some(brought)) = (args.json.json, getting.brought) {
        let mut page = Page::begin();
        page.objects(form, brought)?;
        page.end()?;
        return Ok(ExitCode::SUCCESS);
    }
    let brought = text::count(getting.count, "output");
    say::note(context.quiet(), &format!("brought {brought} to {}", shown(destination)));
    Ok(ExitCode::SUCCESS)
}

fn shown(destination: &Path) -> String {
    if destination == Path::new(".") { "this folder".to_owned() } else { destination.display().to_string() }
}

/// The jobs that a selection touches.
async fn jobs(session: &Session, of: &Selector) -> Result<Vec<JobId>, CliError> {
    let filter = JobFilter { only: Some(of.clone()), states: Vec::new(), limit: 0, ..JobFilter::default() };
    Ok(session.client().jobs(filter).await?.iter().map(|job| job.job).collect())
}

/// What a job declared as its outputs.
async fn declared(session: &Session, job: JobId) -> Result<Declared, CliError> {
    let filter = JobFilter { only: Some(Selector::job(job)), states: Vec::new(), limit: 1, ..JobFilter::default() };
    let found = session.client().jobs(filter).await?;
    let spec = found.into_iter().next().and_then(|job| job.spec);
    let spec = spec.ok_or_else(|| CliError::NothingSelected(job.to_string()))?;
    Ok(Declared::new(spec.spec().outputs.clone(), spec.spec().items.clone()))
}

/// What was asked for by name, and what of it was found.
struct Getting {
    wanted: Vec<RawString>,
    destination: PathBuf,
    seen: Vec<usize>,
    count: u64,
    meter: FileMeter,
    /// What was brought, when that is to be printed.
    brought: Option<Vec<json::Brought>>,
}

impl Getting {
    async fn of_job(
        &mut self,
        session: &mut Session,
        of: &Selector,
        job: JobId,
        bringer: &mut Bringer,
    ) -> Result<(), CliError> {
        let of = narrowed(of, job);
        let mut after = None;
        loop {
            let ended = vec![TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];
            let filter = TaskFilter { of: of.clone(), states: ended, after, limit: PAGE };
            let page = match session.client().tasks(filter).await {
                Ok(page) => page,
                Err(error) => {
                    session.reopen(error).await?;
                    continue;
                }
            };
            let wants = |name: &RawString| is_wanted(&self.wanted, name);
            self.meter.more(page.iter().map(|task| bytes_of(task, wants)).fold(0, u64::saturating_add));
            for task in &page {
                self.of_task(session, task, bringer).await?;
            }
            match page.last() {
                Some(last) if page.len() >= PAGE as usize => after = Some(last.task),
                _ => return Ok(()),
            }
        }
    }

    async fn of_task(&mut self, session: &mut Session, task: &TaskView, bringer: &mut Bringer) -> Result<(), CliError> {
        for (place, name) in self.wanted.iter().enumerate() {
            if !self.seen.contains(&place) && outputs(task).iter().any(|output| is_meant(name, &output.name)) {
                self.seen.push(place);
            }
        }
        loop {
            let wants = |name: &RawString| is_wanted(&self.wanted, name);
            match self.meter.meanwhile(bringer.bring(session.client(), task, wants)).await {
                Ok(count) => {
                    self.count += count;
                    break;
                }
                Err(Broken::Link(error)) => session.reopen(error).await?,
                Err(Broken::Ours(error)) => return Err(error),
            }
        }
        if let Some(brought) = &mut self.brought {
            let meant = outputs(task).iter().filter(|output| is_wanted(&self.wanted, &output.name));
            brought.extend(meant.map(|output| json::Brought {
                task: task.task.to_string(),
                name: output.name.to_string(),
                path: self.destination.join(OsStr::from_bytes(output.name.as_bytes())).display().to_string(),
                digest: output.content.blob().digest.to_string(),
                bytes: output.content.total_bytes(),
            }));
        }
        Ok(())
    }
}

fn is_wanted(wanted: &[RawString], name: &RawString) -> bool {
    wanted.is_empty() || wanted.iter().any(|one| is_meant(one, name))
}

fn is_meant(asked: &RawString, name: &RawString) -> bool {
    asked == name || matches_pattern(asked.as_bytes(), name.as_bytes())
}

/// What of a selection is of this job.
fn narrowed(of: &Selector, job: JobId) -> Selector {
    match of {
        Selector::These(parts) => {
            let is_whole = |part: &&Part| matches!(part, Part::Jobs(first, last) if (*first..=*last).contains(&job));
            if parts.iter().any(|part| is_whole(&part)) {
                return Selector::job(job);
            }
            let of_job = |part: &&Part| matches!(part, Part::Task(task) if task.job == job);
            Selector::These(parts.iter().filter(of_job).copied().collect())
        }
        Selector::All | Selector::Everyone | Selector::Last => Selector::job(job),
    }
}
