//! Which tasks of an array are left to do: none of an empty list, and with `--resume` not those that the job log has.
//!
//! The one invariant: what is left keeps its numbers and items. Absent: the log itself (`job_log`).

use crate::cli::args::TaskArgs;
use crate::cli::error::{CliError, Place};
use crate::cli::job_log::{Earlier, JobLog};
use crate::cli::value;
use crate::model::{ItemList, Items, JobSpec};

/// Takes the tasks out of `spec` that need not be run, and returns the job log and what to say about what is left.
pub(super) fn left(
    args: &TaskArgs,
    spec: &mut JobSpec,
    origin: &str,
) -> Result<(Option<JobLog>, Option<String>), CliError> {
    let of_arrays = [("--at-most", args.at_most.is_some()), ("--joblog", args.joblog.is_some())];
    if let (Items::Single, Some((option, _))) = (&spec.items, of_arrays.iter().find(|(_, is_given)| *is_given)) {
        return Err(CliError::needs_items(option));
    }
    let (earlier, option) = match (args.resume, args.resume_failed) {
        (_, true) => (Earlier::FailedRepeated, "--resume-failed"),
        (true, false) => (Earlier::Skipped, "--resume"),
        (false, false) => (Earlier::Refused, ""),
    };
    let Some(file) = &args.joblog else {
        if earlier == Earlier::Refused {
            let nothing = (spec.items.count() == 0).then(|| format!("{origin} has no items: there is nothing to run"));
            return Ok((None, nothing));
        }
        let hint = "name the file that the earlier command wrote";
        return Err(CliError::Needs { option, needs: "--joblog FILE", hint });
    };
    let path = value::log_file(file).map_err(|error| CliError::value(Place::Option("--joblog"), file, error))?;
    if spec.items.count() == 0 {
        return Ok((None, Some(format!("{origin} has no items: there is nothing to run"))));
    }
    let mut log = JobLog::open(path, JobSpec { items: spec.items.clone(), ..JobSpec::single(spec.command.clone()) })?;
    let left = log.left(earlier)?;
    let (count, all) = (left.len(), spec.items.count());
    if count == all {
        return Ok((Some(log), None));
    }
    let name = file.to_string_lossy();
    if count == 0 {
        spec.items = Items::List(ItemList::default());
        let failed = match log.failed() {
            0 => String::new(),
            failed => format!(", {failed} of them as failed: --resume-failed repeats these"),
        };
        return Ok((None, Some(format!("{name} lists every task already{failed}"))));
    }
    let whole = std::mem::replace(&mut spec.items, Items::Single);
    spec.items = whole.at_positions(&left).map_err(CliError::Left)?;
    Ok((Some(log), Some(format!("{name} lists {} of {all} tasks already: {count} left", all - count))))
}
