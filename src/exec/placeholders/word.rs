//! A word of a command, as far as it is known before the command runs.

/// A word of a command.
#[derive(Debug, Default, Clone)]
pub(super) struct Word {
    /// What the shell makes of it, without its placeholders.
    pub(super) text: Vec<u8>,
    /// The same with its placeholders as they are typed.
    pub(super) source: Vec<u8>,
    /// Numbers of the pieces that are its placeholders.
    places: Vec<usize>,
    /// The shell puts something else in it, which nobody knows here.
    pub(super) opaque: bool,
    /// It stands even when nothing is in it.
    pub(super) quoted: bool,
}

impl Word {
    /// One of an exact vector, with these placeholders.
    pub(super) fn exact(source: &[u8], text: Vec<u8>, places: Vec<usize>) -> Self {
        Self { text, source: source.to_vec(), places, opaque: false, quoted: true }
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
        self.source.extend_from_slice(text);
    }

    pub(super) fn place(&mut self, piece: usize, typed: &[u8]) {
        self.places.push(piece);
        self.source.extend_from_slice(typed);
    }

    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().copied()
    }

    /// Its text, when that is the same for every task.
    pub(super) fn known(&self) -> Option<&[u8]> {
        (self.places.is_empty() && !self.opaque).then_some(&self.text[..])
    }

    /// Whether it is a number so far, as in `2>`.
    pub(super) fn is_descriptor(&self) -> bool {
        self.known().is_some_and(|text| text.iter().all(u8::is_ascii_digit))
    }

    /// Whether it may become a name.
    pub(super) fn may_be_name(&self) -> bool {
        !self.opaque && self.text.iter().all(|byte| is_name_byte(*byte))
    }

    /// Whether it begins like `NAME[`.
    pub(super) fn is_subscript(&self) -> bool {
        let name = self.text.iter().take_while(|byte| is_name_byte(**byte)).count();
        name > 0 && self.text.get(name) == Some(&b'[') && !self.text.contains(&b']')
    }

    /// Whether nothing of it may be left.
    pub(super) fn may_vanish(&self) -> bool {
        self.opaque && !self.quoted && self.text.is_empty() && self.places.is_empty()
    }

    pub(super) fn has_places(&self) -> bool {
        !self.places.is_empty()
    }

    pub(super) fn is_assignment(&self) -> bool {
        self.text.iter().position(|byte| *byte == b'=').is_some_and(|at| {
            let name = self.text[..at].strip_suffix(b"+").unwrap_or(&self.text[..at]);
            !name.is_empty() && name.iter().all(|byte| is_name_byte(*byte) || matches!(byte, b'[' | b']'))
        })
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
