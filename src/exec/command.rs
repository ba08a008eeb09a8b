//! What a task runs: its argument vector, and the variables with which its shell line names items.
//!
//! The one invariant: a command that this cannot fill in without an item becoming code is not run; `check` says so before a
//! job is queued, and a worker once more. Absent: `--env` and what else a task sees (`environment`).

use super::StartAttempt;
use super::allowance::{Allowance, LONGEST_STRING};
use super::environment::{self, Environment};
use super::placeholders::{self, Argument, FilledLine, ITEM, Placeholders, ShellLine, Unfit, arguments};
use crate::model::spec::{CommandLine, JobSpec};
use crate::model::{Item, ItemList, Items, RawString, TaskIndex};

/// A command that is ready to be run.
#[derive(Debug)]
pub(super) struct Filled {
    /// Program first.
    pub(super) argv: Vec<RawString>,
    /// Variables besides those that every task has.
    pub(super) variables: Environment,
}

/// The command of one attempt, within `allowance`.
///
/// # Errors
/// When its item does not fit into it.
pub(super) fn of_attempt(start: &StartAttempt, allowance: &mut Allowance) -> Result<Filled, Unfit> {
    let spec = start.spec.spec();
    let index = start.assignment.task.index;
    let Some(item) = spec.items.item(index) else {
        let argv = plain(&spec.command);
        argv.iter().try_for_each(|argument| allowance.string(argument.len()))?;
        return Ok(Filled { argv, variables: Environment::new() });
    };
    Command::read(&spec.command, item.parts().len())?.fill(&item, index, allowance)
}

/// Whether the items of a job fit into its command and its `--env`.
///
/// # Errors
/// The first task whose item does not, and why.
pub fn check(spec: &JobSpec) -> Result<(), (TaskIndex, Unfit)> {
    let first = spec.items.index_at(0);
    let lists = spec.items.lists();
    if lists == 0 {
        return Ok(());
    }
    let command = Command::read(&spec.command, lists).map_err(|unfit| (first, unfit))?;
    // However often it is named, a short item fits.
    let braces = spec.env.values().flat_map(RawString::as_bytes).filter(|byte| **byte == b'{').count();
    let longest = LONGEST_STRING / 2 / (command.names + braces) / lists;
    let fits = |list: &ItemList| list.iter().all(|item| item.len() <= longest && !item.contains(&0));
    let all_fit = match &spec.items {
        Items::List(list) => fits(list),
        Items::Combined(combination) => combination.lists().all(fits),
        _ => false,
    };
    if all_fit && !command.is_restricted {
        return Ok(());
    }
    // What one number may stand for, every other may.
    let are_numbers = matches!(spec.items, Items::Range { .. } | Items::Numbers(_));
    let tasks = if are_numbers { spec.items.count().min(1) } else { spec.items.count() };
    for index in (0..tasks).map(|position| spec.items.index_at(position)) {
        let Some(item) = spec.items.item(index) else { continue };
        check_item(spec, &command, &item, index).map_err(|unfit| (index, unfit))?;
    }
    Ok(())
}

fn check_item(spec: &JobSpec, command: &Command<'_>, item: &Item, index: TaskIndex) -> Result<(), Unfit> {
    if item.parts().iter().any(|part| part.as_bytes().contains(&0)) {
        return Err(Unfit::Nul);
    }
    let mut allowance = Allowance::whole();
    command.fill(item, index, &mut allowance)?;
    environment::given(spec, Some(&Placeholders::new(item, index.0)), &mut allowance)?;
    Ok(())
}

/// The command of the task `index` as one would type it into a shell, for people to read.
#[must_use]
pub fn show(spec: &JobSpec, index: TaskIndex) -> RawString {
    let item = spec.items.item(index);
    let values = item.as_ref().map(|item| Placeholders::new(item, index.0));
    let words = match (&spec.command, &values) {
        (CommandLine::Shell(line), None) => return line.clone(),
        (CommandLine::Shell(line), Some(values)) => {
            return ShellLine::read(line.as_bytes(), spec.items.lists()).show(values).into();
        }
        (CommandLine::Exec(argv), None) => argv.clone(),
        (CommandLine::Exec(argv), Some(values)) => {
            argv.iter().flat_map(|word| values.arguments(word.as_bytes(), &mut Allowance::whole())).flatten().collect()
        }
    };
    let quoted = |word: &RawString| placeholders::quoted(word.as_bytes());
    RawString(words.iter().map(quoted).collect::<Vec<_>>().join(&b' '))
}

/// A command whose placeholders are found.
struct Command<'s> {
    command: &'s CommandLine,
    arguments: Vec<Argument<'s>>,
    /// Some items could be refused for where they are put.
    is_restricted: bool,
    /// How often it names an item at most, and once more.
    names: usize,
    /// It names `OCTASKLY_ITEM` itself.
    names_variable: bool,
}

impl<'s> Command<'s> {
    /// Finds the placeholders of a job whose tasks have an item of each of `lists` lists.
    fn read(command: &'s CommandLine, lists: usize) -> Result<Self, Unfit> {
        let words = match command {
            CommandLine::Shell(line) => std::slice::from_ref(line),
            CommandLine::Exec(argv) => argv,
        };
        if let Some(word) = words.iter().find(|word| word.len() >= LONGEST_STRING) {
            return Err(Unfit::TooLarge { by: "the command".into(), bytes: word.len() });
        }
        let arguments = match command {
            CommandLine::Shell(line) => vec![Argument::Code(ShellLine::read(line.as_bytes(), lists))],
            CommandLine::Exec(argv) => arguments(argv, lists),
        };
        let is_restricted =
            arguments.iter().any(|argument| matches!(argument, Argument::Code(line) if line.is_restricted()));
        let bytes = || words.iter().map(RawString::as_bytes);
        let names = 1 + bytes().flatten().filter(|byte| **byte == b'{').count();
        let names_variable = bytes().any(|word| word.windows(ITEM.len()).any(|part| part == ITEM.as_bytes()));
        Ok(Self { command, arguments, is_restricted, names, names_variable })
    }

    /// The command of one task, within `allowance`.
    fn fill(&self, item: &Item, index: TaskIndex, allowance: &mut Allowance) -> Result<Filled, Unfit> {
        let values = Placeholders::new(item, index.0);
        let joined = item.joined();
        if self.names_variable && !environment::fits(ITEM, &joined) {
            return Err(Unfit::TooLarge { by: ITEM.into(), bytes: ITEM.len() + 1 + joined.len() });
        }
        let (mut argv, mut variables) = (Vec::new(), Environment::new());
        if matches!(self.command, CommandLine::Shell(_)) {
            argv.extend(SHELL.map(RawString::from));
        }
        for argument in &self.arguments {
            match argument {
                Argument::Data(argument) => {
                    for filled in values.arguments(argument.as_bytes(), allowance)? {
                        if filled.len() >= LONGEST_STRING {
                            return Err(Unfit::TooLarge { by: (*argument).clone(), bytes: filled.len() });
                        }
                        argv.push(filled);
                    }
                }
                Argument::Code(line) => {
                    let FilledLine { line, variables: more } = line.fill(&values, allowance)?;
                    argv.push(line);
                    variables.extend(more);
                }
            }
        }
        Ok(Filled { argv, variables })
    }
}

/// What runs a command that is one line.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A command without placeholders.
fn plain(command: &CommandLine) -> Vec<RawString> {
    match command {
        CommandLine::Exec(argv) => argv.clone(),
        CommandLine::Shell(line) => vec![SHELL[0].into(), SHELL[1].into(), line.clone()],
    }
}
