//! A job's spec as `show` prints it: what was asked for, and the time limit always; one field a line.

use crate::cli::output::text::{self, quoted};
use crate::model::files::{InputSource, InputSpec};
use crate::model::limits::MAX_TITLE;
use crate::model::spec::{CommandLine, DependencyCondition, JobSpec, RetryPolicy, StdinSource, TimeLimit, Workdir};
use crate::model::{Content, Items, Millis, NumberList, RawString};

/// Fields with their values, in the order in which they matter. `task_timeout` is the dispatcher's.
pub(super) fn spec(spec: &JobSpec, task_timeout: Millis) -> Vec<(&'static str, String)> {
    let mut fields = vec![("command", command(&spec.command))];
    let mut field = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    field("array", items(spec));
    field("needs", needs(spec));
    let labels: Vec<_> = spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    field("labels", (!labels.is_empty()).then(|| labels.join(" ")));
    field("isolation", (spec.isolation != Default::default()).then(|| format!("{:?}", spec.isolation).to_lowercase()));
    field("priority", (spec.priority != 0).then(|| spec.priority.to_string()));
    field("after", after(spec));
    field("time limit", Some(time_limit(spec.time_limit, task_timeout)));
    field("client grace", spec.client_grace().map(|grace| grace.to_string()));
    let env: Vec<_> = spec.env.keys().map(RawString::to_string).collect();
    field("env", (!env.is_empty()).then(|| env.join(" ")));
    field(
        "directory",
        match &spec.workdir {
            Workdir::Fresh => None,
            Workdir::Existing(dir) => Some(dir.to_string()),
        },
    );
    field(
        "stdin",
        match &spec.stdin {
            StdinSource::Empty => None,
            StdinSource::Inline(bytes) => Some(text::bytes(bytes.len() as u64)),
            StdinSource::Attached => Some("from its client".to_owned()),
        },
    );
    let inputs: Vec<_> = spec.inputs.iter().map(input).collect();
    field("inputs", (!inputs.is_empty()).then(|| inputs.join(", ")));
    let outputs: Vec<_> = spec.outputs.iter().map(RawString::to_string).collect();
    field("outputs", (!outputs.is_empty()).then(|| outputs.join(", ")));
    field("retries", retries(spec));
    field("max fails", spec.max_fails.map(|most| most.to_string()));
    field("exclusive", spec.exclusive.then(|| "no two tries at the same time".to_owned()));
    fields
}

fn command(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(line) => line.to_string(),
        CommandLine::Exec(argv) => argv.iter().map(quoted).collect::<Vec<_>>().join(" "),
    }
}

/// How long a task may run, and who says so.
pub(super) fn time_limit(limit: TimeLimit, task_timeout: Millis) -> String {
    match limit {
        TimeLimit::Dispatcher => format!("{task_timeout} (the dispatcher's --task-timeout)"),
        TimeLimit::Unlimited => "none (--time-limit)".to_owned(),
        TimeLimit::Limited(limit) => format!("{limit} (--time-limit)"),
    }
}

/// What the tasks of an array range over; `None` for a single task.
pub(crate) fn items(spec: &JobSpec) -> Option<String> {
    let range = match &spec.items {
        Items::Single => return None,
        Items::Range { first, last, step: 1 } => format!("{first}-{last}"),
        Items::Range { first, last, step } => format!("{first}-{last}:{step}"),
        Items::Numbers(numbers) => shown(numbers),
        Items::Subset { numbers, of } => {
            format!("tasks {} of {}", shown(numbers), text::count(of.count(), "item"))
        }
        Items::One { index, .. } => format!("{} alone", index.0),
        Items::List(items) => text::count(items.len() as u64, "item"),
        Items::Combined(combined) => {
            let lists: Vec<String> = combined.lists().map(|list| list.len().to_string()).collect();
            format!("{} of lists of {}", text::count(combined.count(), "combination"), lists.join(", "))
        }
    };
    let most = spec.max_concurrent.map(|most| format!(", at most {most} at once"));
    Some(range + most.as_deref().unwrap_or_default())
}

