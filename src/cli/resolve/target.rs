//! Which home and which dispatcher a client command means.
//!
//! Client commands read `OCTASKLY_HOME`, `OCTASKLY_DISPATCHER` and `OCTASKLY_TOKEN` only, and the
//! option wins: what a task finds in its environment must not bend an
//! `octaskly run` inside it.

use std::path::PathBuf;

use super::{Environment, option, read, read_secret};
use crate::cli::args::ConnectArgs;
use crate::cli::error::{CliError, Place};
use crate::cli::value::{self, host_port};
use crate::trust::{Home, TokenText};

/// Where a client command looks.
#[derive(Debug, Clone)]
pub(crate) struct Whereabouts {
    /// The folder of keys and state.
    pub(crate) home: Home,
    /// The dispatcher that was named, as it was.
    pub(crate) named: Option<String>,
    /// What enrols this client.
    pub(crate) token: Option<TokenText>,
}

/// Reads the three options and the three variables behind them.
pub(crate) fn whereabouts(args: &ConnectArgs, environment: &Environment) -> Result<Whereabouts, CliError> {
    let home = args.home.as_deref().or_else(|| environment.get("OCTASKLY_HOME")).map(PathBuf::from);
    let checked = |text: &str| host_port(text).map(|_| text.to_owned());
    let named = match option("--dispatcher", args.dispatcher.as_deref(), checked)? {
        Some(named) => Some(named),
        None => {
            let variable = "OCTASKLY_DISPATCHER";
            environment.get(variable).map(|set| read(Place::Variable(variable), set, checked)).transpose()?
        }
    };
    let token = match args.token.as_deref() {
        Some(given) => Some(read_secret(Place::Option("--token"), given, value::token)?),
        None => {
            let variable = "OCTASKLY_TOKEN";
            environment
                .get(variable)
                .map(|set| read_secret(Place::Variable(variable), set, value::token))
                .transpose()?
        }
    };
    Ok(Whereabouts { home: Home::locate(home)?, named, token })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn for_a_client_the_option_wins_and_nothing_is_said() {
        let environment: Environment =
            [("OCTASKLY_HOME", "/variable"), ("OCTASKLY_DISPATCHER", "mars"), ("OCTASKLY_DISPATCHER_PORT", "1")]
                .into_iter()
                .collect();
        let by_variable = whereabouts(&ConnectArgs::default(), &environment).expect("understood");
        assert_eq!((by_variable.home.root(), by_variable.named.as_deref()), (Path::new("/variable"), Some("mars")));
        let args = ConnectArgs {
            dispatcher: Some("venus:7900".into()),
            home: Some("/option".into()),
            ..ConnectArgs::default()
        };
        let by_option = whereabouts(&args, &environment).expect("understood");
        assert_eq!((by_option.home.root(), by_option.named.as_deref()), (Path::new("/option"), Some("venus:7900")));
    }

    #[test]
    fn the_token_of_a_client_is_its_option_before_its_variable_and_never_shown() {
        let token = |secret| TokenText::with_secret(crate::model::NodeId([7; 32]), [secret; 16]);
        let environment: Environment =
            [("OCTASKLY_HOME", "/h".to_owned()), ("OCTASKLY_TOKEN", token(1).reveal())].into_iter().collect();
        let found = whereabouts(&ConnectArgs::default(), &environment).expect("understood");
        assert_eq!(found.token, Some(token(1)));
        let args = ConnectArgs { token: Some(token(2).reveal().into()), ..ConnectArgs::default() };
        assert_eq!(whereabouts(&args, &environment).expect("understood").token, Some(token(2)));
        let args = ConnectArgs { token: Some(token(2).reveal()[..83].into()), ..ConnectArgs::default() };
        let error = whereabouts(&args, &environment).expect_err("a damaged token");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(error.line(), "invalid value for --token: it is damaged (cut off, or a character was changed)");
    }

    #[test]
    fn a_senseless_address_is_refused_before_anything_is_dialled() {
        let environment: Environment = [("OCTASKLY_HOME", "/h"), ("OCTASKLY_DISPATCHER", "a b")].into_iter().collect();
        let error = whereabouts(&ConnectArgs::default(), &environment).expect_err("no address");
        assert!(error.line().contains("OCTASKLY_DISPATCHER"), "{}", error.line());
        assert_eq!(error.exit_code(), 2);
    }
}
