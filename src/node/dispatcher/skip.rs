//! Leaving out what a reader has already: the first bytes of a log.
//!
//! The one invariant: a byte that a log left out (`Cut`) counts like one that
//! it has, so a place in the output is the same whoever counts.

use std::borrow::Cow;

use crate::wire::data::DataFrame;

/// Drops the first bytes of what passes.
#[derive(Debug)]
pub(super) struct Skip {
    left: u64,
}

impl Skip {
    /// Drops the first `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        Self { left: bytes }
    }

    /// What is left of `frame`; `None` when that is nothing.
    pub(super) fn pass<'a>(&mut self, frame: DataFrame<'a>) -> Option<DataFrame<'a>> {
        if self.left == 0 {
            return Some(frame);
        }
        match frame {
            DataFrame::Output { stream, bytes } => {
                let dropped = self.drop(bytes.len() as u64);
                let bytes = match bytes {
                    _ if dropped == bytes.len() => return None,
                    Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[dropped..]),
                    Cow::Owned(bytes) => Cow::Owned(bytes[dropped..].to_vec()),
                };
                Some(DataFrame::Output { stream, bytes })
            }
            DataFrame::Cut { omitted } => {
                let dropped = self.drop(omitted) as u64;
                (dropped < omitted).then(|| DataFrame::Cut { omitted: omitted - dropped })
            }
            other => Some(other),
        }
    }

    fn drop(&mut self, at_most: u64) -> usize {
        let dropped = self.left.min(at_most);
        self.left -= dropped;
        usize::try_from(dropped).unwrap_or(usize::MAX)
    }
}

/// How far `frame` brings a reader of a log: its output, or what it leaves out.
pub(super) fn advance(frame: &DataFrame<'_>) -> u64 {
    match frame {
        DataFrame::Cut { omitted } => *omitted,
        other => other.output_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::data::OutputStream;

    fn output(bytes: &'static [u8]) -> DataFrame<'static> {
        DataFrame::Output { stream: OutputStream::Stdout, bytes: Cow::Borrowed(bytes) }
    }

    #[test]
    fn what_a_reader_has_is_left_out_to_the_byte() {
        let mut skip = Skip::new(5);
        assert_eq!(skip.pass(output(b"abc")), None);
        assert_eq!(skip.pass(output(b"defg")), Some(output(b"fg")));
        assert_eq!(skip.pass(output(b"h")), Some(output(b"h")));
    }

    #[test]
    fn what_a_log_left_out_counts_as_read() {
        let mut skip = Skip::new(10);
        assert_eq!(skip.pass(DataFrame::Cut { omitted: 8 }), None);
        assert_eq!(skip.pass(DataFrame::Cut { omitted: 5 }), Some(DataFrame::Cut { omitted: 3 }));
        assert_eq!(advance(&DataFrame::Cut { omitted: 5 }), 5);
    }
}
