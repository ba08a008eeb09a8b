//! `--dry-run`: the commands that would be run, one a line, to be read or pasted into a shell.
//!
//! The one invariant: no dispatcher is asked and nothing is written but stdout. What a dispatcher would refuse without
//! looking at anything else is refused here, in the same words. One command at a time is held, however many there are.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::error::CliError;
use crate::cli::output::Page;
use crate::cli::resolve::JobPlan;
use crate::client::ClientError;
use crate::engine::dispatcher::check_submission;
use crate::exec;
use crate::model::requests::Submission;
use crate::model::{Item, JobSpec, SealedSpec, TaskIndex};

/// One command, for a program.
#[derive(Serialize)]
struct DryTask {
    index: u64,
    item: Option<String>,
    command: String,
}

/// Prints the commands of a job; exit 0.
pub(super) fn perform(plan: JobPlan) -> Result<ExitCode, CliError> {
    let form = plan.json;
    let after = plan.after.iter().map(|after| after.dependency()).collect();
    let spec = SealedSpec::seal(JobSpec { after, ..plan.spec });
    let submission =
        Submission { spec, idempotency_key: plan.idempotency_key.unwrap_or_default(), strict: plan.strict };
    let spec = submission.spec.spec();
    // An empty list is not even submitted.
    if spec.items.count() > 0 {
        check_submission(&submission).map_err(ClientError::Failed)?;
    }
    let indices = (0..spec.items.count()).map(|position| spec.items.index_at(position));
    let mut page = Page::begin();
    match form {
        None => {
            for index in indices {
                page.bytes(&line(spec, index))?;
                page.line("")?;
            }
        }
        Some(form) => page.objects(form, indices.map(|index| object(spec, index)))?,
    }
    page.end()?;
    Ok(ExitCode::SUCCESS)
}

fn object(spec: &JobSpec, index: TaskIndex) -> DryTask {
    let item = spec.items.item(index).as_ref().map(Item::joined);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    DryTask {
        index: index.0,
        item: item.map(|item| text(item.as_bytes())),
        command: text(exec::show(spec, index).as_bytes()),
    }
}

/// A command on one line, and in characters that a terminal shows.
fn line(spec: &JobSpec, index: TaskIndex) -> Vec<u8> {
    let command = exec::show(spec, index).0;
    match str::from_utf8(&command) {
        Ok(text) if !text.contains(char::is_control) => command,
        _ => escaped(&command).into_bytes(),
    }
}

/// The same command for shells that know `$'…'`, as most do.
fn escaped(command: &[u8]) -> String {
    let mut line = String::from("/bin/sh -c $'");
    for chunk in command.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => line.push_str("\\n"),
                '\t' => line.push_str("\\t"),
                '\\' | '\'' => line.extend(['\\', character]),
                control if control.is_control() => {
                    let mut bytes = [0; 4];
                    octal(control.encode_utf8(&mut bytes).as_bytes(), &mut line);
                }
                plain => line.push(plain),
            }
        }
        octal(chunk.invalid(), &mut line);
    }
    line.push('\'');
    line
}

/// Bytes in octal, of three digits each, so that what follows is no part of them.
fn octal(bytes: &[u8], line: &mut String) {
    line.extend(bytes.iter().map(|byte| format!("\\{byte:03o}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::CommandLine;
    use crate::model::{Items, RawString};

    #[test]
    fn a_command_is_one_line_without_control_characters() {
        let shown = |command: CommandLine, item: &[u8]| {
            let items = Items::List(vec![RawString(item.to_vec())].into());
            String::from_utf8(line(&JobSpec { items, ..JobSpec::single(command) }, TaskIndex(1))).expect("text")
        };
        let echo = CommandLine::Exec(vec!["echo".into(), "{}".into()]);
        assert_eq!(shown(echo.clone(), b"a b"), "echo 'a b'");
        assert_eq!(shown(echo.clone(), b"caf\xc3\xa9"), "echo 'caf\u{e9}'");
        assert_eq!(shown(echo.clone(), b"a\nb\\"), r"/bin/sh -c $'echo \'a\nb\\\''");
        assert_eq!(shown(echo, b"\x1b[2J\xff1"), r"/bin/sh -c $'echo \'\033[2J\3771\''");
        assert_eq!(shown(CommandLine::Shell("x\n\ty".into()), b""), r"/bin/sh -c $'x\n\ty'");
    }
}
