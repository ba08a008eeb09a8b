//! Whom the verbs of trust mean, and what a token is to be worth.

use std::ffi::{OsStr, OsString};

use super::{option, read, read_secret};
use crate::cli::args::{ApproveArgs, RevokeArgs, TokenCreateArgs};
use crate::cli::error::{CliError, Place};
use crate::cli::value;
use crate::model::requests::NodeKind;
use crate::model::trust::TokenId;
use crate::model::{Millis, NodeName, Role};

/// How long a token enrols anybody when nothing else was said.
const TOKEN_LIFETIME: Millis = Millis::from_secs(24 * 3600);

/// A worker to be let in.
#[derive(Debug)]
pub(crate) struct Approval {
    /// What it waits as.
    pub(crate) name: NodeName,
    /// What it shows.
    pub(crate) code: String,
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenPlan {
    /// What it makes of its bearer.
    pub(crate) role: Role,
    /// What its bearer is called.
    pub(crate) name: Option<NodeName>,
    /// How many may bring it.
    pub(crate) uses: u32,
    /// For how long.
    pub(crate) lifetime: Millis,
}

/// `NAME`.
pub(crate) fn node_name(given: &OsStr) -> Result<NodeName, CliError> {
    read(Place::Argument("NAME"), given, value::node_name)
}

/// `NEW`.
pub(crate) fn new_name(given: &OsStr) -> Result<NodeName, CliError> {
    read(Place::Argument("NEW"), given, value::node_name)
}

/// `NAME CODE`; a code in groups may be typed with blanks between them.
pub(crate) fn approval(args: &ApproveArgs) -> Result<Approval, CliError> {
    let name = node_name(&args.name)?;
    let code = args.code.join(OsStr::new(" "));
    Ok(Approval { name, code: read_secret(Place::Argument("CODE"), &code, value::approval_code)? })
}

/// `NAME`, and which of the two when it says so.
pub(crate) fn revocation(args: &RevokeArgs) -> Result<(NodeName, Option<NodeKind>), CliError> {
    let kind = match (args.worker, args.client) {
        (true, _) => Some(NodeKind::Worker),
        (false, true) => Some(NodeKind::Client),
        (false, false) => None,
    };
    Ok((node_name(&args.name)?, kind))
}

/// `--role`, `--name`, `--uses` and `--ttl`.
pub(crate) fn token(args: &TokenCreateArgs) -> Result<TokenPlan, CliError> {
    let uses = option("--uses", args.uses.as_deref(), value::token_uses)?;
    let role = option("--role", args.role.as_deref(), value::token_role)?;
    let lifetime = option("--ttl", args.ttl.as_deref(), value::token_lifetime)?;
    Ok(TokenPlan {
        role: role.unwrap_or(Role::Worker),
        name: option("--name", args.name.as_deref(), value::node_name)?,
        uses: uses.unwrap_or(1),
        lifetime: lifetime.unwrap_or(TOKEN_LIFETIME),
    })
}

/// `ID`: what a token is called, or the token itself.
pub(crate) fn token_id(given: &OsString) -> Result<TokenId, CliError> {
    read_secret(Place::Argument("ID"), given, value::token_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(role: Option<&str>, uses: Option<&str>, ttl: Option<&str>) -> Result<TokenPlan, CliError> {
        let given = |text: Option<&str>| text.map(OsString::from);
        token(&TokenCreateArgs { role: given(role), uses: given(uses), ttl: given(ttl), ..TokenCreateArgs::default() })
    }

    #[test]
    fn a_plain_token_makes_one_worker_within_a_day() {
        let plain = TokenPlan { role: Role::Worker, name: None, uses: 1, lifetime: Millis::from_secs(86_400) };
        assert_eq!(plan(None, None, None).expect("a plan"), plain);
        let other = plan(Some("client"), Some("20"), Some("90s")).expect("a plan");
        assert_eq!(other, TokenPlan { role: Role::Client, name: None, uses: 20, lifetime: Millis::from_secs(90) });
    }

    #[test]
    fn what_no_token_can_be_worth_is_refused_by_name() {
        for (error, name) in [
            (plan(Some("boss"), None, None), "--role"),
            (plan(None, Some("0"), None), "--uses"),
            (plan(None, Some("10001"), None), "--uses"),
            (plan(None, None, Some("2 years")), "--ttl"),
        ] {
            let error = error.expect_err("no such token");
            assert!(error.line().contains(name), "{}", error.line());
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn a_code_may_be_typed_with_blanks_and_is_not_repeated_when_it_is_none() {
        let typed = |code: &[&str]| {
            let code = code.iter().map(OsString::from).collect();
            approval(&ApproveArgs { name: "worker-b".into(), code, ..ApproveArgs::default() })
        };
        assert!(typed(&["abcd", "efgh", "ijkl", "mnop"]).is_ok());
        let error = typed(&["abcd-efgh-ijkl-mno"]).expect_err("too short");
        assert!(!error.line().contains("abcd") && error.hint().is_some(), "{}", error.line());
    }
}
