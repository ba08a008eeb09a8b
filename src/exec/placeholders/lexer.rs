//! Finds the placeholders of a command for `/bin/sh`, and says how each one is quoted.
//!
//! The lexer follows POSIX and what bash adds to it. The shell that runs the line is not known here (dash, bash,
//! busybox). Where these disagree, and where the lexer loses track, a placeholder takes only items that are harmless in
//! every state ([`Rule::Plain`]). A mistake here can split or misquote an item, but cannot make it syntax: an item reaches
//! the shell as the value of a variable. Absent: running or checking the line. A line with a syntax error stays one.

use std::ops::Range;

use super::Placeholder;
use super::commands::Commands;
use super::heredoc::HereDoc;
use super::line::{Piece, Place, Quoting, Rule};
use super::unfit::Reason;
use super::word::Word;

/// Deepest nesting of quotes, substitutions and subshells that is followed. People stay below ten.
const MAX_DEPTH: usize = 64;

/// The pieces of `text`, for a job whose tasks have an item of each of `lists` lists.
pub(super) fn pieces(text: &[u8], lists: usize) -> Vec<Piece> {
    let whole = Bound { end: text.len(), depth: 0, resume: text.len() };
    let mut lexer = Lexer {
        text,
        lists,
        at: 0,
        copied: 0,
        pieces: Vec::new(),
        frames: vec![Frame::Commands(Commands::default())],
        bounds: vec![whole],
        heredocs: Vec::new(),
        unclear: false,
    };
    while lexer.step() {}
    lexer.finish()
}

/// One level of nesting.
pub(super) enum Frame {
    /// Commands: the whole line, `(…)`, `$(…)` or backticks.
    Commands(Commands),
    /// `"…"`.
    Double,
    /// `${…}`, and whether it stands in double quotes.
    Expansion { quoted: bool },
    /// `$((…))`, and how many more parentheses are open; or `((…))`, which is two subshells in shells that know no other.
    Arithmetic { open: u32, expands: bool },
    /// The lines of a here-document that are expanded; why they are code, if they are.
    HereDoc { code: Option<Reason> },
}

/// A part of the text that ends where the shell looks for its end first: backticks, here-documents.
pub(super) struct Bound {
    end: usize,
    /// Number of frames outside of it.
    pub(super) depth: usize,
    /// Where to go on behind it.
    resume: usize,
}

pub(super) struct Lexer<'t> {
    pub(super) text: &'t [u8],
    pub(super) lists: usize,
    pub(super) at: usize,
    /// Up to here the text is in `pieces`.
    pub(super) copied: usize,
    pub(super) pieces: Vec<Piece>,
    pub(super) frames: Vec<Frame>,
    pub(super) bounds: Vec<Bound>,
    /// Here-documents whose lines follow behind the next line end.
    pub(super) heredocs: Vec<HereDoc>,
    /// Shells may disagree about the quoting of what follows.
    pub(super) unclear: bool,
}

