//! What `octaskly dispatcher` was told.

use std::ffi::OsStr;

use super::{Environment, NodeValues, Overridden, file_quota, log_options};
use crate::cli::args::{DispatcherArgs, GlobalArgs};
use crate::cli::error::CliError;
use crate::cli::value::{
    bind_address, boolean, count_u32, heartbeat_timeout, port, retention, retries, seconds_or_duration, size,
};
use crate::node::NodeError;
use crate::node::dispatcher::DispatcherOptions;
use crate::telemetry::LogOptions;
use crate::trust::Home;

/// A dispatcher as it is to run.
#[derive(Debug)]
pub(crate) struct DispatcherSettings {
    /// What the node is told.
    pub(crate) options: DispatcherOptions,
    /// How it logs.
    pub(crate) log: LogOptions,
    /// Options that lost against a variable.
    pub(crate) overridden: Vec<Overridden>,
}

/// Reads the options of `dispatcher` and the variables that override them.
pub(crate) fn dispatcher(
    args: &DispatcherArgs,
    global: GlobalArgs,
    environment: &Environment,
) -> Result<DispatcherSettings, CliError> {
    let mut values = NodeValues::new(environment);
    let home = values.path("--home", args.node.home.as_deref(), "OCTASKLY_HOME");
    let mut options = DispatcherOptions::new(Home::locate(home).map_err(NodeError::from)?.root().to_owned());

    let given = args.port.as_deref();
    if let Some(port) = values.text("--port", given, "OCTASKLY_PORT", |text| port(text, 0))? {
        options.port = port;
    }
    let given = args.bind.as_deref();
    if let Some(bind) = values.text("--bind", given, "OCTASKLY_BIND", bind_address)? {
        options.bind = bind;
    }
    let given = args.max_workers.as_deref();
    if let Some(most) = values.text("--max-workers", given, "OCTASKLY_MAX_WORKERS", |text| count_u32(text, 1))? {
        options.max_workers = most;
    }
    let given = args.task_timeout.as_deref();
    if let Some(limit) = values.text("--task-timeout", given, "OCTASKLY_TASK_TIMEOUT", seconds_or_duration)? {
        options.task_timeout = limit;
    }
    let given = args.task_retries.as_deref();
    if let Some(tries) = values.text("--task-retries", given, "OCTASKLY_TASK_RETRIES", retries)? {
        options.task_retries = tries;
    }
    let given = args.heartbeat_timeout.as_deref();
    if let Some(silence) = values.text("--heartbeat-timeout", given, "OCTASKLY_HEARTBEAT_TIMEOUT", heartbeat_timeout)? {
        options.heartbeat_timeout = silence;
    }
    let given = args.p2p_enabled.as_deref();
    if let Some(enabled) = values.text("--p2p-enabled", given, "OCTASKLY_P2P_ENABLED", boolean)? {
        options.p2p_enabled = enabled;
    }
    let given = args.discovery_port.as_deref();
    if let Some(port) = values.text("--discovery-port", given, "OCTASKLY_DISCOVERY_PORT", |text| port(text, 1))? {
        options.discovery_port = port;
    }
    options.store = values.path("--store", args.store.as_deref(), "OCTASKLY_STORE");
    let given = args.retention.as_deref();
    if let Some(kept) = values.text("--retention", given, "OCTASKLY_RETENTION", retention)? {
        options.retention = kept;
    }
    let given = args.log_space.as_deref();
    if let Some(most) = values.text("--log-space", given, "OCTASKLY_LOG_SPACE", size)? {
        options.log_space = most;
    }
    let given = args.repair.then_some(OsStr::new("true"));
    options.repair = values.text("--repair", given, "OCTASKLY_REPAIR", boolean)?.unwrap_or(false);
    options.file_quota = file_quota(&mut values, &args.node)?;
    let log = log_options(&mut values, &args.node, global)?;
    Ok(DispatcherSettings { options, log, overridden: values.into_overridden() })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{LowArgs, Verb};
    use crate::model::Millis;
    use crate::telemetry::{LogFormat, Verbosity};

    fn settings(line: &[&str], variables: &[(&str, &str)]) -> Result<DispatcherSettings, CliError> {
        let parsed = LowArgs::try_parse_from([&["octaskly", "dispatcher", "--home", "/h"], line].concat());
        let parsed = parsed.expect("the line parses");
        let Verb::Dispatcher(args) = parsed.verb else { panic!("not a dispatcher") };
        dispatcher(&args, parsed.global, &variables.iter().copied().collect())
    }

    #[test]
    fn a_bare_dispatcher_has_the_defaults_of_the_original() {
        let options = settings(&[], &[]).expect("settings").options;
        assert_eq!((options.port, options.bind), (7878, IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        assert_eq!((options.max_workers, options.task_timeout), (10, Millis::from_secs(300)));
        assert_eq!((options.p2p_enabled, options.discovery_port), (true, 5555));
        assert_eq!((options.task_retries, options.heartbeat_timeout), (3, Millis::from_secs(60)));
        assert_eq!((options.store, options.embedded, options.repair), (None, false, false));
        assert_eq!(options.retention, Some(Millis::from_secs(7 * 24 * 3600)));
    }

    #[test]
    fn every_line_of_the_original_help_means_what_it_says() {
        let options = |line: &[&str]| settings(line, &[]).expect("settings").options;
        assert_eq!(options(&["--port", "8080"]).port, 8080);
        let networked = options(&["--bind", "192.168.1.10", "--port", "7878"]);
        assert_eq!(networked.address().to_string(), "192.168.1.10:7878");
        let small = options(&["--max-workers", "5", "--task-timeout", "600"]);
        assert_eq!((small.max_workers, small.task_timeout), (5, Millis::from_secs(600)));
        assert!(!options(&["--p2p-enabled", "false"]).p2p_enabled);
        let short = options(&["-p", "1", "-b", "127.0.0.1", "-w", "2", "-t", "3"]);
        assert_eq!((short.port, short.max_workers, short.task_timeout), (1, 2, Millis::from_secs(3)));
        assert_eq!(settings(&["--verbose"], &[]).expect("settings").log.verbosity, Verbosity::Verbose);
        assert_eq!(settings(&["-q"], &[]).expect("settings").log.verbosity, Verbosity::Quiet);
    }

    #[test]
    fn every_option_is_overridden_by_its_variable_and_says_so() {
        let cases: &[(&[&str], &str, &str)] = &[
            (&["--port", "1"], "OCTASKLY_PORT", "2"),
            (&["--bind", "127.0.0.1"], "OCTASKLY_BIND", "127.0.0.2"),
            (&["--max-workers", "1"], "OCTASKLY_MAX_WORKERS", "2"),
            (&["--task-timeout", "1"], "OCTASKLY_TASK_TIMEOUT", "2"),
            (&["--task-retries", "1"], "OCTASKLY_TASK_RETRIES", "2"),
            (&["--heartbeat-timeout", "20"], "OCTASKLY_HEARTBEAT_TIMEOUT", "30"),
            (&["--p2p-enabled", "true"], "OCTASKLY_P2P_ENABLED", "false"),
            (&["--discovery-port", "1"], "OCTASKLY_DISCOVERY_PORT", "2"),
            (&["--store", "/a"], "OCTASKLY_STORE", "/b"),
            (&["--retention", "1d"], "OCTASKLY_RETENTION", "none"),
            (&["--log-space", "1G"], "OCTASKLY_LOG_SPACE", "2G"),
            (&["--repair"], "OCTASKLY_REPAIR", "false"),
            (&["--file-quota", "1G"], "OCTASKLY_FILE_QUOTA", "2G"),
            (&["--log-file", "/a"], "OCTASKLY_LOG_FILE", "/b"),
            (&["--log-format", "text"], "OCTASKLY_LOG_FORMAT", "json"),
            (&["--verbose"], "OCTASKLY_VERBOSE", "false"),
            (&["--quiet"], "OCTASKLY_QUIET", "false"),
        ];
        for (line, variable, value) in cases {
            let alone = settings(&[], &[(variable, value)]).expect("settings");
            assert!(alone.overridden.is_empty(), "{variable} alone contradicts nothing");
            let both = settings(line, &[(variable, value)]).expect("settings");
            assert_eq!(both.overridden.len(), 1, "{variable}");
            let warning = both.overridden[0].to_string();
            assert!(warning.contains(&format!("{variable}={value} wins")), "{warning}");
            assert!(line.iter().all(|word| warning.contains(word)), "{warning} names {line:?}");
            let said = |settings: DispatcherSettings| format!("{:?} {:?}", settings.options, settings.log);
            assert_eq!(said(both), said(alone), "{variable} wins");
        }
    }

    #[test]
    fn the_variable_for_the_home_overrides_the_option_too() {
        let both = settings(&[], &[("OCTASKLY_HOME", "/other")]).expect("settings");
        assert_eq!(both.options.home, std::path::Path::new("/other"));
        assert_eq!(both.overridden.len(), 1);
    }

    #[test]
    fn files_take_what_the_disk_has_room_for_unless_a_size_is_given() {
        let quota = |line: &[&str], variables: &[_]| settings(line, variables).expect("settings").options.file_quota;
        assert_eq!((quota(&[], &[]), quota(&["--file-quota", "auto"], &[])), (None, None));
        assert_eq!(quota(&["--file-quota", "200G"], &[]), Some(200 << 30));
        assert_eq!(quota(&["--file-quota", "200G"], &[("OCTASKLY_FILE_QUOTA", "auto")]), None, "the variable wins");
    }

    #[test]
    fn the_log_is_json_when_the_variable_says_so() {
        let log = settings(&[], &[("OCTASKLY_LOG_FORMAT", "json")]).expect("settings").log;
        assert_eq!((log.format, log.verbosity), (LogFormat::Json, Verbosity::Normal));
    }

    #[test]
    fn bad_numbers_are_refused_by_name() {
        for (line, name) in [
            (["--port", "70000"], "--port"),
            (["--max-workers", "0"], "--max-workers"),
            (["--task-timeout", "soon"], "--task-timeout"),
            (["--task-timeout", "0"], "--task-timeout"),
            (["--p2p-enabled", "maybe"], "--p2p-enabled"),
            (["--bind", "eth0"], "--bind"),
            (["--heartbeat-timeout", "3"], "--heartbeat-timeout"),
            (["--file-quota", "much"], "--file-quota"),
            (["--file-quota", "100"], "--file-quota"),
        ] {
            let error = settings(&line, &[]).expect_err("no such value");
            assert!(error.line().contains(name) && error.hint().is_some(), "{}", error.line());
            assert_eq!(error.exit_code(), 2);
        }
    }
}
