//! Local files that a command names and nobody sends: a task, which starts in an empty directory, does not find them.
//!
//! The one invariant: of a path that a worker may have by itself nothing is said. Absent: whether the task failed, which
//! the caller knows.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::Environment;
use super::inputs::own_templates;
use super::named::{LocalFile, Words, is_of_system, local_file, words};
use crate::blob::matches_pattern;
use crate::cli::output::text::quoted;
use crate::exec::fill;
use crate::model::files::tidy;
use crate::model::spec::{CommandLine, JobSpec, Workdir};
use crate::model::{Item, Items, RawString, TaskIndex};

/// More are not listed: `--in auto` sends them all.
const LISTED: usize = 4;

/// Items that are looked at to say whether every item is a file.
const SAMPLED: u64 = 1000;

/// Programs whose first argument is a script.
const INTERPRETERS: [&str; 14] = [
    "sh", "bash", "dash", "ksh", "zsh", "fish", "python", "python3", "perl", "ruby", "node", "Rscript", "julia", "php",
];

/// A local file that a command names and that is not sent.
struct Unsent {
    /// How the command names it, with placeholders.
    template: RawString,
    path: RawString,
    file: LocalFile,
    /// What finds it once it is sent, when the command has to say something else.
    call: Option<String>,
}

/// One job's view of this directory.
pub(crate) struct Here<'a> {
    /// What is run.
    pub(crate) spec: &'a JobSpec,
    /// Where programs are looked for.
    pub(crate) environment: &'a Environment,
    /// Whether the task runs on another machine, which need not have this one's absolute paths.
    pub(crate) is_elsewhere: bool,
}

