//! What `run` and `submit` were told, as the job they are to submit.
//!
//! The one invariant: a plan is complete but for what only the dispatcher can
//! say (which job is the last one). Files named in options are read here, so
//! that a missing one is noticed before anybody is asked. Absent: the
//! submission itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use super::command::{self, Manner};
use super::inputs::{self, Files};
use super::intake::{self, StdinPlan};
use super::items::{self, Ranged};
use super::{Environment, option, read, resume, workdir};
use crate::cli::args::{JsonForm, TaskArgs};
use crate::cli::error::{CliError, Place};
use crate::cli::job_log::JobLog;
use crate::cli::output::say;
use crate::cli::value::{self, ValueError};
use crate::client::files::Luggage;
use crate::exec;
use crate::model::limits::{CLIENT_GRACE, MAX_IDEMPOTENCY_KEY_BYTES, MAX_ROWS};
use crate::model::selector::{Part, Selector};
use crate::model::spec::{Dependency, DependencyCondition, JobSpec, OutputMode, RetryPolicy};
use crate::model::{Demand, Items, JobId, Millis, RawString};

/// A job that is ready to be submitted.
#[derive(Debug)]
pub(crate) struct JobPlan {
    /// The job; its `after` is still without the ones in [`JobPlan::after`].
    pub(crate) spec: JobSpec,
    /// What it waits for.
    pub(crate) after: Vec<After>,
    /// The files that have to be at the dispatcher first.
    pub(crate) luggage: Luggage,
    /// Places among its inputs of outputs of the job that this client submitted last.
    pub(crate) of_last: Vec<usize>,
    /// What feeds an attached task's standard input.
    pub(crate) stdin: StdinPlan,
    /// Refuse it when no connected worker could ever run it.
    pub(crate) strict: bool,
    /// The user's own key against queueing it twice.
    pub(crate) idempotency_key: Option<String>,
    /// Print it as JSON.
    pub(crate) json: Option<JsonForm>,
    /// Print its commands and run none.
    pub(crate) dry_run: bool,
    /// Where its tasks are listed as they end; not begun yet.
    pub(crate) job_log: Option<JobLog>,
    /// An earlier job may be left that has the same log.
    pub(crate) is_resumed: bool,
    /// What the user should know of its tasks: why there are none, or that some are skipped.
    pub(crate) note: Option<String>,
}

/// A dependency as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum After {
    /// This job.
    Job(Dependency),
    /// The job that this client submitted last.
    Last(DependencyCondition),
}

impl After {
    /// As the job has it; one whose number only the dispatcher knows is of job 0.
    pub(crate) fn dependency(&self) -> Dependency {
        match self {
            Self::Job(dependency) => *dependency,
            Self::Last(condition) => Dependency { job: JobId(0), condition: *condition },
        }
    }

    /// The job, when it is known which.
    fn job(&self) -> Option<JobId> {
        match self {
            Self::Job(dependency) => Some(dependency.job),
            Self::Last(_) => None,
        }
    }
}

/// Who sees the output of the job's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// `run`.
    Live,
    /// `submit`.
    Stored,
}

