//! The text of a token: which dispatcher made it, and the secret it is known by.
//!
//! `okt1-<dispatcher id, 52 characters>-<secret, 26 characters>`. Invariant: the
//! id comes first because it is used first: TLS demands that key before the
//! secret leaves this process. The secret is printed by [`TokenText::reveal`]
//! alone. Absent: what a token is worth and whether it still is (the registry,
//! which knows it by its hash).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE;

use super::TrustError;
use crate::model::handshake::Credential;
use crate::model::ids::base32_text;
use crate::model::{Digest, NodeId};

/// What every token of this version begins with.
const PREFIX: &str = "okt1-";
/// What tokens of any version begin with; the number follows.
const FAMILY: &str = "okt";
/// Keeps this hash apart from every other use of the same bytes.
const HASH_CONTEXT: &str = "octaskly token v1";
/// Longer texts are not looked at: a token has 84 characters.
const LONGEST: usize = 256;

/// A token as its bearer has it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    /// Whose token it is; the only node that its secret may be sent to.
    pub dispatcher: NodeId,
    secret: [u8; 16],
}

impl TokenText {
    /// A fresh token of `dispatcher`.
    ///
    /// # Errors
    /// When the system gives no random bits.
    pub fn generate(dispatcher: NodeId) -> Result<Self, TrustError> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(TrustError::Random)?;
        Ok(Self { dispatcher, secret })
    }

    /// The token with this secret.
    #[must_use]
    pub fn with_secret(dispatcher: NodeId, secret: [u8; 16]) -> Self {
        Self { dispatcher, secret }
    }

    /// What the registry knows it by.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash(&self.secret)
    }

    /// What to present in a hello, over a link whose key is [`TokenText::dispatcher`].
    #[must_use]
    pub fn credential(&self) -> Credential {
        Credential::Token(self.secret)
    }

    /// The whole text, secret included, for the one who asked for it.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}-{}", self.dispatcher, base32_text(&self.secret))
    }
}

/// What the registry knows the token with this secret by. The secret has 128 random bits, so nobody finds
/// it from its hash, and comparing hashes gives nobody a prefix to search by.
#[must_use]
pub fn hash(secret: &[u8; 16]) -> Digest {
    Digest(blake3::derive_key(HASH_CONTEXT, secret))
}

/// Whose it is only: secrets are never printed.
impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenText").field("dispatcher", &self.dispatcher).finish_non_exhaustive()
    }
}

/// Why a text is no token that this build can use. The text itself is not in it: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not look like one at all.
    #[error("read the token: this is none (a token begins with {PREFIX})")]
    NotAToken,
    /// A token of a version that this build does not know.
    #[error("read the token: it is of version {0}, and this octaskly knows version 1")]
    OtherVersion(u32),
    /// It begins like one and goes on otherwise.
    #[error("read the token: it is damaged (cut off, or a character was changed)")]
    Damaged,
}

impl TokenError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::NotAToken => "make one with `octaskly token create` on the dispatcher's machine",
            Self::OtherVersion(_) => "upgrade octaskly on this machine, or make the token with the same version",
            Self::Damaged => "copy the whole token, all 84 characters of it",
        }
    }
}

/// Lenient to blanks around it and to upper case, which mail and terminals add; strict otherwise.
impl FromStr for TokenText {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(TokenError::NotAToken);
        }
        let text = text.to_ascii_lowercase();
        let Some(rest) = text.strip_prefix(PREFIX) else { return Err(no_token_of_ours(&text)) };
        let (id, secret) = rest.split_once('-').ok_or(TokenError::Damaged)?;
        let dispatcher = id.parse().map_err(|_| TokenError::Damaged)?;
        let secret = BASE32_NOPAD_NOCASE.decode(secret.as_bytes()).map_err(|_| TokenError::Damaged)?;
        let secret = secret.try_into().map_err(|_| TokenError::Damaged)?;
        Ok(Self { dispatcher, secret })
    }
}

/// A token of another version, or no token.
fn no_token_of_ours(text: &str) -> TokenError {
    let version = text.strip_prefix(FAMILY).and_then(|rest| rest.split_once('-'));
    match version.and_then(|(number, _)| number.parse().ok()) {
        Some(1) | None => TokenError::NotAToken,
        Some(other) => TokenError::OtherVersion(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> TokenText {
        TokenText::with_secret(NodeId([7; 32]), *b"sixteen bytes!!!")
    }

    #[test]
    fn a_token_looks_as_documented_and_its_hash_never_changes() {
        let text = sample().reveal();
        assert_eq!(text.len(), 84);
        assert!(text.starts_with("okt1-a4dqobyha4dqobyh") && text.ends_with("-onuxq5dfmvxcaytzorsxgijbee"), "{text}");
        let hash = sample().hash().to_string();
        assert_eq!(hash, "241a5a9ced472b164ad93acce12e851c7ac86e2fd0f9fed0ba939db8aff3d406");
    }

    #[test]
    fn each_way_of_being_wrong_is_named() {
        let whole = sample().reveal();
        let parse = |text: &str| text.parse::<TokenText>().unwrap_err();
        for none in ["", "hello", "okt-", "oktx-a", "okt01", &"okt1-".repeat(100)] {
            assert_eq!(parse(none), TokenError::NotAToken, "{none}");
        }
        assert_eq!(parse(&whole.replace("okt1", "okt2")), TokenError::OtherVersion(2));
        for damaged in [&whole[..83], &whole[..30], "okt1-", &format!("{whole}a"), &whole.replace('a', "0")] {
            assert_eq!(parse(damaged), TokenError::Damaged, "{damaged}");
        }
    }

    #[test]
    fn what_mail_and_terminals_add_does_no_harm() {
        let shouted = format!("  {}\r\n", sample().reveal().to_ascii_uppercase());
        assert_eq!(shouted.parse(), Ok(sample()));
    }

    #[test]
    fn the_secret_is_not_printed_not_even_by_an_error() {
        let token = TokenText::generate(NodeId([1; 32])).unwrap();
        let secret = base32_text(&token.secret);
        assert!(!format!("{token:?} {:?}", token.credential()).contains(&secret));
        let error = format!("{}-", token.reveal()).parse::<TokenText>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret));
    }

    proptest! {
        #[test]
        fn every_token_survives_its_text_and_no_two_share_a_hash(key in any::<[u8; 32]>(), a: [u8; 16], b: [u8; 16]) {
            let token = TokenText::with_secret(NodeId(key), a);
            prop_assert_eq!(token.reveal().parse::<TokenText>(), Ok(token.clone()));
            prop_assert_eq!(hash(&a) == hash(&b), a == b);
        }

        #[test]
        fn an_altered_token_is_refused_or_another_token(at in 5usize..84, to in "[ -~]") {
            let whole = sample().reveal();
            let mut altered = whole.clone();
            altered.replace_range(at..=at, &to);
            match altered.parse::<TokenText>() {
                Ok(token) => prop_assert_eq!(token == sample(), altered.trim().eq_ignore_ascii_case(&whole)),
                Err(error) => prop_assert_eq!(error, TokenError::Damaged),
            }
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".*") {
            let _ = text.parse::<TokenText>();
            let _ = format!("okt1-{text}").parse::<TokenText>();
        }
    }
}