impl Here<'_> {
    /// What a failed task of the job should have been sent, as a hint; `None` when it names no file that it lacks.
    pub(crate) fn hint(&self, index: TaskIndex) -> Option<String> {
        let found = self.unsent(index);
        let first = found.first()?;
        let (mut options, mut calls) = (Vec::new(), Vec::new());
        for one in &found {
            let is_for_all = self.is_file_for_all(&one.template);
            options.push(if is_for_all { format!("--in {}", quoted(&one.template)) } else { "--in auto".to_owned() });
            calls.extend(one.call.clone());
        }
        if found.len() > LISTED || options.iter().any(|option| option == "--in auto") {
            options = vec!["--in auto".to_owned()];
        }
        let listed: Vec<_> = found.iter().take(LISTED).map(|one| format!("{:?}", one.path.to_string())).collect();
        let what = match (found.len(), first.file.is_directory) {
            (1, true) => "is a directory here, but was not sent",
            (1, false) => "is a file here, but was not sent",
            _ => "are here, but were not sent",
        };
        let mut text = format!("{} {what}: add {}", listed.join(", "), options.join(" "));
        if !calls.is_empty() {
            text = format!("{text} and write {} in the command", calls.join(" and "));
        }
        Some(text)
    }

    /// Why the program or script that the job runs will not be found, and the command to type instead.
    pub(crate) fn script(&self, verb: &str) -> Option<(String, String)> {
        let Words { program, others } = words(&self.spec.command, &self.spec.items);
        let program = program?;
        let found = self.unsent(self.spec.items.index_at(0));
        let base = Path::new(program.as_os_str()).file_name().and_then(OsStr::to_str).unwrap_or_default();
        let argument = others.iter().find(|word| !word.as_bytes().starts_with(b"-"));
        let is_script = |one: &&Unsent| {
            let is_named = one.template == program || (INTERPRETERS.contains(&base) && Some(&one.template) == argument);
            is_named && one.file.place.is_some() && one.template == one.path && !one.file.is_directory
        };
        let script = found.iter().find(is_script)?;
        let sent: Vec<_> =
            found.iter().filter(|one| one.file.place.is_some()).map(|one| quoted(&one.template)).collect();
        let sent = if sent.len() > LISTED { vec!["auto".to_owned()] } else { sent };
        let options: Vec<_> = sent.iter().map(|name| format!("--in {name}")).collect();
        let text = format!(
            "{:?} is a file here, and a task starts in an empty directory of its own, where it is not",
            script.path.to_string()
        );
        Some((text, format!("octaskly {verb} {} {}", options.join(" "), self.called(&program, script))))
    }

    /// The command as it has to be typed so that it finds `script`.
    fn called(&self, program: &RawString, script: &Unsent) -> String {
        let call = match (&script.call, script.template == *program, script.file.is_executable) {
            (_, true, false) => format!("{} {}", interpreter_of(&script.path), quoted(&script.path)),
            (Some(call), ..) => call.clone(),
            (None, ..) => quoted(program),
        };
        let command = match &self.spec.command {
            CommandLine::Exec(argv) => {
                let rest = argv.iter().skip(1).map(|word| format!(" {}", quoted(word)));
                call + &rest.collect::<String>()
            }
            CommandLine::Shell(line) => match line.as_bytes().strip_prefix(program.as_bytes()) {
                Some([]) if script.file.is_executable => call,
                Some(rest) => quoted(&RawString([call.as_bytes(), rest].concat())),
                None => quoted(line),
            },
        };
        if self.spec.items == Items::Single { command } else { format!("{command} …") }
    }

    /// Local files that the task with this index names and lacks, in the order in which the command names them.
    fn unsent(&self, index: TaskIndex) -> Vec<Unsent> {
        if self.spec.workdir != Workdir::Fresh {
            return Vec::new();
        }
        let Words { program, others } = words(&self.spec.command, &self.spec.items);
        let item = self.spec.items.item(index);
        let path_of = |template: &RawString| fill(item.as_ref(), index.0, template);
        let mut found = Vec::new();
        if let Some(template) = program
            && let Some(path) = path_of(&template)
            && let Some(file) = local_file(&path).filter(|file| !file.is_directory)
        {
            let is_bare = !path.as_bytes().contains(&b'/');
            let is_known =
                if is_bare { self.is_program(&path) } else { self.is_there(item.as_ref(), index, &path, &file) };
            if !is_known {
                let call = is_bare.then(|| format!("./{}", quoted(&template)));
                found.push(Unsent { template, path, file, call });
            }
        }
        for template in others {
            let Some(path) = path_of(&template) else { continue };
            let Some(file) = local_file(&path) else { continue };
            let is_twice = found.iter().any(|one: &Unsent| one.path == path);
            if !is_twice && !self.is_there(item.as_ref(), index, &path, &file) {
                let last = || own_templates(template.as_bytes()).pop().map(|last| quoted(&last));
                let call = if file.place.is_none() { last() } else { None };
                found.push(Unsent { template, path, file, call });
            }
        }
        found
    }

    /// Whether a task may find this file all the same: sent, made by the task itself, or there on every worker.
    fn is_there(&self, item: Option<&Item>, index: TaskIndex, path: &RawString, file: &LocalFile) -> bool {
        let Some(place) = &file.place else {
            let is_absolute = path.as_bytes().starts_with(b"/");
            return is_absolute && (!self.is_elsewhere || file.is_directory || is_of_system(path));
        };
        let filled = |name: &RawString| fill(item, index.0, name).map(|name| tidy(name.as_bytes()));
        let is_sent = |name: &RawString| name.as_bytes() == b"." || are_related(name.as_bytes(), place.as_bytes());
        let is_made = |name: &RawString| {
            are_related(name.as_bytes(), place.as_bytes()) || matches_pattern(name.as_bytes(), place.as_bytes())
        };
        self.spec.inputs.iter().filter_map(|input| filled(&input.name)).any(|name| is_sent(&name))
            || self.spec.outputs.iter().filter_map(filled).any(|name| is_made(&name))
    }

    /// Whether a bare word is a program that is found where programs are.
    fn is_program(&self, word: &RawString) -> bool {
        let folders = self.environment.get("PATH").unwrap_or_default();
        std::env::split_paths(&folders).any(|folder| folder.join(OsStr::from_bytes(word.as_bytes())).is_file())
    }

    /// Whether `--in TEMPLATE` finds a file for every task; of very many some are looked at.
    fn is_file_for_all(&self, template: &RawString) -> bool {
        let items = &self.spec.items;
        (0..items.count().min(SAMPLED)).map(|position| items.index_at(position)).all(|index| {
            let path = fill(items.item(index).as_ref(), index.0, template);
            path.is_some_and(|path| local_file(&path).is_some())
        })
    }
}

/// Whether two paths are the same, or one is in the other.
fn are_related(one: &[u8], other: &[u8]) -> bool {
    let is_in =
        |inner: &[u8], outer: &[u8]| inner.strip_prefix(outer).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
    is_in(one, other) || is_in(other, one)
}

/// What a script says that it is run by; `sh` when it says nothing.
fn interpreter_of(script: &RawString) -> String {
    use std::io::Read as _;

    let mut start = Vec::new();
    let file = std::fs::File::open(script.as_os_str());
    let _ = file.and_then(|file| file.take(128).read_to_end(&mut start));
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let named = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("#!"));
    let words = named.unwrap_or_default().split_whitespace().map(|word| word.rsplit('/').next().unwrap_or_default());
    words.into_iter().find(|word| *word != "env").filter(|word| !word.is_empty()).unwrap_or("sh").to_owned()
}