/// The job that `args` describe.
pub(crate) fn job(args: &TaskArgs, output: Output, environment: &Environment) -> Result<JobPlan, CliError> {
    let manner = match (args.shell, args.no_shell) {
        (true, _) => Manner::Shell,
        (false, true) => Manner::Exact,
        (false, false) => Manner::ByWords,
    };
    let (command, listed) = command::split(&args.command, manner)?;
    let Ranged { items, max_concurrent, origin, from_stdin } = items::items(args, listed)?;
    let mut spec = JobSpec { items, max_concurrent, ..JobSpec::single(command) };
    let (job_log, note) = resume::left(args, &mut spec, &origin)?;
    spec.name = option("--name", args.name.as_deref(), value::non_empty)?;
    spec.demand = demand(args)?;
    spec.labels = labels(&args.label)?;
    spec.env = variables(&args.env, environment)?;
    if let Some(limit) = option("--time-limit", args.time_limit.as_deref(), value::time_limit)? {
        spec.time_limit = limit;
    }
    if let Some(priority) = option("--priority", args.priority.as_deref(), value::priority)? {
        spec.priority = priority;
    }
    if let Some(dir) = &args.cwd {
        spec.workdir = workdir::workdir(dir, &spec.items, environment)?;
    }
    if let Some(level) = option("--isolation", args.isolation.as_deref(), value::isolation)? {
        spec.isolation = level;
    }
    spec.max_fails = option("--max-fails", args.max_fails.as_deref(), |text| value::count_u32(text, 1))?;
    spec.exclusive = args.exclusive;
    spec.no_retry = args.no_retry;
    spec.retry = retry(args, output)?;

    let live = output == Output::Live && spec.items == Items::Single;
    let stdin =
        if live { intake::live_stdin(args, &mut spec) } else { intake::stored_stdin(args, from_stdin, &mut spec)? };
    if live {
        spec.output = OutputMode::Attached;
    }
    let mut after = dependencies("--after", &args.after, DependencyCondition::Succeeded)?;
    after.extend(dependencies("--after-any", &args.after_any, DependencyCondition::Ended)?);
    if !args.inputs.is_empty() && args.cwd.is_some() {
        return Err(CliError::Conflict("--in", "--cwd"));
    }
    exec::check(&spec).map_err(|(task, source)| CliError::Unfit { task, source })?;
    let Files { inputs, outputs, luggage, producers, of_last } =
        inputs::files(&args.inputs, &args.outputs, (&spec.command, &spec.items), output == Output::Live)?;
    spec.inputs = inputs;
    spec.outputs = outputs;
    // Whoever takes an output waits for it.
    let condition = DependencyCondition::Succeeded;
    let named: BTreeSet<JobId> = after.iter().filter_map(After::job).collect();
    after.extend(producers.difference(&named).map(|job| After::Job(Dependency { job: *job, condition })));
    if !of_last.is_empty() && !after.iter().any(|one| matches!(one, After::Last(_))) {
        after.push(After::Last(condition));
    }
    Ok(JobPlan {
        spec,
        after,
        luggage,
        of_last,
        stdin,
        strict: args.strict,
        idempotency_key: option("--idempotency-key", args.idempotency_key.as_deref(), |text| {
            value::short(text, MAX_IDEMPOTENCY_KEY_BYTES)
        })?,
        json: args.json,
        dry_run: args.dry_run,
        job_log,
        is_resumed: false,
        note,
    })
}

/// `--client-grace` of a `run`.
pub(crate) fn client_grace(given: Option<&OsStr>) -> Result<Millis, CliError> {
    Ok(option("--client-grace", given, value::stop_grace)?.unwrap_or(CLIENT_GRACE))
}

fn demand(args: &TaskArgs) -> Result<Demand, CliError> {
    let resources = |texts: &[OsString]| {
        let joined = texts.join(OsStr::new(" "));
        let texts: Option<Vec<&str>> = texts.iter().map(|text| text.to_str()).collect();
        let amounts = texts.ok_or(ValueError::NotText).and_then(value::amounts);
        amounts.map_err(|error| CliError::value(Place::Option("--resource"), &joined, error))
    };
    Ok(Demand {
        cpu: option("--cpus", args.cpus.as_deref(), value::cpus)?.unwrap_or_default(),
        memory_bytes: option("--mem", args.mem.as_deref(), value::size)?.unwrap_or(0),
        gpus: option("--gpus", args.gpus.as_deref(), |text| value::count_u32(text, 0))?.unwrap_or(0),
        resources: resources(&args.resource)?,
    })
}

/// The labels asked for, and those of this machine unless they are lifted by `any`.
fn labels(given: &[OsString]) -> Result<BTreeMap<String, String>, CliError> {
    let joined = given.join(OsStr::new(" "));
    let texts: Option<Vec<&str>> = given.iter().map(|text| text.to_str()).collect();
    let labels = texts.ok_or(ValueError::NotText).and_then(|texts| value::labels(texts, false));
    let mut labels = labels.map_err(|error| CliError::value(Place::Option("--label"), &joined, error))?;
    for (key, own) in [("os", std::env::consts::OS), ("arch", std::env::consts::ARCH)] {
        match labels.get(key).map(String::as_str) {
            Some("any") => drop(labels.remove(key)),
            Some(_) => {}
            None => drop(labels.insert(key.to_owned(), own.to_owned())),
        }
    }
    Ok(labels)
}

/// `--env KEY=VALUE`, and `--env KEY` for the value it has here; one that is not set here is not set there.
fn variables(given: &[OsString], environment: &Environment) -> Result<BTreeMap<RawString, RawString>, CliError> {
    let mut variables = BTreeMap::new();
    for text in given {
        let raw = RawString::from(text.as_os_str());
        let (key, value) = match raw.as_bytes().iter().position(|byte| *byte == b'=') {
            Some(at) => (RawString(raw.0[..at].to_vec()), Some(RawString(raw.0[at + 1..].to_vec()))),
            None => (raw, environment.raw(text).map(RawString::from)),
        };
        if key.is_empty() {
            return Err(CliError::value(Place::Option("--env"), text, ValueError::NotPair("KEY or KEY=VALUE")));
        }
        if let Some(value) = value {
            variables.insert(key, value);
        }
    }
    Ok(variables)
}

