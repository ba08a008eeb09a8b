//! Here-documents in a command for `/bin/sh`.
//!
//! A shell looks for the last line first and reads the others afterwards. So they are a part of their own, in which
//! nothing can begin that ends behind it. Absent: what stands in the lines (`lexer`).

use std::ops::Range;

use super::lexer::{Frame, Lexer};
use super::line::{Piece, Quoting, Rule};
use super::unfit::Reason;

/// `<<WORD`, whose lines follow.
pub(super) struct HereDoc {
    /// The last line, without its end.
    delimiter: Vec<u8>,
    /// `<<-`: tabs in front of a line are left out.
    strips_tabs: bool,
    /// Nothing in its lines is expanded.
    quoted: bool,
    /// Number of the piece that is its word, and where that stands.
    piece: usize,
    word: Range<usize>,
    /// How deep it is nested.
    depth: usize,
    /// The first piece of its pipeline.
    pipeline: usize,
    /// Why its lines are code, if they are.
    pub(super) code: Option<Reason>,
}

impl HereDoc {
    /// Whether it stands in this pipeline.
    pub(super) fn belongs_to(&self, depth: usize, pipeline: usize) -> bool {
        (self.depth, self.pipeline) == (depth, pipeline)
    }

    /// Whether its word means the same without quotes.
    fn is_plain(&self) -> bool {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        !self.delimiter.is_empty() && self.delimiter.iter().all(is_plain)
    }
}

impl Lexer<'_> {
    /// Reads `<<` and the word behind it.
    pub(super) fn heredoc(&mut self) {
        self.at += 2;
        let strips_tabs = self.byte(self.at) == Some(b'-');
        self.at += usize::from(strips_tabs);
        while matches!(self.byte(self.at), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        self.copy(self.at);
        let (mut delimiter, mut quoted, mut quote) = (Vec::new(), false, None);
        while let Some(byte) = self.byte(self.at) {
            if let Some(placeholder) = self.placeholder(self.at) {
                self.place(placeholder, Quoting::Raw, Some(Rule::Never(Reason::Delimiter)));
                self.unclear = true;
                continue;
            }
            match (byte, quote) {
                (byte, Some(open)) if byte == open => quote = None,
                (b'\'' | b'"', None) => {
                    quoted = true;
                    quote = Some(byte);
                }
                (b'\\', None) => {
                    quoted = true;
                    self.at += 1;
                    delimiter.extend(self.byte(self.at));
                }
                (b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')', None) => break,
                (byte, _) => {
                    self.unclear |= matches!(byte, b'$' | b'`' | b'\\' | b'\n');
                    delimiter.push(byte);
                }
            }
            self.at += 1;
        }
        self.at = self.at.min(self.end());
        let (piece, word) = (self.pieces.len(), self.copied..self.at);
        self.copy(self.at);
        let depth = self.frames.len();
        let pipeline = self.commands().map_or(0, |commands| commands.pipeline);
        self.heredocs.push(HereDoc { delimiter, strips_tabs, quoted, piece, word, depth, pipeline, code: None });
    }

    /// Reads the lines of the here-documents that wait for them; they begin here.
    pub(super) fn read_heredocs(&mut self) {
        while !self.heredocs.is_empty() {
            let heredoc = self.heredocs.remove(0);
            // Shells disagree about when those of an outer command begin.
            self.unclear |= heredoc.depth != self.frames.len();
            let (end, resume) = self.find_end(&heredoc);
            if !(self.at..end).any(|at| self.placeholder(at).is_some()) {
                self.at = resume;
            } else if heredoc.quoted {
                self.quoted_lines(&heredoc, end);
                self.at = resume;
            } else {
                return self.enter(self.at..end, resume, Frame::HereDoc { code: heredoc.code });
            }
        }
        self.begin_command();
    }

    /// Where the lines end, and where the text goes on behind the delimiter.
    fn find_end(&mut self, heredoc: &HereDoc) -> (usize, usize) {
        let mut at = self.at;
        while at < self.end() {
            let line = self.text[at..self.end()].split(|byte| *byte == b'\n').next().unwrap_or_default();
            let tabs = line.iter().take_while(|byte| heredoc.strips_tabs && **byte == b'\t').count();
            if line[tabs..] == heredoc.delimiter {
                return (at, (at + line.len() + 1).min(self.end()));
            }
            at += line.len() + 1;
        }
        // Some shells end it before the parenthesis that closes its command, others with the text.
        self.unclear = true;
        (self.end(), self.end())
    }

    /// Lines in which nothing is expanded. With a placeholder they become lines in which only that is.
    fn quoted_lines(&mut self, heredoc: &HereDoc, end: usize) {
        let rule = match &heredoc.code {
            _ if self.unclear || !heredoc.is_plain() => Some(Rule::Never(Reason::QuotedDelimiter)),
            Some(code) => Some(Rule::Plain(code.clone())),
            None => None,
        };
        self.copy(self.at);
        if rule.as_ref().is_none_or(|rule| matches!(rule, Rule::Plain(_)))
            && let Some(word) = self.pieces.get_mut(heredoc.piece)
        {
            *word = Piece::Instead(heredoc.word.clone(), heredoc.delimiter.clone());
        }
        while self.at < end {
            match self.placeholder(self.at) {
                Some(placeholder) => {
                    self.escape(self.at);
                    self.place(placeholder, Quoting::Double, rule.clone());
                }
                None => self.at += 1,
            }
        }
        self.escape(end);
    }

    /// Takes the text up to `end`; nothing in it is to be expanded.
    fn escape(&mut self, end: usize) {
        if end > self.copied {
            self.pieces.push(Piece::Escaped(self.copied..end));
            self.copied = end;
        }
    }
}
