//! The code that a joining worker shows, and the proofs that both sides know it.
//!
//! Invariant: a proof is about one connection. It covers that connection's
//! exporter, both keys and the name, so somebody between the two sides, who has
//! a connection with each, finds that no proof he hears fits the other. The
//! code itself never travels between worker and dispatcher. Absent: how often
//! one may guess (the sides count), and who typed it (`node/`).
//!
//! 80 bits: whoever hears a proof can try codes against it, and 2^80 tries are
//! out of reach for the minutes that a code lives.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE;
use ring::hmac;

use super::TrustError;
use crate::model::ids::base32_text;
use crate::model::{NodeId, NodeName};

/// Wrong codes that burn a worker's code.
pub const CODE_TRIES: u8 = 3;
/// What both sides ask their link's exporter for.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-octaskly-join/1";

const CODE_BYTES: usize = 10;
const CODE_CHARACTERS: usize = 16;
/// Characters between two dashes.
const GROUP: usize = 4;

/// What a worker shows and an admin types on the dispatcher's machine.
#[derive(Clone, PartialEq, Eq)]
pub struct ApprovalCode([u8; CODE_BYTES]);

/// Whose proof it is; without it a proof could be sent back to the side that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The dispatcher's, made from the code that was typed.
    Dispatcher,
    /// The worker's, made from the code it shows.
    Worker,
}

/// What a proof is about.
#[derive(Clone, PartialEq, Eq)]
pub struct Joining {
    /// The exporter of the link between them, by [`EXPORTER_LABEL`].
    pub exporter: [u8; 32],
    /// The key that proved itself as the worker's on this link.
    pub worker: NodeId,
    /// The key that proved itself as the dispatcher's.
    pub dispatcher: NodeId,
    /// The name that the worker waits under.
    pub name: NodeName,
}

impl ApprovalCode {
    /// A fresh code.
    ///
    /// # Errors
    /// When the system gives no random bits.
    pub fn generate() -> Result<Self, TrustError> {
        let mut bytes = [0; CODE_BYTES];
        getrandom::fill(&mut bytes).map_err(TrustError::Random)?;
        Ok(Self(bytes))
    }

    /// Proof of `side` that it knows this code.
    #[must_use]
    pub fn prove(&self, side: Side, joining: &Joining) -> [u8; 32] {
        let mut proof = [0; 32];
        proof.copy_from_slice(hmac::sign(&self.key(), &side.message(joining)).as_ref());
        proof
    }

    /// Whether `proof` was made by `side` from this code, about this joining; takes the same time for
    /// any wrong one.
    #[must_use]
    pub fn verify(&self, side: Side, joining: &Joining, proof: &[u8; 32]) -> bool {
        hmac::verify(&self.key(), &side.message(joining), proof).is_ok()
    }

    /// The code for a person: lower case, in groups.
    #[must_use]
    pub fn reveal(&self) -> String {
        let text = base32_text(&self.0);
        let mut shown = String::with_capacity(CODE_CHARACTERS + CODE_CHARACTERS / GROUP);
        for (i, c) in text.chars().enumerate() {
            if i > 0 && i % GROUP == 0 {
                shown.push('-');
            }
            shown.push(c);
        }
        shown
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl Side {
    /// The bytes that this side's proof covers; every part but the last has a fixed length.
    fn message(self, joining: &Joining) -> Vec<u8> {
        let Joining { exporter, worker, dispatcher, name } = joining;
        let who: &[u8] = match self {
            Self::Dispatcher => b"octaskly-join/1 dispatcher",
            Self::Worker => b"octaskly-join/1 worker",
        };
        let name = name.as_str().as_bytes();
        let length = (name.len() as u64).to_be_bytes();
        [who, exporter, &worker.0, &dispatcher.0, &length, name].concat()
    }
}

/// Codes are shown on purpose or not at all.
impl fmt::Debug for ApprovalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApprovalCode(…)")
    }
}

/// Why what was typed is no code. The text itself is not in it: it may be nearly right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Too short or too long.
    #[error("read the code: it has {found} letters and digits instead of {CODE_CHARACTERS}")]
    WrongLength {
        /// How many it has.
        found: usize,
    },
    /// A character that no code has.
    #[error("read the code: {0:?} is in no code")]
    WrongCharacter(char),
}