impl Lexer<'_> {
    /// Reads on; false at the end of the text.
    fn step(&mut self) -> bool {
        if self.frames.len() > MAX_DEPTH {
            self.give_up();
        }
        if self.at >= self.end() {
            return self.leave_bound();
        }
        match self.frames.last_mut() {
            Some(Frame::Double) => self.in_double_quotes(),
            Some(Frame::Expansion { quoted }) => {
                let quoted = *quoted;
                self.in_expansion(quoted);
            }
            Some(Frame::Arithmetic { .. }) => self.in_arithmetic(),
            Some(Frame::HereDoc { .. }) => self.in_heredoc(),
            _ => self.in_commands(),
        }
        true
    }

    /// Where the current part of the text ends.
    pub(super) fn end(&self) -> usize {
        self.bounds.last().map_or(self.text.len(), |bound| bound.end)
    }

    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(..self.end()).and_then(|text| text.get(at)).copied()
    }

    pub(super) fn placeholder(&self, at: usize) -> Option<Placeholder> {
        Placeholder::at(self.text.get(at..self.end())?, self.lists)
    }

    /// Reads `range` of the text as a level of its own, and goes on at `resume` afterwards.
    pub(super) fn enter(&mut self, range: Range<usize>, resume: usize, frame: Frame) {
        self.bounds.push(Bound { end: range.end, depth: self.frames.len(), resume });
        self.frames.push(frame);
        self.at = range.start;
    }

    fn leave_bound(&mut self) -> bool {
        if self.bounds.len() < 2 {
            return false;
        }
        let Some(bound) = self.bounds.pop() else { return false };
        self.unclear |= self.frames.len() != bound.depth + 1;
        while self.frames.len() > bound.depth {
            self.leave();
        }
        self.at = bound.resume;
        self.read_heredocs();
        true
    }

    /// Leaves the innermost level.
    pub(super) fn leave(&mut self) {
        self.end_command(false);
        if let Some(Frame::Commands(commands)) = self.frames.pop() {
            self.unclear |= commands.cases > 0;
        }
    }

    /// Nested too deeply to be followed.
    fn give_up(&mut self) {
        self.unclear = true;
        self.bounds.truncate(1);
        self.frames.truncate(1);
        while self.at < self.text.len() {
            match self.placeholder(self.at) {
                Some(placeholder) => self.place(placeholder, Quoting::Raw, None),
                None => self.at += 1,
            }
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        while !self.frames.is_empty() {
            self.leave();
        }
        self.copy(self.text.len());
        self.pieces
    }

    /// Takes the text up to `end` as it is.
    pub(super) fn copy(&mut self, end: usize) {
        if end > self.copied {
            self.pieces.push(Piece::Typed(self.copied..end));
        }
        self.copied = end.max(self.copied);
    }

    /// Takes the placeholder that begins here.
    pub(super) fn place(&mut self, placeholder: Placeholder, quoting: Quoting, rule: Option<Rule>) {
        self.copy(self.at);
        let typed = self.at..self.at + placeholder.length;
        let (rule, quoting) = match rule.or_else(|| self.rule_of_level()) {
            Some(rule @ (Rule::Never(_) | Rule::Number)) => (rule, Quoting::Raw),
            _ if self.unclear => (Rule::Plain(Reason::Unclear), Quoting::Raw),
            Some(rule) => (rule, quoting),
            None => (Rule::Any, quoting),
        };
        let number = self.pieces.len();
        let source = &self.text[typed.clone()];
        if let Some(word) = word(&mut self.frames) {
            word.place(number, source);
        }
        self.pieces.push(Piece::Place(Place { typed: typed.clone(), placeholder, quoting, rule }));
        self.at = typed.end;
        self.copied = self.at;
    }

    /// What the level around it asks of an item.
    fn rule_of_level(&self) -> Option<Rule> {
        match self.frames.iter().rev().find(|frame| !matches!(frame, Frame::Double))? {
            Frame::Expansion { .. } => Some(Rule::Plain(Reason::Expansion)),
            Frame::Arithmetic { expands: true, .. } => Some(Rule::Number),
            Frame::Arithmetic { .. } => Some(Rule::Plain(Reason::Subscript)),
            Frame::HereDoc { code: Some(code) } => Some(Rule::Plain(code.clone())),
            _ => None,
        }
    }

    /// Takes `count` bytes, of which the shell makes the text `meant`.
    pub(super) fn take(&mut self, count: usize, meant: &[u8]) {
        if let Some(word) = word(&mut self.frames) {
            word.push(meant);
        }
        self.at = (self.at + count).min(self.end());
    }

    /// Takes a quote, which makes a word even of nothing.
    pub(super) fn take_quote(&mut self) {
        if let Some(word) = word(&mut self.frames) {
            word.quoted = true;
        }
        self.take(1, b"");
    }

    pub(super) fn take_byte(&mut self) {
        let text = self.text;
        self.take(1, &text[self.at..=self.at]);
    }

    /// Takes what the shell puts something else for.
    pub(super) fn take_opaque(&mut self, count: usize) {
        if let Some(word) = word(&mut self.frames) {
            word.opaque = true;
        }
        self.at = (self.at + count).min(self.end());
    }
}

/// The word that the innermost level of commands is reading; begins one there.
fn word(frames: &mut [Frame]) -> Option<&mut Word> {
    match frames.iter_mut().rev().find(|frame| !matches!(frame, Frame::Double))? {
        Frame::Commands(commands) => Some(commands.word.get_or_insert_default()),
        _ => None,
    }
}
