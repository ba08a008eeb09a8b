//! Quotes, substitutions and expansions in a command for `/bin/sh`.
//!
//! One method reads on at one place of the text, in the state that its name says.

use super::commands::Commands;
use super::lexer::{Frame, Lexer};
use super::line::{Quoting, Rule};
use super::unfit::Reason;

impl Lexer<'_> {
    pub(super) fn single_quotes(&mut self) {
        self.take_quote();
        while let Some(byte) = self.byte(self.at) {
            match self.placeholder(self.at) {
                Some(placeholder) => self.place(placeholder, Quoting::Single, None),
                None if byte == b'\'' => return self.at += 1,
                None => self.take_byte(),
            }
        }
    }

    /// `$'…'`: escapes in bash, a dollar sign and single quotes in dash.
    fn ansi_quotes(&mut self) {
        self.take_opaque(2);
        while let Some(byte) = self.byte(self.at) {
            let after_backslash = self.text[self.at - 1] == b'\\';
            match (self.placeholder(self.at), byte) {
                (Some(placeholder), _) => {
                    let reason = Reason::AnsiQuotes;
                    let rule = if after_backslash { Rule::Never(reason) } else { Rule::Plain(reason) };
                    self.place(placeholder, Quoting::Raw, Some(rule));
                }
                (None, b'\'') => return self.at += 1,
                (None, b'\\') => {
                    self.unclear |= self.byte(self.at + 1) == Some(b'\'');
                    let is_placeholder = self.placeholder(self.at + 1).is_some();
                    self.at += if is_placeholder { 1 } else { 2 };
                }
                (None, _) => self.at += 1,
            }
        }
    }

    pub(super) fn in_double_quotes(&mut self) {
        match self.text[self.at] {
            b'"' => {
                self.at += 1;
                self.frames.pop();
            }
            b'\\' => self.quoted_backslash(),
            b'$' => self.dollar(true),
            b'`' => self.backticks(),
            _ => self.quoted_byte(),
        }
    }

    pub(super) fn in_heredoc(&mut self) {
        match self.text[self.at] {
            b'\\' => self.quoted_backslash(),
            b'$' => self.dollar(true),
            b'`' => self.backticks(),
            _ => self.quoted_byte(),
        }
    }

    fn quoted_byte(&mut self) {
        match self.placeholder(self.at) {
            Some(placeholder) => self.place(placeholder, Quoting::Double, None),
            None => self.take_byte(),
        }
    }

    /// Where a backslash escapes only what has a meaning there.
    fn quoted_backslash(&mut self) {
        if let Some(placeholder) = self.placeholder(self.at + 1) {
            // It would escape the dollar sign that is put there.
            self.copy(self.at);
            self.take(1, b"\\");
            self.copied = self.at;
            return self.place(placeholder, Quoting::BehindBackslash, None);
        }
        match self.byte(self.at + 1) {
            Some(byte @ (b'"' | b'\\' | b'$' | b'`')) => self.take(2, &[byte]),
            Some(b'\n') => self.at += 2,
            _ => self.take(1, b"\\"),
        }
    }

    pub(super) fn dollar(&mut self, quoted: bool) {
        if let Some(placeholder) = self.placeholder(self.at + 1) {
            self.take_opaque(1);
            return self.place(placeholder, Quoting::Raw, Some(Rule::Never(Reason::Parameter)));
        }
        match self.byte(self.at + 1) {
            Some(b'{') => {
                self.take_opaque(2);
                self.frames.push(Frame::Expansion { quoted });
            }
            Some(b'(') if self.byte(self.at + 2) == Some(b'(') => {
                self.take_opaque(3);
                self.frames.push(Frame::Arithmetic { open: 0, expands: true });
            }
            Some(b'(') => {
                self.take_opaque(2);
                self.push_commands();
            }
            Some(b'\'') if !quoted => self.ansi_quotes(),
            // Arithmetic in old versions of bash, text elsewhere.
            Some(b'[') => {
                self.unclear = true;
                self.take_opaque(2);
            }
            Some(b'!' | b'?' | b'@' | b'*' | b'#' | b'-' | b'$' | b'0'..=b'9') => self.take_opaque(2),
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                let name = self.text[self.at + 1..self.end()].iter();
                let length = name.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                self.take_opaque(1 + length);
            }
            _ => self.take_byte(),
        }
    }

    /// Backticks end at the next one, whatever is quoted between.
    pub(super) fn backticks(&mut self) {
        self.take_opaque(1);
        let (start, mut close) = (self.at, self.at);
        let mut escapes = false;
        while let Some(byte) = self.byte(close) {
            match byte {
                b'`' => break,
                b'\\' => {
                    escapes = true;
                    close += 2;
                }
                _ => close += 1,
            }
        }
        let close = close.min(self.end());
        if !escapes {
            let commands = Frame::Commands(Commands::starting_at(self.pieces.len()));
            return self.enter(start..close, close + 1, commands);
        }
        // What an escape in there means depends on how deep it is.
        while self.at < close {
            match self.placeholder(self.at) {
                Some(placeholder) => self.place(placeholder, Quoting::Raw, Some(Rule::Plain(Reason::Backticks))),
                None => self.at += 1,
            }
        }
        self.at = (close + 1).min(self.end());
    }

    pub(super) fn in_expansion(&mut self, quoted: bool) {
        match self.text[self.at] {
            b'}' => {
                self.at += 1;
                self.frames.pop();
            }
            b'\\' if self.placeholder(self.at + 1).is_none() => self.at += 2,
            b'\'' if quoted => {
                self.unclear = true;
                self.at += 1;
            }
            b'\'' => self.single_quotes(),
            _ => self.in_any_expansion(),
        }
    }

    pub(super) fn in_arithmetic(&mut self) {
        let Some(Frame::Arithmetic { open, .. }) = self.frames.last_mut() else { return };
        match (self.text[self.at], *open) {
            (b'(', _) => {
                *open += 1;
                self.at += 1;
            }
            (b')', 1..) => {
                *open -= 1;
                self.at += 1;
            }
            (b')', 0) => {
                // With one parenthesis it was a subshell within a substitution.
                let closed = self.byte(self.at + 1) == Some(b')');
                self.unclear |= !closed;
                self.at += if closed { 2 } else { 1 };
                self.frames.pop();
            }
            (b'\\' | b'\'', _) => {
                self.unclear = true;
                self.at += 1;
            }
            _ => self.in_any_expansion(),
        }
    }

    fn in_any_expansion(&mut self) {
        match self.text[self.at] {
            b'"' => {
                self.at += 1;
                self.frames.push(Frame::Double);
            }
            b'$' => self.dollar(true),
            b'`' => self.backticks(),
            _ => match self.placeholder(self.at) {
                Some(placeholder) => self.place(placeholder, Quoting::Raw, None),
                None => self.at += 1,
            },
        }
    }
}
