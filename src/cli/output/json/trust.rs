//! The JSON of `clients` and `token list`.

use serde::Serialize;

use super::super::text::rfc3339;
use crate::model::trust::{ClientView, TokenState, TokenView};

/// A client or admin.
#[derive(Debug, Serialize)]
pub(crate) struct Client<'a> {
    name: &'a str,
    node_id: String,
    role: String,
    enrolled_at: String,
    links: u32,
    state: &'static str,
}

impl<'a> From<&'a ClientView> for Client<'a> {
    fn from(view: &'a ClientView) -> Self {
        Self {
            name: view.name.as_str(),
            node_id: view.node.to_string(),
            role: view.role.to_string(),
            enrolled_at: rfc3339(view.enrolled_at),
            links: view.links,
            state: client_state(view),
        }
    }
}

/// A token.
#[derive(Debug, Serialize)]
pub(crate) struct Token {
    id: String,
    role: String,
    name: Option<String>,
    uses: u32,
    used: u32,
    created_at: String,
    expires_at: String,
    state: TokenState,
}

impl From<&TokenView> for Token {
    fn from(view: &TokenView) -> Self {
        Self {
            id: view.id.to_string(),
            role: view.role.to_string(),
            name: view.name.as_ref().map(ToString::to_string),
            uses: view.uses,
            used: view.used,
            created_at: rfc3339(view.created_at),
            expires_at: rfc3339(view.expires_at),
            state: view.state,
        }
    }
}

/// The word for where a client stands.
pub(crate) fn client_state(view: &ClientView) -> &'static str {
    if view.revoked { "revoked" } else { "enrolled" }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::trust::TokenId;
    use crate::model::{NodeId, Role, Timestamp};

    /// A client with one link.
    pub(crate) fn sample_client() -> ClientView {
        ClientView {
            name: "client-1".parse().expect("a name"),
            node: NodeId([3; 32]),
            role: Role::Client,
            enrolled_at: Timestamp::from_millis(1_000),
            links: 1,
            revoked: false,
        }
    }

    /// A token that one of two has used.
    pub(crate) fn sample_token() -> TokenView {
        TokenView {
            id: TokenId([1, 2, 3, 4, 5]),
            role: Role::Worker,
            name: Some("lab".parse().expect("a name")),
            uses: 2,
            used: 1,
            created_at: Timestamp::from_millis(1_000),
            expires_at: Timestamp::from_millis(61_000),
            state: TokenState::Valid,
        }
    }

    #[test]
    fn a_client_has_the_stable_keys() {
        let expected = json!({
            "name": "client-1",
            "node_id": NodeId([3; 32]).to_string(),
            "role": "client",
            "enrolled_at": "1970-01-01T00:00:01.000Z",
            "links": 1,
            "state": "enrolled",
        });
        assert_eq!(serde_json::to_value(Client::from(&sample_client())).expect("JSON"), expected);
        let revoked = ClientView { revoked: true, ..sample_client() };
        assert_eq!(serde_json::to_value(Client::from(&revoked)).expect("JSON")["state"], "revoked");
    }

    #[test]
    fn a_token_has_the_stable_keys_and_no_secret() {
        let expected = json!({
            "id": "aebagbaf",
            "role": "worker",
            "name": "lab",
            "uses": 2,
            "used": 1,
            "created_at": "1970-01-01T00:00:01.000Z",
            "expires_at": "1970-01-01T00:01:01.000Z",
            "state": "valid",
        });
        assert_eq!(serde_json::to_value(Token::from(&sample_token())).expect("JSON"), expected);
    }
}
