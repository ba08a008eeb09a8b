//! What a task is run with: its argument vector and its environment.
//!
//! The one invariant: a task sees what docs/HELP.md names ("What it sees") and nothing else of
//! its worker's environment, and what is Octaskly's own (`OCTASKLY_…`) cannot
//! be bent by `--env`. Absent: directories and descriptors.

use std::ffi::OsStr;
use std::path::Path;

use nix::unistd::{Uid, User};

use super::StartAttempt;
use super::allowance::{Allowance, LONGEST_STRING};
use super::placeholders::{INDEX, ITEM, Placeholders, Unfit};
use super::program::DEFAULT_PATH;
use crate::model::spec::JobSpec;
use crate::model::{Item, RawString};

/// A task's environment, in order; later entries win.
pub(super) type Environment = Vec<(RawString, RawString)>;

/// The part that is the same for all tasks: `PATH HOME LANG TERM USER`.
#[derive(Debug, Clone)]
pub(super) struct BaseEnvironment(Environment);

impl BaseEnvironment {
    /// Takes it from this process, and from the user database where a service manager left it out.
    pub(super) fn of_this_process() -> Self {
        let user = User::from_uid(Uid::current()).ok().flatten();
        let home = user.as_ref().map_or("/".into(), |user| RawString::from(user.dir.as_os_str()));
        let name = user.map_or_else(|| Uid::current().to_string(), |user| user.name);
        let defaults: [(&str, RawString); 5] = [
            ("PATH", DEFAULT_PATH.into()),
            ("HOME", home),
            ("LANG", "C.UTF-8".into()),
            ("TERM", "dumb".into()),
            ("USER", name.into()),
        ];
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self(defaults.map(|(name, value)| (name.into(), set(name).map_or(value, |set| (*set).into()))).into())
    }

    /// The whole environment of one attempt whose scratch directory is `scratch`, within `allowance`.
    pub(super) fn of_attempt(
        &self,
        start: &StartAttempt,
        scratch: &Path,
        allowance: &mut Allowance,
    ) -> Result<Environment, Unfit> {
        let spec = start.spec.spec();
        let index = start.assignment.task.index;
        let item = spec.items.item(index);
        let placeholders = item.as_ref().map(|item| Placeholders::new(item, index.0));
        let mut environment = self.0.clone();
        environment.extend(given(spec, placeholders.as_ref(), allowance)?);
        let mut own = |name: &str, value: RawString| environment.push((name.into(), value));
        own("OCTASKLY_JOB_ID", start.assignment.task.job.to_string().into());
        own("OCTASKLY_TASK_ID", start.assignment.task.to_string().into());
        own("OCTASKLY_ATTEMPT", start.assignment.attempt.0.to_string().into());
        own("OCTASKLY_FENCE", start.assignment.fence.to_string().into());
        own("OCTASKLY_WORKER", start.worker.as_str().into());
        own(INDEX, index.0.to_string().into());
        // A longer one would keep every process from being started, also one that does not look at it.
        if let Some(item) = item.as_ref().map(Item::joined).filter(|item| fits(ITEM, item)) {
            allowance.string(item.len())?;
            own(ITEM, item);
        }
        own("OCTASKLY_CPUS", whole_cores(spec.demand.cpu.0).to_string().into());
        own("OCTASKLY_GPUS", start.assignment.gpus.len().to_string().into());
        own("OCTASKLY_SCRATCH_DIR", scratch.as_os_str().into());
        if !start.assignment.gpus.is_empty() {
            let indices: Vec<String> = start.assignment.gpus.iter().map(u32::to_string).collect();
            let indices = indices.join(",");
            own("CUDA_VISIBLE_DEVICES", indices.clone().into());
            own("HIP_VISIBLE_DEVICES", indices.into());
        }
        Ok(environment)
    }
}

/// What `--env` gives to a task with these placeholders, within `allowance`.
pub(super) fn given(
    spec: &JobSpec,
    placeholders: Option<&Placeholders<'_>>,
    allowance: &mut Allowance,
) -> Result<Environment, Unfit> {
    let mut environment = Environment::new();
    for (name, value) in &spec.env {
        allowance.string(name.len())?;
        let filled = match placeholders {
            Some(placeholders) => placeholders.render(value.as_bytes(), allowance)?.into(),
            None => copy(value, allowance)?,
        };
        let bytes = name.len() + 1 + filled.len();
        if bytes >= LONGEST_STRING && filled != *value {
            return Err(Unfit::TooLarge { by: format!("--env {name}={value}").into(), bytes });
        }
        environment.push((name.clone(), filled));
    }
    Ok(environment)
}

/// Whether a process can be given this variable.
pub(super) fn fits(name: &str, value: &RawString) -> bool {
    name.len() + 1 + value.len() < LONGEST_STRING
}

fn copy(text: &RawString, allowance: &mut Allowance) -> Result<RawString, Unfit> {
    allowance.string(text.len())?;
    Ok(text.clone())
}