fn retry(args: &TaskArgs, output: Output) -> Result<RetryPolicy, CliError> {
    let mut policy =
        RetryPolicy { limit: option("--retries", args.retries.as_deref(), value::retries)?, ..RetryPolicy::default() };
    if let Some(backoff) = option("--backoff", args.backoff.as_deref(), value::backoff)? {
        policy.backoff = backoff;
    }
    if let Some(on) = option("--retry-on", args.retry_on.as_deref(), value::retry_on)? {
        policy.on = on;
    }
    // A person waits for a `run` and sees what went wrong.
    if output == Output::Live || args.no_retry {
        policy.limit = Some(policy.limit.unwrap_or(0));
    }
    Ok(policy)
}

/// The jobs named by `--after` or `--after-any`.
fn dependencies(
    option: &'static str,
    given: &[OsString],
    condition: DependencyCondition,
) -> Result<Vec<After>, CliError> {
    let mut after = Vec::new();
    for text in given {
        let bad = |error| CliError::value(Place::Option(option), text, error);
        match read(Place::Option(option), text, value::selector)? {
            Selector::Last => after.push(After::Last(condition)),
            Selector::All | Selector::Everyone => return Err(bad(ValueError::AllJobs)),
            Selector::These(parts) => {
                for part in parts {
                    let Part::Jobs(JobId(first), JobId(last)) = part else { return Err(bad(ValueError::TaskForJob)) };
                    if last - first >= u64::from(MAX_ROWS) {
                        return Err(bad(ValueError::TooLarge(format!("{MAX_ROWS} jobs"))));
                    }
                    after.extend((first..=last).map(|job| After::Job(Dependency { job: JobId(job), condition })));
                }
            }
        }
    }
    Ok(after)
}

impl JobPlan {
    /// Says what the user should know of its tasks.
    pub(crate) fn tell(&self, quiet: bool) {
        if let Some(note) = &self.note {
            say::note(quiet, note);
        }
    }

