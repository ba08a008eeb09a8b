//! `octaskly logs`: the output of tasks, stored or as it grows.
//!
//! The one invariant: bytes are printed once and as the task wrote them, its
//! stdout on ours and its stderr on ours; `--tag`, `--json` and following several tasks work by whole lines. A
//! place in a task's output is counted with what the log had to leave out, so
//! it is the same on every link.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::items::ItemNames;
use super::{Context, last};
use crate::cli::args::{JsonForm, LogsArgs};
use crate::cli::error::CliError;
use crate::cli::output::raw::RawOutput;
use crate::cli::output::tagged::Tagged;
use crate::cli::output::{JsonList, Page, item, json, say};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::client::{Client, ClientError, LogStream};
use crate::model::requests::TaskFilter;
use crate::model::selector::Selector;
use crate::model::{AttemptNo, TaskId};
use crate::wire::{DataFrame, OutputStream, TailLines};

/// Prints it; with `-f` until the tasks have ended.
pub(super) fn perform(args: &LogsArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    let tail = resolve::tail(args.tail.as_ref())?;
    let attempt = resolve::attempt(args.attempt.as_ref())?;
    context.as_client(async {
        let mut session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let alone = match args.tag || args.json.json.is_some() {
            true => only_task(session.client(), &selector).await?,
            false => None,
        };
        let only = match (args.stdout, args.stderr) {
            (true, _) => Some(OutputStream::Stdout),
            (false, true) => Some(OutputStream::Stderr),
            (false, false) => None,
        };
        let form = match (args.json.json, args.tag, args.follow) {
            (Some(form), ..) => Form::Json(form),
            (None, true, _) => Form::Tagged,
            (None, false, true) => Form::Lines,
            (None, false, false) => Form::Raw,
        };
        let mut printer = Printer::new(only, form, alone, context.quiet());
        let mut places = Places::default();
        if !args.follow || tail.is_some() {
            stored(session.client(), (&selector, attempt), tail, &mut printer, &mut places).await?;
        }
        if args.follow {
            growing(&mut session, &selector, &mut printer, &mut places).await?;
        }
        printer.end()?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Prints the output of one task, what is there and what comes, until it has ended.
pub(super) async fn until_the_end(session: &mut Session, task: TaskId, tag: bool) -> Result<(), CliError> {
    let form = if tag { Form::Tagged } else { Form::Raw };
    let mut printer = Printer::new(None, form, Some(task), session.is_quiet());
    growing(session, &Selector::task(task), &mut printer, &mut Places::default()).await?;
    printer.end()
}

/// The task selected, when it is only one: the stream of a single task does not name it.
async fn only_task(client: &Client, selector: &Selector) -> Result<Option<TaskId>, ClientError> {
    let two = TaskFilter { of: selector.clone(), states: Vec::new(), after: None, limit: 2 };
    let found = client.tasks(two).await?;
    Ok(found.first().filter(|_| found.len() == 1).map(|task| task.task))
}

/// How far each task's output has been dealt with. `None` is the only task of a stream that names none.
#[derive(Default)]
struct Places {
    by_task: BTreeMap<Option<TaskId>, u64>,
}

impl Places {
    fn advance(&mut self, task: Option<TaskId>, frame: &DataFrame<'_>) {
        let by = match frame {
            DataFrame::Cut { omitted } => *omitted,
            other => other.output_bytes(),
        };
        *self.by_task.entry(task).or_default() += by;
    }
}

/// Prints what is stored now, all of it or the last lines of each task.
async fn stored(
    client: &Client,
    (selector, attempt): (&Selector, Option<AttemptNo>),
    tail: Option<usize>,
    printer: &mut Printer,
    places: &mut Places,
) -> Result<(), CliError> {
    let mut stream = client.logs(selector.clone(), false, attempt).await?;
    let mut task = None;
    let mut last = tail.map(TailLines::new);
    while let Some(frame) = stream.next().await? {
        if let DataFrame::TaskBegins(next) = frame {
            if let (Some(lines), Some(of_one)) = (tail, last.take()) {
                print_all(client, of_one.finish(), task, printer).await?;
                last = Some(TailLines::new(lines));
            }
            task = Some(next);
            continue;
        }
        places.advance(task, &frame);
        match &mut last {
            // Lines of the stream that is not wanted would push the wanted ones out.
            Some(last) if printer.wants(&frame) => last.push(&frame),
            Some(_) => {}
            None => printer.frame(client, task, &frame).await?,
        }
    }
    match last {
        Some(of_one) => print_all(client, of_one.finish(), task, printer).await,
        None => Ok(()),
    }
}

async fn print_all(
    client: &Client,
    frames: Vec<DataFrame<'_>>,
    task: Option<TaskId>,
    printer: &mut Printer,
) -> Result<(), CliError> {
    for frame in frames {
        printer.frame(client, task, &frame).await?;
    }
    Ok(())
}

/// Prints what is there and what comes, over as many links as it takes.
async fn growing(
    session: &mut Session,
    selector: &Selector,
    printer: &mut Printer,
    places: &mut Places,
) -> Result<(), CliError> {
    loop {
        let broken = match session.client().logs(selector.clone(), true, None).await {
            Ok(stream) => match follow(session.client(), stream, printer, places).await {
                Ok(()) => return Ok(()),
                Err(Broken::Link(error)) => error,
                Err(Broken::Ours(error)) => return Err(error),
            },
            Err(error) => error,
        };
        session.reopen(broken).await?;
    }
}

/// Why following stopped.
enum Broken {
    Link(ClientError),
    Ours(CliError),
}

/// Prints one stream to its end, but for what `places` say has been printed before.
async fn follow(
    client: &Client,
    mut stream: LogStream,
    printer: &mut Printer,
    places: &mut Places,
) -> Result<(), Broken> {
    let mut had = std::mem::take(&mut places.by_task);
    let mut task = None;
    while let Some(frame) = stream.next().await.map_err(Broken::Link)? {
        if let DataFrame::TaskBegins(next) = frame {
            task = Some(next);
            continue;
        }
        places.advance(task, &frame);
        let left = had.entry(task).or_default();
        if let Some(rest) = skip(left, frame) {
            printer.frame(client, task, &rest).await.map_err(Broken::Ours)?;
        }
    }
    Ok(())
}

/// `frame` without the first `left` bytes, which it counts down.
fn skip<'a>(left: &mut u64, frame: DataFrame<'a>) -> Option<DataFrame<'a>> {
    let length = match &frame {
        DataFrame::Cut { omitted } => *omitted,
        other => other.output_bytes(),
    };
    let dropped = length.min(*left);
    *left -= dropped;
    match frame {
        _ if dropped > 0 && dropped == length => None,
        DataFrame::Cut { omitted } => Some(DataFrame::Cut { omitted: omitted - dropped }),
        DataFrame::Output { stream, bytes } => {
            let rest = bytes.get(usize::try_from(dropped).unwrap_or(usize::MAX)..).unwrap_or_default().to_vec();
            Some(DataFrame::Output { stream, bytes: rest.into() })
        }
        other => Some(other),
    }
}

/// How output is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Byte by byte.
    Raw,
    /// Of several tasks at the same time: by whole lines.
    Lines,
    /// `--tag`: by whole lines behind a tag.
    Tagged,
    /// `--json`: an object a line.
    Json(JsonForm),
}

