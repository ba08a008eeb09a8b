//! Words and commands in a command for `/bin/sh`: what is a program's name, what its argument, and where a command ends.

use super::Placeholder;
use super::code;
use super::lexer::{Frame, Lexer};
use super::line::{Piece, Place, Quoting, Rule};
use super::unfit::Reason;
use super::word::Word;

/// How far behind a placeholder the `=` of an assignment is looked for, in bytes.
const NAME_BYTES: usize = 64;

/// How far the commands of one level are.
#[derive(Default)]
pub(super) struct Commands {
    /// Words of the current command that are complete, without leading keywords and without redirections.
    words: Vec<Word>,
    /// The word that is being read.
    pub(super) word: Option<Word>,
    /// What the next word is.
    next: Next,
    /// `case` without its `esac`.
    pub(super) cases: u32,
    /// Between `[[` and `]]`.
    in_test: bool,
    /// An operator asks for another command, so that a line end is none.
    unfinished: bool,
    /// Number of the first piece of the current pipeline.
    pub(super) pipeline: usize,
    /// Number of the first piece of the current command.
    command: usize,
    /// Places in the here-strings of the current command.
    fed: Vec<usize>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Next {
    #[default]
    Argument,
    /// What a redirection names.
    Target,
    /// What `<<<` names.
    HereString,
}

impl Commands {
    /// Nothing read yet of what begins with this piece.
    pub(super) fn starting_at(piece: usize) -> Self {
        Self { pipeline: piece, command: piece, ..Self::default() }
    }
}

impl Lexer<'_> {
    pub(super) fn in_commands(&mut self) {
        let in_word = self.commands().is_some_and(|commands| commands.word.is_some());
        match self.text[self.at] {
            b'\\' => self.backslash(),
            b'\'' => self.single_quotes(),
            b'"' => {
                self.take_quote();
                self.frames.push(Frame::Double);
            }
            b'`' => self.backticks(),
            b'$' => self.dollar(false),
            b' ' | b'\t' => {
                self.end_word();
                self.at += 1;
            }
            b'\n' | b';' | b'&' | b'|' => self.operator(),
            b'(' => self.open_parenthesis(),
            b')' => self.close_parenthesis(),
            b'<' | b'>' => self.redirection(),
            b'#' if !in_word => self.comment(),
            b'{' => match self.placeholder(self.at) {
                Some(placeholder) => self.bare(placeholder),
                None => self.take_byte(),
            },
            _ => self.take_byte(),
        }
    }

    /// A placeholder outside of quotes.
    fn bare(&mut self, placeholder: Placeholder) {
        let behind = self.at + placeholder.length;
        let none = Word::default();
        let word = self.commands().and_then(|commands| commands.word.as_ref()).unwrap_or(&none);
        let subscript = word.is_subscript().then_some(Rule::Plain(Reason::Subscript));
        let names = word.text == b"~" || word.text.contains(&b'{') || word.may_be_name() && self.is_assigned(behind);
        self.place(placeholder, if names { Quoting::Name } else { Quoting::Bare }, subscript);
    }

    /// Whether a name that goes on at `at` is given a value: `NAME=` or `NAME+=`.
    fn is_assigned(&self, mut at: usize) -> bool {
        let until = at + NAME_BYTES;
        while at < until {
            match (self.byte(at), self.byte(at + 1)) {
                (Some(b'='), _) | (Some(b'+'), Some(b'=')) => return true,
                (Some(byte), _) if byte.is_ascii_alphanumeric() || byte == b'_' => at += 1,
                (Some(b'{'), _) => match self.placeholder(at) {
                    Some(placeholder) => at += placeholder.length,
                    None => return false,
                },
                _ => return false,
            }
        }
        false
    }

    fn backslash(&mut self) {
        match self.byte(self.at + 1) {
            Some(b'\n') => self.at += 2,
            Some(byte) => match self.placeholder(self.at + 1) {
                Some(placeholder) => {
                    // It would escape the quote that is put there.
                    self.copy(self.at);
                    self.at += 1;
                    self.copied = self.at;
                    self.place(placeholder, Quoting::Bare, None);
                }
                None => self.take(2, &[byte]),
            },
            None => self.at += 1,
        }
    }

    fn comment(&mut self) {
        while self.byte(self.at).is_some_and(|byte| byte != b'\n') {
            match self.placeholder(self.at) {
                Some(placeholder) => self.place(placeholder, Quoting::Bare, None),
                None => self.at += 1,
            }
        }
        if let Some(commands) = self.commands() {
            commands.word = None;
        }
    }

    fn open_parenthesis(&mut self) {
        let begins = self.commands().is_some_and(|commands| {
            commands.word.is_none() && commands.words.iter().all(|word| word.known() == Some(b"for"))
        });
        match self.byte(self.at + 1) {
            Some(b'(') if begins => {
                self.at += 2;
                return self.frames.push(Frame::Arithmetic { open: 0, expands: false });
            }
            // `NAME()`: a command follows.
            Some(b')') => {
                self.at += 2;
                return self.end_command(true);
            }
            _ => {}
        }
        self.at += 1;
        self.push_commands();
    }

    pub(super) fn push_commands(&mut self) {
        let in_test = self.commands().is_some_and(|commands| commands.in_test);
        self.frames.push(Frame::Commands(Commands { in_test, ..Commands::starting_at(self.pieces.len()) }));
    }

