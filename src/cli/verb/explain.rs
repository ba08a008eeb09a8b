//! `octaskly explain`: why tasks do not run, worker by worker, and where those are that do.

use std::process::ExitCode;

use super::items::ItemNames;
use super::{Context, last};
use crate::cli::args::ExplainArgs;
use crate::cli::error::CliError;
use crate::cli::output::{Page, item, json, text};
use crate::cli::resolve;
use crate::model::views::Explanation;
use crate::model::{RawString, TaskState};

/// Workers that a short explanation names.
const NAMED: usize = 2;

/// Prints the explanations.
pub(super) fn perform(args: &ExplainArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let explanations = session.client().explain(selector.clone()).await?;
        let (mut names, mut items) = (ItemNames::default(), Vec::with_capacity(explanations.len()));
        for explanation in &explanations {
            items.push(names.of(session.client(), explanation.task).await?);
        }
        let mut page = Page::begin();
        match args.json.json {
            Some(form) => {
                let named = explanations.iter().zip(&items);
                let shown = |(view, item): (_, &Option<RawString>)| {
                    json::Explained::new(view, item.as_ref().map(RawString::to_string))
                };
                page.objects(form, named.map(shown))?;
            }
            None => {
                for (explanation, item) in explanations.iter().zip(&items) {
                    for line in lines(explanation, item.as_ref()) {
                        page.line(text::one_line(&line))?;
                    }
                }
            }
        }
        page.end()?;
        session.close().await;
        if explanations.is_empty() && args.json.json.is_none() {
            return Err(CliError::NothingSelected(selector.to_string()));
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Why a task has not begun, behind "waits "; `None` when it has, or is about to.
pub(super) fn in_short(explanation: &Explanation) -> Option<String> {
    if !matches!(explanation.state, TaskState::Waiting | TaskState::Ready) {
        return None;
    }
    if let Some(what) = &explanation.waits_for {
        return Some(format!("for {what}"));
    }
    let named = explanation.workers.iter().take(NAMED).map(|worker| {
        let verb = if worker.never { "can never take it" } else { "cannot take it now" };
        format!("{} {verb} ({})", worker.worker, worker.lacks.join(", "))
    });
    let named: Vec<String> = named.collect();
    let others = explanation.workers.len() - named.len();
    let others =
        if others > 0 { format!(", and {}", text::count(others as u64, "other worker")) } else { String::new() };
    (!named.is_empty()).then(|| format!("for a worker: {}{others}", named.join(", ")))
}

/// One task: where it stands, what it waits for, and what each worker lacks.
fn lines(explanation: &Explanation, item: Option<&RawString>) -> Vec<String> {
    let Explanation { task, owner, state, waits_for, workers } = explanation;
    let task = item::named(*task, item);
    let mut lines = vec![match state {
        TaskState::Waiting | TaskState::Ready => format!("task {task} of {owner} is {state} and not running"),
        TaskState::Running if workers.is_empty() => format!("task {task} of {owner} is running"),
        TaskState::Running => {
            let names: Vec<&str> = workers.iter().map(|worker| worker.worker.as_str()).collect();
            format!("task {task} of {owner} is running on {}", names.join(" and on "))
        }
        ended => format!("task {task} of {owner} has ended: {ended}"),
    }];
    if let Some(what) = waits_for {
        lines.push(format!("  it waits: {what}"));
    }
    if !matches!(state, TaskState::Waiting | TaskState::Ready) {
        return lines;
    }
    for worker in workers {
        lines.push(match (worker.lacks.is_empty(), worker.never) {
            (true, _) => format!("  {} could take it now", worker.worker),
            (false, false) => format!("  {} cannot take it now: {}", worker.worker, worker.lacks.join("; ")),
            (false, true) => format!("  {} can never take it: {}", worker.worker, worker.lacks.join("; ")),
        });
    }
    if workers.is_empty() && waits_for.is_none() {
        lines.push("  no worker is connected: start one with `octaskly worker`".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskId;
    use crate::model::views::WorkerLack;

    #[test]
    fn an_explanation_names_what_each_worker_lacks() {
        let lack = |worker: &str, lacks: &[&str], never| WorkerLack {
            worker: worker.parse().expect("a name"),
            lacks: lacks.iter().map(ToString::to_string).collect(),
            never,
        };
        let explanation = Explanation {
            task: TaskId::new(5, 0),
            owner: "anna".parse().expect("a name"),
            state: TaskState::Ready,
            waits_for: None,
            workers: vec![lack("a", &["slots: 4 of 4 taken"], false), lack("b", &["label: zone=a"], true)],
        };
        let shown = lines(&explanation, None);
        assert_eq!(shown[0], "task 5.0 of anna is ready and not running");
        assert_eq!(shown[1], "  a cannot take it now: slots: 4 of 4 taken");
        assert_eq!(shown[2], "  b can never take it: label: zone=a");
        let short = "for a worker: a cannot take it now (slots: 4 of 4 taken), b can never take it (label: zone=a)";
        assert_eq!(in_short(&explanation).as_deref(), Some(short));
        let alone = Explanation { workers: vec![], ..explanation };
        assert_eq!(in_short(&alone), None, "it is about to begin");
        assert!(lines(&alone, None)[1].contains("octaskly worker"));
        let (state, waits_for) = (TaskState::Running, Some("its inputs".to_owned()));
        let running = Explanation { state, waits_for, workers: vec![lack("a", &[], false)], ..alone };
        assert_eq!(
            lines(&running, Some(&"x".into())),
            ["task 5.0 (x) of anna is running on a", "  it waits: its inputs"]
        );
    }
}