/// As people type: any case, dashes and blanks anywhere, and the digits 0, 1 and 8, which no code has,
/// for the letters they look like.
impl FromStr for ApprovalCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let mut letters = Vec::with_capacity(CODE_CHARACTERS);
        let mut found = 0;
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let letter = match c {
                '0' => b'o',
                '1' => b'l',
                '8' => b'b',
                'a'..='z' | 'A'..='Z' | '2'..='7' => c as u8,
                other => return Err(CodeError::WrongCharacter(other)),
            };
            found += 1;
            if found <= CODE_CHARACTERS {
                letters.push(letter);
            }
        }
        let wrong_length = CodeError::WrongLength { found };
        if found != CODE_CHARACTERS {
            return Err(wrong_length);
        }
        let bytes = BASE32_NOPAD_NOCASE.decode(&letters).map_err(|_| wrong_length)?;
        bytes.try_into().map(Self).map_err(|_| wrong_length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> ApprovalCode {
        "abcd-efgh-ijkl-mnop".parse().unwrap()
    }

    fn joining() -> Joining {
        let name = "worker-b".parse().unwrap();
        Joining { exporter: [1; 32], worker: NodeId([2; 32]), dispatcher: NodeId([3; 32]), name }
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        assert_eq!(sample().reveal(), "abcd-efgh-ijkl-mnop");
        for typed in ["ABCDEFGHIJKLMNOP", " abcd efgh ijkl mnop ", "a-b-c-d-efgh-ijkl-mnop\n", "a8cd-efgh-ijk1-mn0p"] {
            assert_eq!(typed.parse(), Ok(sample()), "{typed}");
        }
    }

    #[test]
    fn what_is_no_code_is_told_apart() {
        let parse = |text: &str| text.parse::<ApprovalCode>().unwrap_err();
        assert_eq!(parse(""), CodeError::WrongLength { found: 0 });
        assert_eq!(parse("abcd-efgh-ijkl-mno"), CodeError::WrongLength { found: 15 });
        assert_eq!(parse("abcd-efgh-ijkl-mnopq"), CodeError::WrongLength { found: 17 });
        assert_eq!(parse("abcd-efgh-ijkl-mno9"), CodeError::WrongCharacter('9'));
        assert_eq!(parse("äbcd-efgh-ijkl-mnop"), CodeError::WrongCharacter('ä'));
    }

    #[test]
    fn the_proofs_never_change() {
        let proof = |side| data_encoding::HEXLOWER.encode(&sample().prove(side, &joining()));
        assert_eq!(proof(Side::Dispatcher), "5fbcababe28e5b9970010fe178fae5cfb0520d3267bde55193159bab69ef93b4");
        assert_eq!(proof(Side::Worker), "1449d9b590d0be96bef9d32f2f1af75a7fd16628bc382fdda8f9365237c2f556");
    }

    #[test]
    fn a_proof_holds_for_its_code_its_side_and_its_connection_only() {
        let (code, about) = (sample(), joining());
        let proof = code.prove(Side::Dispatcher, &about);
        assert!(code.verify(Side::Dispatcher, &about, &proof));
        assert!(!code.verify(Side::Worker, &about, &proof), "sent back to who made it");
        assert!(!ApprovalCode::generate().unwrap().verify(Side::Dispatcher, &about, &proof));
        let others = [
            Joining { exporter: [9; 32], ..about.clone() },
            Joining { worker: NodeId([9; 32]), ..about.clone() },
            Joining { dispatcher: NodeId([9; 32]), ..about.clone() },
            Joining { name: "worker-c".parse().unwrap(), ..about.clone() },
            Joining { worker: about.dispatcher, dispatcher: about.worker, ..about },
        ];
        assert!(others.iter().all(|other| !code.verify(Side::Dispatcher, other, &proof)));
    }

    #[test]
    fn a_code_is_not_printed_by_accident() {
        assert_eq!(format!("{:?}", sample()), "ApprovalCode(…)");
    }

    proptest! {
        #[test]
        fn every_code_survives_being_shown_and_typed(bytes: [u8; CODE_BYTES]) {
            let code = ApprovalCode(bytes);
            prop_assert_eq!(code.reveal().parse(), Ok(code));
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".*") {
            let _ = text.parse::<ApprovalCode>();
        }

        #[test]
        fn an_altered_proof_is_refused(at in 0usize..32, bit in 0u8..8) {
            let mut proof = sample().prove(Side::Worker, &joining());
            proof[at] ^= 1 << bit;
            prop_assert!(!sample().verify(Side::Worker, &joining(), &proof));
        }
    }
}