/// Numbers as they are typed, as far as a line has room for them.
fn shown(numbers: &NumberList) -> String {
    let text = numbers.to_string();
    text.get(..MAX_TITLE).map_or(text.clone(), |start| format!("{start}…"))
}

fn needs(spec: &JobSpec) -> Option<String> {
    let demand = &spec.demand;
    let mut needs = Vec::new();
    if demand.cpu.0 > 0 {
        needs.push(format!("{} CPU", text::milli_cores(demand.cpu)));
    }
    if demand.memory_bytes > 0 {
        needs.push(format!("{} memory", text::bytes(demand.memory_bytes)));
    }
    if demand.gpus > 0 {
        needs.push(format!("{} GPU", demand.gpus));
    }
    needs.extend(demand.resources.iter().map(|(name, amount)| format!("{amount} {name}")));
    (!needs.is_empty()).then(|| needs.join(", "))
}

fn after(spec: &JobSpec) -> Option<String> {
    let each = spec.after.iter().map(|dependency| match dependency.condition {
        DependencyCondition::Succeeded => format!("{} succeeded", dependency.job),
        DependencyCondition::Ended => format!("{} ended", dependency.job),
    });
    let each: Vec<_> = each.collect();
    (!each.is_empty()).then(|| each.join(", "))
}

/// Where it is put, and how much it is.
pub(crate) fn input(input: &InputSpec) -> String {
    let name = &input.name;
    match &input.source {
        InputSource::Shared(content) => format!("{name} ({})", text::bytes(content.total_bytes())),
        InputSource::PerTask(contents) => {
            let bytes = contents.iter().map(Content::total_bytes).fold(0, u64::saturating_add);
            format!("{name} ({} in all)", text::bytes(bytes))
        }
        InputSource::Output { job, index: None, output } => format!("{name} ({output} of job {job})"),
        InputSource::Output { job, index: Some(index), output } => {
            format!("{name} ({output} of task {job}.{})", index.0)
        }
    }
}

fn retries(spec: &JobSpec) -> Option<String> {
    if spec.no_retry {
        return Some("none: started at most once".to_owned());
    }
    let RetryPolicy { limit, backoff, .. } = &spec.retry;
    limit.map(|limit| match limit {
        0 => "0".to_owned(),
        limit => format!("{limit}, after up to {} to {}", backoff.min, backoff.max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::TASK_TIMEOUT;
    use crate::model::{Demand, MilliCpu};

    #[test]
    fn only_what_was_asked_for_is_shown() {
        let plain = JobSpec::single(CommandLine::Shell("echo hi".into()));
        let default = ("time limit", "5 min (the dispatcher's --task-timeout)".to_owned());
        assert_eq!(spec(&plain, TASK_TIMEOUT), [("command", "echo hi".to_owned()), default]);
        let full = JobSpec {
            items: Items::Range { first: 1, last: 9, step: 2 },
            max_concurrent: Some(3),
            demand: Demand { cpu: MilliCpu(1500), memory_bytes: 4 << 30, ..Demand::default() },
            ..JobSpec::single(CommandLine::Exec(vec!["echo".into(), "it's".into(), "".into(), "{}".into()]))
        };
        let fields = spec(&full, TASK_TIMEOUT);
        assert_eq!(fields[0], ("command", r"echo 'it'\''s' '' {}".to_owned()));
        assert_eq!(fields[1], ("array", "1-9:2, at most 3 at once".to_owned()));
        assert_eq!(fields[2], ("needs", "1.5 CPU, 4 GiB memory".to_owned()));
    }

    #[test]
    fn the_time_limit_is_shown_with_the_option_that_set_it() {
        let shown = |limit| time_limit(limit, Millis(30_000));
        assert_eq!(shown(TimeLimit::Dispatcher), "30 s (the dispatcher's --task-timeout)");
        assert_eq!(shown(TimeLimit::Limited(Millis(600_000))), "10 min (--time-limit)");
        assert_eq!(shown(TimeLimit::Unlimited), "none (--time-limit)");
    }
}
