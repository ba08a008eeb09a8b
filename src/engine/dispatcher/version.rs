//! Which protocol version two sides speak with each other.
//!
//! Invariant: it is the newest that both know, or the hello is refused with
//! the side to upgrade. Decided here alone, for workers that answer workers too;
//! the transport passes hellos on as they came.

use super::refusals::refusal;
use crate::model::Role;
use crate::model::handshake::{Hello, Refusal, RefusalCode};
use crate::model::limits::{PROTOCOL_OLDEST, PROTOCOL_VERSION};

/// Most characters of a stranger's words that come back in a refusal.
const QUOTED: usize = 40;

/// The newest protocol version that `hello`'s sender and this node, a `role` of version `software`, both speak.
///
/// # Errors
/// The refusal to answer with, when there is none.
pub fn negotiate(hello: &Hello, role: Role, software: &str) -> Result<u16, Refusal> {
    let Hello { protocol_oldest: oldest, protocol_newest: newest, software: theirs, .. } = hello;
    if oldest > newest {
        let text = format!("the hello names protocol versions {oldest} to {newest}, which is no range");
        return Err(refusal(RefusalCode::Malformed, text, None));
    }
    let theirs = printable(theirs);
    if *newest < PROTOCOL_OLDEST {
        let text = format!(
            "octaskly {theirs} speaks protocol {newest}; the {role}, octaskly {software}, needs {PROTOCOL_OLDEST} or newer"
        );
        return Err(refusal(RefusalCode::Version, text, Some("upgrade octaskly on this machine")));
    }
    if *oldest > PROTOCOL_VERSION {
        let text = format!(
            "octaskly {theirs} needs protocol {oldest} or newer; the {role}, octaskly {software}, speaks {PROTOCOL_VERSION}"
        );
        let hint = format!("upgrade octaskly on the {role}'s machine");
        return Err(refusal(RefusalCode::Version, text, Some(&hint)));
    }
    Ok(PROTOCOL_VERSION.min(*newest))
}

/// A stranger's words come back in a refusal and in logs; they must not steer a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::InstanceId;
    use crate::model::handshake::{Credential, Intent};

    fn speaking(protocol_oldest: u16, protocol_newest: u16) -> Hello {
        let software = "9.9.9\u{1b}[2J".to_owned();
        let (instance, intent, credential) = (InstanceId(1), Intent::Client, Credential::None);
        Hello { protocol_oldest, protocol_newest, software, instance, intent, credential }
    }

    #[test]
    fn a_mismatch_names_both_versions_and_the_side_to_upgrade() {
        let refused = |oldest, newest| {
            negotiate(&speaking(oldest, newest), Role::Dispatcher, "1.2.3").expect_err("no common version")
        };
        let old = refused(0, PROTOCOL_OLDEST - 1);
        assert_eq!(old.hint.as_deref(), Some("upgrade octaskly on this machine"));
        let new = refused(PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 3);
        assert_eq!(new.hint.as_deref(), Some("upgrade octaskly on the dispatcher's machine"));
        for refusal in [old, new] {
            assert!(refusal.text.contains("9.9.9") && refusal.text.contains("1.2.3"), "{}", refusal.text);
        }
    }

    proptest! {
        #[test]
        fn what_is_agreed_on_is_spoken_by_both(oldest: u16, newest: u16) {
            match negotiate(&speaking(oldest, newest), Role::Worker, "1.0.0") {
                Ok(agreed) => {
                    prop_assert!((oldest..=newest).contains(&agreed));
                    prop_assert!((PROTOCOL_OLDEST..=PROTOCOL_VERSION).contains(&agreed));
                }
                Err(refusal) => prop_assert!(!refusal.text.chars().any(char::is_control)),
            }
        }
    }
}
