//! clap's complaints in our own form: one `error:` line, one `hint:` line.
//!
//! Absent: help and version, which are answers; they go to stdout as clap
//! wrote them.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::CliError;

/// What became of arguments that clap did not turn into a command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Print this on stdout and exit 0.
    Print(String),
    /// There was no command: print the help on stderr and exit 2.
    Help(String),
    /// A usage error.
    Error(CliError),
}

/// Turns clap's error into an answer of ours.
pub(crate) fn answer(error: &clap::Error) -> Answer {
    match error.kind() {
        ErrorKind::DisplayHelp => Answer::Print(error.render().to_string()),
        ErrorKind::DisplayVersion => Answer::Print(concat!("octaskly ", env!("CARGO_PKG_VERSION"), "\n").to_owned()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Answer::Help(error.render().to_string()),
        _ => Answer::Error(CliError::Usage { text: text(error), hint: Some(hint(error)) }),
    }
}

/// clap's first paragraph on one line, without its own `error:`.
fn text(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let paragraph = rendered.split("\n\n").next().unwrap_or_default();
    let lines = paragraph.lines().map(str::trim).filter(|line| !line.starts_with("[possible values"));
    let joined = lines.collect::<Vec<_>>().join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

/// What clap proposes, else where the options are listed.
fn hint(error: &clap::Error) -> String {
    let proposed = |kind| match error.get(kind) {
        Some(ContextValue::String(one)) => Some(one.clone()),
        // clap sorts by likeness, the best last.
        Some(ContextValue::Strings(some)) => some.last().cloned(),
        _ => None,
    };
    let near = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    if let Some(near) = near.into_iter().find_map(proposed) {
        return format!("did you mean {near}?");
    }
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue)
        && !values.is_empty()
    {
        return format!("it can be {}", values.join(", "));
    }
    match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => match verb(&usage.to_string()) {
            Some(verb) => format!("`octaskly {verb} --help` lists what it takes"),
            None => "`octaskly --help` lists the commands".to_owned(),
        },
        _ => "`octaskly --help` lists the commands".to_owned(),
    }
}

/// The command in a usage line such as `Usage: octaskly submit [OPTIONS] …`.
fn verb(usage: &str) -> Option<&str> {
    let mut words = usage.split_whitespace().skip_while(|word| *word != "octaskly");
    words.nth(1).filter(|word| word.bytes().all(|b| b.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::LowArgs;
    use super::*;

    fn refused(line: &[&str]) -> (String, String) {
        let error = LowArgs::try_parse_from([&["octaskly"], line].concat()).expect_err("no such command line");
        match answer(&error) {
            Answer::Error(error) => (error.line(), error.hint().expect("a hint")),
            other => panic!("not an error: {other:?}"),
        }
    }

    #[test]
    fn a_usage_error_is_one_line_and_one_hint() {
        let (text, hint) = refused(&["list", "--al"]);
        assert_eq!((text.as_str(), hint.as_str()), ("unexpected argument '--al' found", "did you mean --all?"));
        let (text, hint) = refused(&["wrkers"]);
        assert_eq!((text.as_str(), hint.as_str()), ("unrecognized subcommand 'wrkers'", "did you mean workers?"));
        let (text, hint) = refused(&["show"]);
        assert!(text.contains("<ID>") && hint.contains("octaskly show --help"), "{text} / {hint}");
        let (text, hint) = refused(&["list", "--json=csv"]);
        assert!(text.contains("'csv'") && hint == "it can be array, lines", "{text} / {hint}");
        for line in
            [&["run"][..], &["completions", "tcsh"], &["list", "--all", "--state", "failed"], &["dispatcher", "x"]]
        {
            let (text, hint) = refused(line);
            assert!(!text.contains('\n') && !hint.contains('\n'), "{text} / {hint}");
        }
    }

    #[test]
    fn the_version_is_the_same_wherever_it_is_asked_for() {
        for line in [&["-V"][..], &["--version"], &["dispatcher", "-V"], &["run", "--version"]] {
            let error = LowArgs::try_parse_from([&["octaskly"], line].concat()).expect_err("the version");
            assert!(matches!(answer(&error), Answer::Print(text) if text == "octaskly 1.0.0\n"), "{line:?}");
        }
    }
}
