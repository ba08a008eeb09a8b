//! The environment of this process, and its precedence over options.
//!
//! For `dispatcher` and `worker` a variable overrides its option, as the
//! original help says; when both are given and differ, one warning names both
//! and which one won. The one invariant: both are understood before they are
//! compared, so `07878` and `7878` do not differ, and a senseless option is
//! refused even when a variable overrides it. An empty variable counts as
//! absent. Deliberately absent: client commands, which read three variables
//! only and let the option win (`target`).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::{read, read_secret};
use crate::cli::error::{CliError, Place};
use crate::cli::value::ValueError;

/// The environment as it was at the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// This process's.
    pub(crate) fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The variable called `name`; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.raw(OsStr::new(name)).filter(|value| !value.is_empty())
    }

    /// The variable called `name`, empty or not: what `--env NAME` passes on.
    pub(crate) fn raw(&self, name: &OsStr) -> Option<&OsStr> {
        self.variables.get(name).map(OsString::as_os_str)
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(variables: T) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// An option that a variable overrode. The text is the warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overridden {
    option: &'static str,
    variable: &'static str,
    /// What was typed and what the variable says; `None` for secrets.
    values: Option<(String, String)>,
}

impl fmt::Display for Overridden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { option, variable, values } = self;
        match values {
            Some((typed, value)) => {
                write!(f, "{option} {typed} is overridden by the environment: {variable}={value} wins")
            }
            None => write!(f, "{option} is overridden by the environment: {variable} wins"),
        }
    }
}

/// Reads the values of a node's options and collects the warnings.
pub(crate) struct NodeValues<'a> {
    environment: &'a Environment,
    overridden: Vec<Overridden>,
}

impl<'a> NodeValues<'a> {
    /// Nothing read yet.
    pub(crate) fn new(environment: &'a Environment) -> Self {
        Self { environment, overridden: Vec::new() }
    }

    /// The warnings, one for each option that was given, differed, and lost.
    pub(crate) fn into_overridden(self) -> Vec<Overridden> {
        self.overridden
    }

    /// What counts of `option` and `variable`.
    pub(crate) fn text<T: PartialEq>(
        &mut self,
        option: &'static str,
        typed: Option<&OsStr>,
        variable: &'static str,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Result<Option<T>, CliError> {
        let from_option = typed.map(|given| read(Place::Option(option), given, &parse)).transpose()?;
        let set = self.environment.get(variable);
        let Some(from_variable) = set.map(|given| read(Place::Variable(variable), given, &parse)).transpose()? else {
            return Ok(from_option);
        };
        if from_option.as_ref().is_some_and(|value| *value != from_variable) {
            self.warn(option, typed, variable, set);
        }
        Ok(Some(from_variable))
    }

    /// The same for what must not be shown.
    pub(crate) fn secret<T: PartialEq>(
        &mut self,
        option: &'static str,
        typed: Option<&OsStr>,
        variable: &'static str,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Result<Option<T>, CliError> {
        let from_option = typed.map(|given| read_secret(Place::Option(option), given, &parse)).transpose()?;
        let set = self.environment.get(variable);
        let from_variable = set.map(|given| read_secret(Place::Variable(variable), given, &parse)).transpose()?;
        if from_option.is_some() && from_variable.is_some() && from_option != from_variable {
            self.overridden.push(Overridden { option, variable, values: None });
        }
        Ok(from_variable.or(from_option))
    }

    /// The same for a path, which is not understood at all.
    pub(crate) fn path(
        &mut self,
        option: &'static str,
        typed: Option<&OsStr>,
        variable: &'static str,
    ) -> Option<PathBuf> {
        let set = self.environment.get(variable);
        if typed.is_some() && set.is_some() && typed != set {
            self.warn(option, typed, variable, set);
        }
        set.or(typed).map(PathBuf::from)
    }

    /// The same for an option that can be given several times; its variable separates by commas.
    pub(crate) fn list<T: PartialEq>(
        &mut self,
        option: &'static str,
        typed: &[OsString],
        variable: &'static str,
        parse: impl Fn(&mut dyn Iterator<Item = &str>) -> Result<T, ValueError>,
    ) -> Result<Option<T>, CliError> {
        let joined = typed.join(OsStr::new(","));
        let typed = (!typed.is_empty()).then_some(joined.as_os_str());
        self.text(option, typed, variable, |text| parse(&mut text.split(',')))
    }

    fn warn(&mut self, option: &'static str, typed: Option<&OsStr>, variable: &'static str, set: Option<&OsStr>) {
        let shown = |text: Option<&OsStr>| text.unwrap_or_default().to_string_lossy().into_owned();
        self.overridden.push(Overridden { option, variable, values: Some((shown(typed), shown(set))) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::value::port;

    fn read_port(typed: Option<&str>, set: Option<&str>) -> (Result<Option<u16>, String>, Vec<String>) {
        let environment: Environment = set.map(|value| ("OCTASKLY_PORT", value)).into_iter().collect();
        let mut values = NodeValues::new(&environment);
        let got = values.text("--port", typed.map(OsStr::new), "OCTASKLY_PORT", |text| port(text, 1));
        let warnings = values.into_overridden().iter().map(ToString::to_string).collect();
        (got.map_err(|error| error.line()), warnings)
    }

    #[test]
    fn a_variable_overrides_its_option_with_one_warning_when_they_differ() {
        assert_eq!(read_port(None, None), (Ok(None), vec![]));
        assert_eq!(read_port(Some("9000"), None), (Ok(Some(9000)), vec![]));
        assert_eq!(read_port(None, Some("8000")), (Ok(Some(8000)), vec![]));
        assert_eq!(read_port(Some("8000"), Some("8000")), (Ok(Some(8000)), vec![]));
        assert_eq!(read_port(Some("8000"), Some("08000")), (Ok(Some(8000)), vec![]), "the same port in other letters");
        assert_eq!(read_port(Some("9000"), Some("")), (Ok(Some(9000)), vec![]), "an empty variable is no variable");
        let (port, warnings) = read_port(Some("9000"), Some("8000"));
        assert_eq!(port, Ok(Some(8000)));
        assert_eq!(warnings, ["--port 9000 is overridden by the environment: OCTASKLY_PORT=8000 wins"]);
    }

    #[test]
    fn a_senseless_value_is_refused_wherever_it_stands() {
        let (refused, _) = read_port(None, Some("abc"));
        assert_eq!(refused, Err("invalid value \"abc\" for OCTASKLY_PORT: it is not a port".to_owned()));
        let (refused, _) = read_port(Some("abc"), Some("8000"));
        assert_eq!(refused, Err("invalid value \"abc\" for --port: it is not a port".to_owned()));
    }

    #[test]
    fn a_list_is_compared_as_a_whole() {
        let environment: Environment = [("OCTASKLY_LABEL", "a=1,b=2")].into_iter().collect();
        let mut values = NodeValues::new(&environment);
        let parse = |texts: &mut dyn Iterator<Item = &str>| crate::cli::value::labels(texts, true);
        let typed: Vec<OsString> = vec!["b=2".into(), "a=1".into()];
        assert_eq!(values.list("--label", &typed, "OCTASKLY_LABEL", parse).expect("labels").expect("given").len(), 2);
        let typed: Vec<OsString> = vec!["c=3".into()];
        let got = values.list("--label", &typed, "OCTASKLY_LABEL", parse).expect("labels").expect("given");
        assert!(got.contains_key("a") && !got.contains_key("c"));
        assert_eq!(values.into_overridden().len(), 1, "only the second differed");
    }
}