    fn close_parenthesis(&mut self) {
        self.end_word();
        self.at += 1;
        let outside = self.bounds.last().map_or(0, |bound| bound.depth) + 1;
        let depth = self.frames.len();
        let Some(commands) = self.commands() else { return };
        if commands.cases > 0 {
            // It ends a pattern of `case`.
            self.end_command(true);
        } else if depth > outside {
            self.leave();
            if let Some(commands) = self.commands()
                && commands.words.first().is_some_and(|first| first.known() == Some(b"case"))
            {
                // It ended a pattern that began with a parenthesis.
                self.end_command(true);
            }
        } else {
            self.unclear = true;
        }
    }

    /// Ends a command.
    fn operator(&mut self) {
        let (byte, next) = (self.text[self.at], self.byte(self.at + 1));
        if byte == b'\n' {
            self.end_word();
            if self.commands().is_some_and(|commands| !commands.unfinished || !commands.words.is_empty()) {
                self.end_command(false);
            }
            self.at += 1;
            return self.read_heredocs();
        }
        let pipes = byte == b'|' && next != Some(b'|');
        self.end_command(pipes);
        let unfinished = pipes || byte != b';' && next == Some(byte);
        if let Some(commands) = self.commands() {
            commands.unfinished = unfinished;
        }
        self.at += if next == Some(byte) || byte == b'|' && next == Some(b'&') { 2 } else { 1 };
    }

    fn redirection(&mut self) {
        if let Some(commands) = self.commands()
            && commands.word.as_ref().is_some_and(Word::is_descriptor)
        {
            commands.word = None;
        }
        self.end_word();
        let rest = &self.text[self.at..self.end()];
        if rest.starts_with(b"<(") || rest.starts_with(b">(") {
            return self.take_opaque(1);
        }
        if rest.starts_with(b"<<") && !rest.starts_with(b"<<<") {
            return self.heredoc();
        }
        let here_string = rest.starts_with(b"<<<");
        let length = match rest.get(1) {
            Some(_) if here_string => 3,
            Some(b'>' | b'&' | b'|') => 2,
            _ => 1,
        };
        self.at += length;
        if let Some(commands) = self.commands() {
            commands.next = if here_string { Next::HereString } else { Next::Target };
        }
    }

    /// A command begins behind what is read, unless one has begun.
    pub(super) fn begin_command(&mut self) {
        let first = self.pieces.len();
        if let Some(commands) = self.commands()
            && commands.words.is_empty()
            && commands.word.is_none()
        {
            commands.command = first;
        }
    }

    /// The innermost level, when it is one of commands.
    pub(super) fn commands(&mut self) -> Option<&mut Commands> {
        match self.frames.last_mut() {
            Some(Frame::Commands(commands)) => Some(commands),
            _ => None,
        }
    }

    /// Ends the word that is being read, if there is one.
    fn end_word(&mut self) {
        let Some(commands) = self.commands() else { return };
        let Some(word) = commands.word.take() else { return };
        match std::mem::take(&mut commands.next) {
            Next::Target => return,
            Next::HereString => return commands.fed.extend(word.places()),
            Next::Argument => {}
        }
        let known = word.known().unwrap_or_default();
        let in_pattern = commands.words.first().is_some_and(|first| first.known() == Some(b"case"));
        match (known, commands.words.len()) {
            (b"esac", 0 | 3) if commands.words.is_empty() || in_pattern => {
                commands.cases = commands.cases.saturating_sub(1);
                commands.words.clear();
                return;
            }
            (b"case", 0) => commands.cases += 1,
            (b"[[", 0) => commands.in_test = true,
            // A command begins: a group, or the body of a function.
            (b"{", _) => return self.end_command(true),
            (known, 0) if code::KEYWORDS.contains(&known) => return,
            _ => {}
        }
        commands.in_test &= known != b"]]";
        commands.words.push(word);
    }

    /// Ends the current command, and its pipeline unless it goes on.
    pub(super) fn end_command(&mut self, pipes: bool) {
        self.end_word();
        let (first, lists) = (self.pieces.len(), self.lists);
        let Some(commands) = self.commands() else { return };
        let words = std::mem::take(&mut commands.words);
        let fed = std::mem::take(&mut commands.fed);
        let piped = commands.pipeline..commands.command;
        let found = code::look(&words, commands.in_test, lists);
        let pipeline = piped.start;
        commands.command = first;
        commands.unfinished = false;
        commands.next = Next::Argument;
        if !pipes {
            commands.pipeline = first;
        }
        for (word, reason) in found.words {
            words[word].places().for_each(|place| self.restrict(place, &reason));
        }
        if let Some(reason) = found.stdin {
            piped.chain(fed).for_each(|place| self.restrict(place, &reason));
            let depth = self.frames.len();
            for heredoc in self.heredocs.iter_mut().filter(|heredoc| heredoc.belongs_to(depth, pipeline)) {
                heredoc.code = Some(reason.clone());
            }
        }
    }

    /// The place among the pieces at `number` becomes code.
    fn restrict(&mut self, number: usize, reason: &Reason) {
        if let Some(Piece::Place(Place { rule: rule @ Rule::Any, .. })) = self.pieces.get_mut(number) {
            *rule = Rule::Plain(reason.clone());
        }
    }
}
