//! Which home and which dispatcher a client command means.
//!
//! Client commands read `OCTASKLY_HOME` and `OCTASKLY_DISPATCHER` only, and the
//! option wins: what a task finds in its environment must not bend an
//! `octaskly run` inside it.

use std::path::PathBuf;

use super::{Environment, option, read};
use crate::cli::args::ConnectArgs;
use crate::cli::error::{CliError, Place};
use crate::cli::value::host_port;
use crate::trust::Home;

/// Where a client command looks.
#[derive(Debug, Clone)]
pub(crate) struct Whereabouts {
    /// The folder of keys and state.
    pub(crate) home: Home,
    /// The dispatcher that was named, as it was.
    pub(crate) named: Option<String>,
}

/// Reads the two options and the two variables behind them.
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
    Ok(Whereabouts { home: Home::locate(home)?, named })
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
        let args = ConnectArgs { dispatcher: Some("venus:7900".into()), home: Some("/option".into()) };
        let by_option = whereabouts(&args, &environment).expect("understood");
        assert_eq!((by_option.home.root(), by_option.named.as_deref()), (Path::new("/option"), Some("venus:7900")));
    }

    #[test]
    fn a_senseless_address_is_refused_before_anything_is_dialled() {
        let environment: Environment = [("OCTASKLY_HOME", "/h"), ("OCTASKLY_DISPATCHER", "a b")].into_iter().collect();
        let error = whereabouts(&ConnectArgs::default(), &environment).expect_err("no address");
        assert!(error.line().contains("OCTASKLY_DISPATCHER"), "{}", error.line());
        assert_eq!(error.exit_code(), 2);
    }
}
