//! What is printed: tables for people, JSON for programs, raw bytes of tasks.
//!
//! The one invariant: stdout carries what was asked for and nothing else;
//! everything said about it goes to stderr. Writing never panics: a reader that
//! went away ends the command quietly.

pub(crate) mod item;
pub(crate) mod json;
pub(crate) mod meter;
pub(crate) mod raw;
pub(crate) mod say;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod tagged;
pub(crate) mod text;

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use self::table::{Table, terminal_width};
use super::args::JsonForm;
use super::error::CliError;

/// Our stdout, buffered; [`Page::end`] flushes it.
pub(crate) struct Page {
    out: BufWriter<StdoutLock<'static>>,
}

impl Page {
    /// Takes stdout for as long as it lives.
    pub(crate) fn begin() -> Self {
        Self { out: BufWriter::new(io::stdout().lock()) }
    }

    /// One line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.bytes(text.as_ref().as_bytes())?;
        self.bytes(b"\n")
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).map_err(CliError::output)
    }

    /// Rows, all of what a command prints: the JSON that was asked for, else a table.
    pub(crate) fn rows<T: Serialize>(
        form: Option<JsonForm>,
        objects: impl IntoIterator<Item = T>,
        table: impl FnOnce() -> Table,
    ) -> Result<(), CliError> {
        let mut page = Self::begin();
        match form {
            Some(form) => page.objects(form, objects)?,
            None => {
                for line in table().lines(terminal_width()) {
                    page.line(line)?;
                }
            }
        }
        page.end()
    }

    /// Objects in the form asked for, each on a line of its own either way.
    pub(crate) fn objects<T: Serialize>(
        &mut self,
        form: JsonForm,
        objects: impl IntoIterator<Item = T>,
    ) -> Result<(), CliError> {
        let mut list = self.list(form);
        for object in objects {
            list.object(self, &object)?;
        }
        list.end(self)
    }

    /// Begins a list of objects that come one after another.
    pub(crate) fn list(&self, form: JsonForm) -> JsonList {
        JsonList::new(form)
    }

    /// One object without a line end.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.out, object).map_err(|error| CliError::output(error.into()))
    }

    /// Writes out what is still buffered.
    pub(crate) fn end(mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::output)
    }
}

/// A list of JSON objects while it is written.
pub(crate) struct JsonList {
    form: JsonForm,
    empty: bool,
}

impl JsonList {
    /// No object yet.
    pub(crate) fn new(form: JsonForm) -> Self {
        Self { form, empty: true }
    }

    /// One more object.
    pub(crate) fn object(&mut self, page: &mut Page, object: &impl Serialize) -> Result<(), CliError> {
        let before: &[u8] = match (self.form, self.empty) {
            (JsonForm::Array, true) => b"[\n",
            (JsonForm::Array, false) => b",\n",
            (JsonForm::Lines, _) => b"",
        };
        self.empty = false;
        page.bytes(before)?;
        page.object(object)?;
        if self.form == JsonForm::Lines { page.bytes(b"\n") } else { Ok(()) }
    }

    /// The end of the list.
    pub(crate) fn end(self, page: &mut Page) -> Result<(), CliError> {
        match (self.form, self.empty) {
            (JsonForm::Array, true) => page.line("[]"),
            (JsonForm::Array, false) => page.line("\n]"),
            (JsonForm::Lines, _) => Ok(()),
        }
    }
}