/// What `make -j` and its like may use: what was reserved, rounded up, and never nothing.
fn whole_cores(millis: u32) -> u32 {
    millis.div_ceil(1000).max(1)
}

/// What no process can be given: bytes that C strings end at, names with `=` in them.
pub(super) fn unrepresentable(argv: &[RawString], environment: &Environment, cwd: &OsStr) -> Option<String> {
    let has_nul = |text: &RawString| text.as_bytes().contains(&0);
    if argv.iter().any(has_nul) {
        return Some("an argument holds a NUL byte".to_owned());
    }
    if cwd.as_encoded_bytes().contains(&0) {
        return Some("the working directory holds a NUL byte".to_owned());
    }
    let bad = |name: &RawString| name.is_empty() || has_nul(name) || name.as_bytes().contains(&b'=');
    let (name, _) = environment.iter().find(|(name, value)| bad(name) || has_nul(value))?;
    Some(format!("the variable {name:?} cannot be set"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::command;
    use crate::model::messages::Assignment;
    use crate::model::spec::CommandLine;
    use crate::model::{AttemptNo, Epoch, Fence, Items, MilliCpu, SealedSpec, TaskId};

    fn start(spec: JobSpec, index: u64, gpus: Vec<u32>) -> StartAttempt {
        let fence = Fence { epoch: Epoch(1), counter: 9 };
        StartAttempt {
            assignment: Assignment { task: TaskId::new(5, index), attempt: AttemptNo(2), fence, gpus },
            spec: SealedSpec::seal(spec),
            worker: "worker-1".parse().expect("a name"),
            attached: None,
            directory: None,
            keep_directory: false,
        }
    }

    fn environment_of(start: &StartAttempt) -> Environment {
        let base = BaseEnvironment::of_this_process();
        base.of_attempt(start, Path::new("/scratch"), &mut Allowance::whole()).expect("it fits")
    }

    fn arguments_of(start: &StartAttempt) -> Vec<RawString> {
        command::of_attempt(start, &mut Allowance::whole()).expect("they fit").argv
    }

    fn lookup(environment: &Environment, name: &str) -> Option<String> {
        environment.iter().rfind(|(key, _)| key.as_bytes() == name.as_bytes()).map(|(_, value)| value.to_string())
    }

    #[test]
    fn a_task_sees_its_identity_and_its_reservation() {
        let mut spec = JobSpec::single(CommandLine::Shell("echo {.}".into()));
        spec.items = Items::List(vec!["a b.txt".into()].into());
        spec.demand.cpu = MilliCpu(1500);
        spec.env.insert("NAME".into(), "<{}>".into());
        spec.env.insert("OCTASKLY_JOB_ID".into(), "bent".into());
        let start = start(spec, 1, vec![0, 2]);
        let environment = environment_of(&start);
        let seen = |name| lookup(&environment, name).unwrap_or_default();
        assert_eq!((seen("OCTASKLY_JOB_ID"), seen("OCTASKLY_TASK_ID")), ("5".into(), "5.1".into()));
        assert_eq!((seen("OCTASKLY_ATTEMPT"), seen("OCTASKLY_WORKER")), ("2".into(), "worker-1".into()));
        assert_eq!((seen("OCTASKLY_ITEM"), seen("OCTASKLY_INDEX")), ("a b.txt".into(), "1".into()));
        assert_eq!((seen("OCTASKLY_CPUS"), seen("OCTASKLY_GPUS")), ("2".into(), "2".into()));
        assert_eq!((seen("CUDA_VISIBLE_DEVICES"), seen("NAME")), ("0,2".into(), "<a b.txt>".into()));
        assert_eq!(seen("OCTASKLY_FENCE"), ((1u64 << 40) + 9).to_string());
        assert_eq!(arguments_of(&start)[2], "echo \"${OCTASKLY_ITEM_1_NOEXT}\"".into());
    }

    #[test]
    fn a_task_without_an_item_keeps_its_braces() {
        let argv: Vec<RawString> = ["find", ".", "-exec", "echo", "{}", ";"].map(RawString::from).into();
        let start = start(JobSpec::single(CommandLine::Exec(argv.clone())), 0, Vec::new());
        let environment = environment_of(&start);
        assert_eq!(arguments_of(&start), argv);
        assert_eq!(lookup(&environment, "OCTASKLY_ITEM"), None);
        assert_eq!(lookup(&environment, "CUDA_VISIBLE_DEVICES"), None);
    }

    #[test]
    fn a_nul_byte_is_refused_before_it_could_end_a_string_early() {
        let good = Environment::new();
        assert!(unrepresentable(&["a\0b".into()], &good, OsStr::new("/")).is_some());
        assert!(unrepresentable(&[], &vec![("A=B".into(), "".into())], OsStr::new("/")).is_some());
        assert!(unrepresentable(&[], &vec![("A".into(), "x\0LD_PRELOAD=y".into())], OsStr::new("/")).is_some());
        assert!(unrepresentable(&["a".into()], &vec![("A".into(), "b".into())], OsStr::new("/")).is_none());
    }
}