    /// Whether it has a single task, whose output a `run` shows live.
    pub(crate) fn is_single(&self) -> bool {
        self.spec.items == Items::Single
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{LowArgs, Verb};
    use crate::model::spec::{Backoff, Isolation, RetryOn, StdinSource, TimeLimit, Workdir};
    use crate::model::{MilliCpu, Millis};

    fn plan(line: &[&str]) -> Result<JobPlan, CliError> {
        let parsed = LowArgs::try_parse_from([&["octaskly"], line].concat()).expect("the line parses");
        let environment: Environment = [("HERE", "yes"), ("EMPTY", "")].into_iter().collect();
        match parsed.verb {
            Verb::Run(args) => job(&args.task, Output::Live, &environment),
            Verb::Submit(args) => job(&args.task, Output::Stored, &environment),
            _ => panic!("no job"),
        }
    }

    fn spec(line: &[&str]) -> JobSpec {
        plan(line).expect("a job").spec
    }

    #[test]
    fn a_plain_run_is_attached_and_a_plain_submit_is_stored() {
        let run = plan(&["run", "--", "cat"]).expect("a job");
        assert_eq!((run.spec.output, &run.spec.stdin), (OutputMode::Attached, &StdinSource::Attached));
        assert_eq!((run.stdin, run.spec.retry.limit), (StdinPlan::Own, Some(0)));
        let submit = plan(&["submit", "--", "cat"]).expect("a job");
        assert_eq!((submit.spec.output, &submit.spec.stdin), (OutputMode::Stored, &StdinSource::Empty));
        assert_eq!((submit.stdin, submit.spec.retry.limit), (StdinPlan::Nothing, None));
        let array = spec(&["run", "--array", "1-3", "--", "cat"]);
        assert_eq!((array.output, array.stdin), (OutputMode::Stored, StdinSource::Empty));
    }

    #[test]
    fn a_job_stays_on_the_submitters_platform_unless_told_otherwise() {
        let own = spec(&["submit", "true"]).labels;
        assert_eq!(own.get("os").map(String::as_str), Some(std::env::consts::OS));
        assert_eq!(own.get("arch").map(String::as_str), Some(std::env::consts::ARCH));
        let any = spec(&["submit", "--label", "os=any", "--label", "arch=riscv64", "--label", "zone=a", "true"]).labels;
        assert_eq!(any, [("arch", "riscv64"), ("zone", "a")].map(|(k, v)| (k.into(), v.into())).into());
    }

    #[test]
    fn what_a_task_needs_is_what_was_asked_for() {
        let line = ["submit", "--cpus", "1.5", "--mem", "4G", "--gpus", "1", "--resource", "lic=2", "true"];
        let demand = spec(&line).demand;
        assert_eq!((demand.cpu, demand.memory_bytes, demand.gpus), (MilliCpu(1500), 4 << 30, 1));
        assert_eq!(demand.resources.get("lic"), Some(&2));
        assert_eq!(spec(&["submit", "true"]).demand, Demand::default(), "nothing is reserved unasked");
    }

    #[test]
    fn every_other_option_lands_in_the_spec() {
        let line = [
            "submit",
            "--time-limit",
            "10m",
            "--priority",
            "-5",
            "--cwd",
            "/srv",
            "--name",
            "night run",
            "--retries",
            "7",
            "--backoff",
            "2s..8s",
            "--retry-on",
            "75,timeout",
            "--max-fails",
            "3",
            "--exclusive",
            "--isolation",
            "none",
            "--strict",
            "--idempotency-key",
            "k",
            "--array",
            "1-10:3%2",
            "--",
            "true",
        ];
        let planned = plan(&line).expect("a job");
        let (strict, key) = (planned.strict, planned.idempotency_key);
        let full = planned.spec;
        assert_eq!(full.time_limit, TimeLimit::Limited(Millis(600_000)));
        assert_eq!((full.priority, full.name.as_deref()), (-5, Some("night run")));
        assert_eq!(full.workdir, Workdir::Existing("/srv".into()));
        assert_eq!(full.retry.limit, Some(7));
        assert_eq!(full.retry.backoff, Backoff { min: Millis(2000), max: Millis(8000) });
        let on = RetryOn { codes: Some(vec![75]), signal: false, oom: false, timeout: true };
        assert_eq!((full.retry.on, full.max_fails, full.exclusive), (on, Some(3), true));
        assert_eq!((full.isolation, strict, key.as_deref()), (Isolation::None, true, Some("k")));
        assert_eq!((full.items, full.max_concurrent), (Items::Range { first: 1, last: 10, step: 3 }, Some(2)));
        assert_eq!(spec(&["submit", "--time-limit", "none", "true"]).time_limit, TimeLimit::Unlimited);
        let once = spec(&["submit", "--no-retry", "true"]);
        assert_eq!((once.no_retry, once.retry.limit), (true, Some(0)));
    }

    #[test]
    fn variables_are_passed_by_value_or_by_name() {
        let env =
            spec(&["submit", "--env", "A=1=2", "--env", "HERE", "--env", "EMPTY", "--env", "NOWHERE", "true"]).env;
        let expected = [("A", "1=2"), ("EMPTY", ""), ("HERE", "yes")];
        assert_eq!(env, expected.map(|(k, v)| (RawString::from(k), RawString::from(v))).into());
        assert!(plan(&["submit", "--env", "=x", "true"]).is_err());
    }

    #[test]
    fn dependencies_are_jobs_ranges_or_the_last_one() {
        let after = plan(&["submit", "--after", "5,7-8", "--after-any", "last", "true"]).expect("a job").after;
        let on = |job| After::Job(Dependency { job: JobId(job), condition: DependencyCondition::Succeeded });
        assert_eq!(after, [on(5), on(7), on(8), After::Last(DependencyCondition::Ended)]);
        for bad in ["5.1", "all", "x", "1-999999999"] {
            assert!(plan(&["submit", "--after", bad, "true"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_task_options_are_usage_errors_that_name_the_option() {
        for (option, value) in [
            ("--cpus", "0"),
            ("--mem", "4X"),
            ("--gpus", "-1"),
            ("--resource", "lic"),
            ("--label", "zone"),
            ("--time-limit", "soon"),
            ("--priority", "high"),
            ("--array", "5-1"),
            ("--retries", "x"),
            ("--retries", "1001"),
            ("--idempotency-key", &"k".repeat(257)),
            ("--backoff", "x"),
            ("--retry-on", "x"),
            ("--max-fails", "0"),
            ("--isolation", "total"),
            ("--each-line", "/no/such/file"),
            ("--from-json", "/no/such/file"),
        ] {
            for verb in ["run", "submit"] {
                let error = plan(&[verb, &format!("{option}={value}"), "true"]).expect_err("makes no sense");
                assert!(error.line().contains(option), "{verb}: {}", error.line());
                assert_eq!(error.exit_code(), 2, "{verb} {option}");
            }
        }
        let missing =
            plan(&["submit", "--stdin=/no/such/file", "true"]).expect_err("what submit stores is read at once");
        assert_eq!((missing.line().contains("--stdin"), missing.exit_code()), (true, 2));
        let both = plan(&["run", "--from-json", "x", "echo", ":::", "a"]).expect_err("two arrays");
        assert_eq!(both.line(), "--from-json cannot be used with :::");
        let twice = plan(&["run", "--array", "1-2", "echo", ":::", "a"]).expect_err("two arrays");
        assert_eq!(twice.line(), "--array cannot be used with :::");
    }
}
