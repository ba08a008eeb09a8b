//! What enrols: tokens, their ids, roles and lifetimes, and approval codes.
//!
//! The one invariant: no text that may be a secret, or nearly one, is repeated
//! in an error; whoever reads these values asks for that ([`CliError::secret`]).
//!
//! [`CliError::secret`]: crate::cli::error::CliError::secret

use super::{ValueError, count_u32, duration};
use crate::model::limits::{MAX_TOKEN_LIFETIME, MAX_TOKEN_USES, MIN_TOKEN_LIFETIME};
use crate::model::trust::TokenId;
use crate::model::{Millis, Role};
use crate::trust::token::TokenError;
use crate::trust::{ApprovalCode, TokenText};

/// A token as its bearer has it.
pub(crate) fn token(text: &str) -> Result<TokenText, ValueError> {
    text.parse().map_err(ValueError::NotToken)
}

/// What a token is called; the token itself will do.
pub(crate) fn token_id(text: &str) -> Result<TokenId, ValueError> {
    if text.contains('-') {
        return token(text).map(|token| TokenId::of(&token.hash()));
    }
    text.parse().map_err(|_| ValueError::NotTokenId)
}

/// What a token may make of its bearer.
pub(crate) fn token_role(text: &str) -> Result<Role, ValueError> {
    let roles = [Role::Worker, Role::Client, Role::Admin];
    let found = roles.into_iter().find(|role| role.to_string() == text);
    found.ok_or_else(|| ValueError::NotOneOf { given: text.to_owned(), allowed: "worker, client, admin" })
}

/// How many keys a token enrols.
pub(crate) fn token_uses(text: &str) -> Result<u32, ValueError> {
    match count_u32(text, 1)? {
        many if many > MAX_TOKEN_USES => Err(ValueError::TooLarge(MAX_TOKEN_USES.to_string())),
        uses => Ok(uses),
    }
}

/// How long a token enrols anybody.
pub(crate) fn token_lifetime(text: &str) -> Result<Millis, ValueError> {
    match duration(text)? {
        short if short < MIN_TOKEN_LIFETIME => Err(ValueError::TooSmall("a second".to_owned())),
        long if long > MAX_TOKEN_LIFETIME => Err(ValueError::TooLarge("365 days".to_owned())),
        lifetime => Ok(lifetime),
    }
}

/// The code that a waiting worker shows, as it was typed: the dispatcher takes it in any case, with or
/// without dashes.
pub(crate) fn approval_code(text: &str) -> Result<String, ValueError> {
    match text.parse::<ApprovalCode>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(ValueError::NotCode),
    }
}

/// The words for a text that is no token, behind "invalid value … for …: ".
pub(super) fn why_no_token(error: TokenError) -> String {
    match error {
        TokenError::NotAToken => "it is no token (a token begins with okt1-)".to_owned(),
        TokenError::OtherVersion(version) => {
            format!("it is a token of version {version}, and this octaskly knows version 1")
        }
        TokenError::Damaged => "it is damaged (cut off, or a character was changed)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;

    #[test]
    fn a_token_is_called_by_its_id_or_by_itself() {
        let token = TokenText::with_secret(NodeId([7; 32]), [1; 16]);
        let id = TokenId::of(&token.hash());
        assert_eq!((token_id(&id.to_string()), token_id(&token.reveal())), (Ok(id), Ok(id)));
        assert_eq!(token_id("x"), Err(ValueError::NotTokenId));
        assert!(matches!(token_id("okt1-x"), Err(ValueError::NotToken(_))));
    }

    #[test]
    fn a_token_lives_from_a_second_to_a_year() {
        assert_eq!(token_lifetime("24h"), Ok(Millis::from_secs(86_400)));
        assert_eq!((token_lifetime("1s"), token_lifetime("365d").is_ok()), (Ok(Millis::from_secs(1)), true));
        assert!(matches!(token_lifetime("999ms"), Err(ValueError::TooSmall(_))));
        assert!(matches!(token_lifetime("366d"), Err(ValueError::TooLarge(_))));
        assert_eq!(token_lifetime("soon"), Err(ValueError::NotDuration));
    }

    #[test]
    fn nobody_becomes_a_dispatcher_by_a_token() {
        assert_eq!([token_role("worker"), token_role("admin")], [Ok(Role::Worker), Ok(Role::Admin)]);
        assert!(token_role("dispatcher").is_err_and(|error| error.hint().is_some()));
    }

    #[test]
    fn a_code_is_checked_before_it_costs_a_try() {
        for code in ["abcd-efgh-ijkl-mnop", "ABCD EFGH IJKL MNOP", "abcdefghijklmn0p"] {
            assert!(approval_code(code).is_ok(), "{code}");
        }
        for code in ["", "abcd", "abcd-efgh-ijkl-mno9", "abcd-efgh-ijkl-mnop-q"] {
            assert_eq!(approval_code(code), Err(ValueError::NotCode), "{code}");
        }
    }
}
