//! What a job was asked to be, by the long names of the options of `run` and `submit`.
//!
//! The one invariant: every option that changes what runs is here. The values of `--env` are not: they may be secrets.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Number;

use super::cores;
use crate::cli::verb::describe;
use crate::model::spec::{
    CommandLine, DependencyCondition, Isolation, JobSpec, RetryOn, StdinSource, TimeLimit, Workdir,
};
use crate::model::{Millis, RawString};

/// The options of a job. Sizes are bytes, times are seconds; `null` is the default.
#[derive(Debug, Serialize)]
pub(super) struct Spec {
    command: Command,
    array: Option<String>,
    cpus: Option<Number>,
    mem: Option<u64>,
    gpus: u32,
    resource: BTreeMap<String, u64>,
    label: BTreeMap<String, String>,
    isolation: Isolation,
    priority: i32,
    after: Vec<u64>,
    after_any: Vec<u64>,
    time_limit: Option<Limit>,
    env: Vec<String>,
    cwd: Option<String>,
    stdin: &'static str,
    r#in: Vec<String>,
    out: Vec<String>,
    at_most: Option<u32>,
    max_fails: Option<u32>,
    retries: Option<u32>,
    backoff: [f64; 2],
    retry_on: Vec<String>,
    exclusive: bool,
    no_retry: bool,
}

/// A shell's line, or an exact argument vector.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Command {
    Line(String),
    Arguments(Vec<String>),
}

/// A limit in seconds, or `"none"`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Limit {
    None(&'static str),
    Seconds(f64),
}

impl From<&JobSpec> for Spec {
    fn from(spec: &JobSpec) -> Self {
        let after = |wanted| {
            let meant = spec.after.iter().filter(move |dependency| dependency.condition == wanted);
            meant.map(|dependency| dependency.job.0).collect()
        };
        Self {
            command: match &spec.command {
                CommandLine::Shell(line) => Command::Line(line.to_string()),
                CommandLine::Exec(words) => Command::Arguments(words.iter().map(RawString::to_string).collect()),
            },
            array: describe::items(spec),
            cpus: (spec.demand.cpu.0 > 0).then(|| cores(u64::from(spec.demand.cpu.0))),
            mem: Some(spec.demand.memory_bytes).filter(|bytes| *bytes > 0),
            gpus: spec.demand.gpus,
            resource: spec.demand.resources.clone(),
            label: spec.labels.clone(),
            isolation: spec.isolation,
            priority: spec.priority,
            after: after(DependencyCondition::Succeeded),
            after_any: after(DependencyCondition::Ended),
            time_limit: match spec.time_limit {
                TimeLimit::Dispatcher => None,
                TimeLimit::Unlimited => Some(Limit::None("none")),
                TimeLimit::Limited(limit) => Some(Limit::Seconds(seconds(limit))),
            },
            env: spec.env.keys().map(RawString::to_string).collect(),
            cwd: match &spec.workdir {
                Workdir::Fresh => None,
                Workdir::Existing(directory) => Some(directory.to_string()),
            },
            stdin: match spec.stdin {
                StdinSource::Empty => "empty",
                StdinSource::Inline(_) => "stored",
                StdinSource::Attached => "client",
            },
            r#in: spec.inputs.iter().map(describe::input).collect(),
            out: spec.outputs.iter().map(RawString::to_string).collect(),
            at_most: spec.max_concurrent,
            max_fails: spec.max_fails,
            retries: spec.retry.limit,
            backoff: [spec.retry.backoff.min, spec.retry.backoff.max].map(seconds),
            retry_on: retry_on(&spec.retry.on),
            exclusive: spec.exclusive,
            no_retry: spec.no_retry,
        }
    }
}

fn seconds(span: Millis) -> f64 {
    span.0 as f64 / 1000.0
}

/// The failures that are tried again, as `--retry-on` names them; all exit codes are `exit`.
fn retry_on(on: &RetryOn) -> Vec<String> {
    let mut named: Vec<String> = match &on.codes {
        None => vec!["exit".to_owned()],
        Some(codes) => codes.iter().map(ToString::to_string).collect(),
    };
    let others = [(on.signal, "signal"), (on.oom, "oom"), (on.timeout, "timeout")];
    named.extend(others.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name.to_owned()));
    named
}
