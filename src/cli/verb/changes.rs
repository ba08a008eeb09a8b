//! What `cancel`, `retry` and `forget` share: whose jobs `all` means, the question before `--everyone`, the answer.
//!
//! The one invariant: on a terminal the jobs of other owners are changed by `--everyone` only after a person said yes.
//! Absent: whether the asker may do that (the dispatcher's engine decides).

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};

use crate::cli::args::JsonForm;
use crate::cli::error::CliError;
use crate::cli::output::{Page, json, say, text};
use crate::cli::resolve::Selection;
use crate::cli::session::Session;
use crate::client::Client;
use crate::model::limits::MAX_ROWS;
use crate::model::requests::{Changes, JobFilter};
use crate::model::selector::Selector;
use crate::model::views::JobView;
use crate::model::{NodeName, Role, TaskState};

/// Owners that a line names.
const OWNERS_NAMED: usize = 5;

/// `all` with `--everyone` as every job of every owner.
pub(super) fn of_everyone(typed: Selection, everyone: bool) -> Result<Selection, CliError> {
    match typed {
        typed if !everyone => Ok(typed),
        Selection::Known(Selector::All) => Ok(Selection::Known(Selector::Everyone)),
        _ => Err(CliError::EveryoneWithoutAll),
    }
}

/// Asks, on a terminal, whether everyone's jobs in `states` that are `wanted` are to be changed. `verb` is what would
/// be done: `Cancel`. Off a terminal, and where there is nothing to change, it goes ahead.
///
/// # Errors
/// When the answer is not yes.
pub(super) async fn confirm(
    client: &Client,
    what: &Selector,
    verb: &'static str,
    states: Vec<TaskState>,
    wanted: impl Fn(&JobView) -> bool,
) -> Result<(), CliError> {
    let has_person = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    // Anyone but an admin is refused without a question.
    if *what != Selector::Everyone || !has_person || client.welcome().role != Role::Admin {
        return Ok(());
    }
    let (mut jobs, mut owners) = (0, BTreeSet::new());
    let mut filter = JobFilter { states, limit: MAX_ROWS, ..JobFilter::default() };
    loop {
        let page = client.jobs(filter.clone()).await?;
        for job in page.iter().filter(|job| wanted(job)) {
            jobs += 1;
            owners.insert(job.owner_name.clone());
        }
        filter.before = page.last().map(|job| job.job);
        if page.len() < MAX_ROWS as usize {
            break;
        }
    }
    if jobs == 0 {
        return Ok(());
    }
    let owners: Vec<NodeName> = owners.into_iter().collect();
    let (jobs, whose) = (text::count(jobs, "job"), text::count(owners.len() as u64, "owner"));
    let asked = format!("{verb} {jobs} of {whose} ({})? [y/N] ", listed(owners.iter().map(ToString::to_string)));
    match ask(asked).await {
        true => Ok(()),
        false => Err(CliError::Declined),
    }
}

/// Whether a person answers yes.
async fn ask(question: String) -> bool {
    let read = move || {
        let mut answer = String::new();
        let _ = std::io::stderr().write_all(question.as_bytes());
        let _ = std::io::stdin().read_line(&mut answer);
        matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    };
    // The link is kept alive while a person thinks.
    tokio::task::spawn_blocking(read).await.unwrap_or(false)
}

/// Prints what was changed, as JSON or as a sentence: `cancelled 3 tasks`, with the jobs and their owners where these are not the asker alone.
pub(super) fn tell(
    session: &Session,
    form: Option<JsonForm>,
    changes: &Changes,
    unit: &str,
    nothing: &str,
    done: impl Fn(&str) -> String,
) -> Result<(), CliError> {
    let mut page = Page::begin();
    if let Some(form) = form {
        page.objects(form, [json::Changed::from(changes)])?;
        return page.end();
    }
    if session.is_quiet() {
        return Ok(());
    }
    page.line(match changes.affected {
        0 => nothing.to_owned(),
        affected => {
            let mut line = done(&text::count(affected, unit));
            if changes.owners.iter().any(|(owner, _)| *owner != session.client().welcome().name) {
                let each =
                    changes.owners.iter().map(|(owner, jobs)| format!("{} of {owner}", text::count(*jobs, "job")));
                line.push_str(&format!(": {}", listed(each)));
            }
            line
        }
    })?;
    page.end()?;
    if changes.absent > 0 {
        let are = if changes.absent == 1 { "number is" } else { "numbers are" };
        let no = if session.client().welcome().role == Role::Admin { "no job" } else { "no job of yours" };
        say::note(false, &format!("{} {are} {no} and left out", changes.absent));
    }
    Ok(())
}

/// What is said when there was nothing to do: `named` of what was named, `own` of `all`, which does not mean the jobs of
/// other owners.
pub(super) fn nothing(session: &Session, of: &Selector, own: &str, named: &str) -> String {
    match (of, session.client().welcome().role) {
        (Selector::All, Role::Admin) => format!("{own}; --everyone means those of every owner"),
        (Selector::All, _) => own.to_owned(),
        _ => named.to_owned(),
    }
}

/// Some of a list, and how many more there are.
fn listed(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    let some = all.iter().take(OWNERS_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(OWNERS_NAMED) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobId;

    #[test]
    fn everyone_goes_with_all_and_with_nothing_else() {
        let of = |selector, everyone| match of_everyone(Selection::Known(selector), everyone) {
            Ok(Selection::Known(selector)) => Some(selector),
            _ => None,
        };
        assert_eq!(of(Selector::All, true), Some(Selector::Everyone));
        assert_eq!(of(Selector::All, false), Some(Selector::All));
        assert_eq!((of(Selector::job(JobId(5)), true), of(Selector::Last, true)), (None, None));
    }

    #[test]
    fn a_long_list_of_owners_ends_in_a_number() {
        let names = |many: usize| listed((1..=many).map(|n| format!("o{n}")));
        assert_eq!((names(2), names(7)), ("o1, o2".to_owned(), "o1, o2, o3, o4, o5 and 2 more".to_owned()));
    }
}