/// Writes frames to our stdout and stderr.
struct Printer {
    out: RawOutput,
    only: Option<OutputStream>,
    form: Form,
    lines: Tagged,
    names: ItemNames,
    /// The task whose tag was made last.
    tag: Option<(TaskId, String)>,
    /// With `--json`: the list so far.
    list: Option<JsonList>,
    /// The task of a stream that names none.
    alone: Option<TaskId>,
    quiet: bool,
}

impl Printer {
    fn new(only: Option<OutputStream>, form: Form, alone: Option<TaskId>, quiet: bool) -> Self {
        let list = if let Form::Json(form) = form { Some(JsonList::new(form)) } else { None };
        let (lines, names) = (Tagged::default(), ItemNames::default());
        Self { out: RawOutput::new(), only, form, lines, names, tag: None, list, alone, quiet }
    }

    fn wants(&self, frame: &DataFrame<'_>) -> bool {
        match frame {
            DataFrame::Output { stream, .. } => self.only.is_none_or(|only| only == *stream),
            _ => true,
        }
    }

    async fn frame(&mut self, client: &Client, task: Option<TaskId>, frame: &DataFrame<'_>) -> Result<(), CliError> {
        if !self.wants(frame) {
            return Ok(());
        }
        let task = task.or(self.alone);
        match (frame, task, self.form) {
            (DataFrame::Output { stream, bytes }, Some(task), Form::Tagged) => {
                let tag = self.tag_of(client, task).await?;
                self.out.write(*stream, &self.lines.lines(task, *stream, &tag, bytes))
            }
            (DataFrame::Output { stream, bytes }, Some(task), Form::Lines) => {
                self.out.write(*stream, &self.lines.lines(task, *stream, "", bytes))
            }
            (DataFrame::Output { stream, bytes }, Some(task), Form::Json(_)) => {
                let whole = self.lines.lines(task, *stream, "", bytes);
                self.objects(Some(task), *stream, &whole)
            }
            (DataFrame::Output { stream, bytes }, _, Form::Json(_)) => self.objects(None, *stream, bytes),
            (DataFrame::Output { stream, bytes }, ..) => self.out.write(*stream, bytes),
            (DataFrame::Cut { omitted }, ..) => {
                let of = task.map(|task| format!(" of task {task}")).unwrap_or_default();
                say::note(self.quiet, &format!("here {omitted} bytes{of} were not kept"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The tag of a task's lines.
    async fn tag_of(&mut self, client: &Client, task: TaskId) -> Result<String, CliError> {
        if let Some((_, tag)) = self.tag.as_ref().filter(|(of, _)| *of == task) {
            return Ok(tag.clone());
        }
        let tag = item::tag(task, self.names.of(client, task).await?.as_ref());
        self.tag = Some((task, tag.clone()));
        Ok(tag)
    }

    /// Whole lines as JSON.
    fn objects(&mut self, task: Option<TaskId>, stream: OutputStream, lines: &[u8]) -> Result<(), CliError> {
        let Some(list) = &mut self.list else { return Ok(()) };
        let mut page = Page::begin();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let stream = match stream {
                OutputStream::Stdout => "stdout",
                OutputStream::Stderr => "stderr",
            };
            let (task, line) = (task.map(|task| task.to_string()), String::from_utf8_lossy(line).into_owned());
            list.object(&mut page, &json::LogLine { task, stream, line })?;
        }
        page.end()
    }

    /// Prints lines that never ended.
    fn end(mut self) -> Result<(), CliError> {
        let mut rest = Vec::new();
        std::mem::take(&mut self.lines).end(|task, stream, line| {
            rest.push((task, stream, line.to_vec()));
            Ok(())
        })?;
        for (task, stream, line) in rest {
            match self.form {
                Form::Json(_) => self.objects(Some(task), stream, &line)?,
                _ => self.out.write(stream, &line)?,
            }
        }
        if let Some(list) = self.list {
            let mut page = Page::begin();
            list.end(&mut page)?;
            page.end()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(bytes: &'static [u8]) -> DataFrame<'static> {
        DataFrame::Output { stream: OutputStream::Stdout, bytes: bytes.into() }
    }

    #[test]
    fn after_a_reconnect_nothing_is_printed_twice() {
        let mut places = Places::default();
        places.advance(None, &output(b"abcdef"));
        places.advance(None, &DataFrame::Cut { omitted: 10 });
        let mut left = places.by_task[&None];
        assert_eq!(left, 16);
        assert_eq!(skip(&mut left, output(b"abcdef")), None);
        assert_eq!(skip(&mut left, DataFrame::Cut { omitted: 9 }), None);
        assert_eq!(skip(&mut left, output(b"xyz")), Some(output(b"yz")));
        assert_eq!(skip(&mut left, output(b"")), Some(output(b"")));
    }

    #[test]
    fn only_the_wanted_stream_is_printed() {
        let printer = Printer::new(Some(OutputStream::Stderr), Form::Raw, None, true);
        assert!(!printer.wants(&output(b"x")));
        assert!(printer.wants(&DataFrame::Cut { omitted: 1 }));
    }
}
