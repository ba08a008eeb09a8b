//! What `octaskly worker` was told.

use super::{Environment, NodeValues, Overridden, file_quota, log_options};
use crate::cli::args::{GlobalArgs, WorkerArgs};
use crate::cli::error::CliError;
use crate::cli::value::{
    ValueError, advertised_address, amounts, auto_or, boolean, count, host_port, labels, listen_address, megabytes,
    node_name, port, stop_grace, token, whole_cores,
};
use crate::model::limits::MOST_JOBS;
use crate::node::NodeError;
use crate::node::worker::{DispatcherAddress, WorkerOptions};
use crate::telemetry::LogOptions;
use crate::trust::Home;

/// A worker as it is to run.
#[derive(Debug)]
pub(crate) struct WorkerSettings {
    /// What the node is told.
    pub(crate) options: WorkerOptions,
    /// How it logs.
    pub(crate) log: LogOptions,
    /// Options that lost against a variable.
    pub(crate) overridden: Vec<Overridden>,
}

/// Reads the options of `worker` and the variables that override them.
pub(crate) fn worker(
    args: &WorkerArgs,
    global: GlobalArgs,
    environment: &Environment,
) -> Result<WorkerSettings, CliError> {
    let mut values = NodeValues::new(environment);
    let home = values.path("--home", args.node.home.as_deref(), "OCTASKLY_HOME");
    let mut options = WorkerOptions::new(Home::locate(home).map_err(NodeError::from)?.root().to_owned());

    options.name = values.text("--name", args.name.as_deref(), "OCTASKLY_WORKER_NAME", node_name)?;
    let host = values.text("--dispatcher", args.dispatcher.as_deref(), "OCTASKLY_DISPATCHER", host_port)?;
    let given = args.port.as_deref();
    let port_alone = values.text("--port", given, "OCTASKLY_DISPATCHER_PORT", |text| port(text, 1))?;
    // A port behind the host belongs to that host, whatever else was exported for others.
    options.dispatcher = match host {
        Some(host) => DispatcherAddress { host: Some(host.host), port: host.port.or(port_alone) },
        None => DispatcherAddress { host: None, port: port_alone },
    };
    options.token = values.secret("--token", args.token.as_deref(), "OCTASKLY_TOKEN", token)?;
    let given = args.max_jobs.as_deref();
    options.max_jobs = values.text("--max-jobs", given, "OCTASKLY_MAX_JOBS", jobs_at_once)?;
    let given = args.cpu_cores.as_deref();
    let cores = values.text("--cpu-cores", given, "OCTASKLY_CPU_CORES", |text| auto_or(text, whole_cores))?;
    options.cpu_cores = cores.flatten();
    let given = args.memory.as_deref();
    let memory = values.text("--memory", given, "OCTASKLY_MEMORY", |text| auto_or(text, megabytes))?;
    options.memory_mb = memory.flatten();
    options.gpu = values.text("--gpu", args.gpu.as_deref(), "OCTASKLY_GPU", boolean)?.unwrap_or(false);
    let own = values.list("--label", &args.label, "OCTASKLY_LABEL", |texts| labels(texts, true))?;
    options.labels = own.unwrap_or_default();
    let own = values.list("--resource", &args.resource, "OCTASKLY_RESOURCE", |texts| amounts(texts))?;
    options.resources = own.unwrap_or_default();
    let given = args.discovery_port.as_deref();
    if let Some(port) = values.text("--discovery-port", given, "OCTASKLY_DISCOVERY_PORT", |text| port(text, 1))? {
        options.discovery_port = port;
    }
    let given = args.stop_grace.as_deref();
    if let Some(grace) = values.text("--stop-grace", given, "OCTASKLY_STOP_GRACE", stop_grace)? {
        options.stop_grace = grace;
    }
    options.listen = values.text("--listen", args.listen.as_deref(), "OCTASKLY_LISTEN", listen_address)?;
    let given = args.advertise.as_deref();
    options.advertise = values.text("--advertise", given, "OCTASKLY_ADVERTISE", advertised_address)?;
    options.file_quota = file_quota(&mut values, &args.node)?;
    let log = log_options(&mut values, &args.node, global)?;
    Ok(WorkerSettings { options, log, overridden: values.into_overridden() })
}

/// Tasks at once, within what a worker can tell of after a reconnect.
fn jobs_at_once(text: &str) -> Result<u32, ValueError> {
    count(text, 1, MOST_JOBS.into()).map(|number| u32::try_from(number).unwrap_or(MOST_JOBS))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{LowArgs, Verb};
    use crate::model::NodeId;
    use crate::trust::TokenText;

    fn settings(line: &[&str], variables: &[(&str, &str)]) -> Result<WorkerSettings, CliError> {
        let parsed = LowArgs::try_parse_from([&["octaskly", "worker", "--home", "/h"], line].concat());
        let parsed = parsed.expect("the line parses");
        let Verb::Worker(args) = parsed.verb else { panic!("not a worker") };
        worker(&args, parsed.global, &variables.iter().copied().collect())
    }

    fn options(line: &[&str], variables: &[(&str, &str)]) -> WorkerOptions {
        settings(line, variables).expect("settings").options
    }

    #[test]
    fn a_bare_worker_leaves_everything_to_its_defaults() {
        let options = options(&[], &[]);
        assert_eq!((options.name, options.max_jobs, options.cpu_cores, options.memory_mb), (None, None, None, None));
        assert_eq!((options.dispatcher, options.gpu), (DispatcherAddress::default(), false));
    }

    #[test]
    fn every_line_of_the_original_help_means_what_it_says() {
        let named = options(&["--name", "worker-prod-01", "--max-jobs", "8"], &[]);
        assert_eq!((named.name.map(String::from), named.max_jobs), (Some("worker-prod-01".into()), Some(8)));
        let remote = options(&["--name", "worker-remote", "--dispatcher", "192.168.1.100", "--port", "7878"], &[]);
        let address = DispatcherAddress { host: Some("192.168.1.100".into()), port: Some(7878) };
        assert_eq!(remote.dispatcher, address);
        let big = options(&["--cpu-cores", "16", "--memory", "32768", "--gpu", "true"], &[]);
        assert_eq!((big.cpu_cores, big.memory_mb, big.gpu), (Some(16), Some(32_768), true));
        let short = options(&["-n", "a", "-d", "mars", "-p", "1", "-j", "2", "-c", "auto", "-m", "auto"], &[]);
        assert_eq!((short.max_jobs, short.cpu_cores, short.memory_mb), (Some(2), None, None));
        assert_eq!(short.dispatcher, DispatcherAddress { host: Some("mars".into()), port: Some(1) });
        assert_eq!(options(&["-m", "8G"], &[]).memory_mb, Some(8_192));
        assert_eq!(options(&[], &[("OCTASKLY_MEMORY", "1.5G")]).memory_mb, Some(1_536));
    }

    #[test]
    fn a_bare_gpu_means_true_also_before_another_option() {
        assert!(options(&["--gpu"], &[]).gpu);
        assert!(options(&["--gpu", "--max-jobs", "1"], &[]).gpu);
        assert!(options(&["--gpu=true"], &[]).gpu);
        assert!(!options(&["--gpu", "false"], &[]).gpu);
        assert!(!options(&[], &[("OCTASKLY_GPU", "false")]).gpu);
    }

    #[test]
    fn the_exports_of_the_original_help_are_obeyed() {
        let variables = [
            ("OCTASKLY_WORKER_NAME", "my-worker"),
            ("OCTASKLY_DISPATCHER", "192.168.1.10"),
            ("OCTASKLY_DISPATCHER_PORT", "7878"),
            ("OCTASKLY_MAX_JOBS", "4"),
            ("OCTASKLY_CPU_CORES", "8"),
            ("OCTASKLY_MEMORY", "16384"),
            ("OCTASKLY_GPU", "false"),
            // These are a dispatcher's, or nobody's, and mean nothing here.
            ("OCTASKLY_PORT", "1"),
            ("OCTASKLY_NAME", "other"),
        ];
        let options = options(&[], &variables);
        assert_eq!(options.name.map(String::from), Some("my-worker".to_owned()));
        assert_eq!(options.dispatcher, DispatcherAddress { host: Some("192.168.1.10".into()), port: Some(7878) });
        assert_eq!((options.max_jobs, options.cpu_cores, options.memory_mb), (Some(4), Some(8), Some(16_384)));
    }

    #[test]
    fn every_option_is_overridden_by_its_variable_and_says_so() {
        let cases: &[(&[&str], &str, &str)] = &[
            (&["--name", "a"], "OCTASKLY_WORKER_NAME", "b"),
            (&["--dispatcher", "a"], "OCTASKLY_DISPATCHER", "b"),
            (&["--port", "1"], "OCTASKLY_DISPATCHER_PORT", "2"),
            (&["--max-jobs", "1"], "OCTASKLY_MAX_JOBS", "2"),
            (&["--cpu-cores", "1"], "OCTASKLY_CPU_CORES", "2"),
            (&["--memory", "100"], "OCTASKLY_MEMORY", "200"),
            (&["--gpu", "true"], "OCTASKLY_GPU", "false"),
            (&["--label", "a=1"], "OCTASKLY_LABEL", "b=2"),
            (&["--resource", "a=1"], "OCTASKLY_RESOURCE", "b=2"),
            (&["--discovery-port", "1"], "OCTASKLY_DISCOVERY_PORT", "2"),
            (&["--listen", "0.0.0.0:1"], "OCTASKLY_LISTEN", "0.0.0.0:2"),
            (&["--advertise", "10.0.0.1"], "OCTASKLY_ADVERTISE", "10.0.0.2"),
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
            let said = |settings: WorkerSettings| format!("{:?} {:?}", settings.options, settings.log);
            assert_eq!(said(both), said(alone), "{variable} wins");
        }
    }

    #[test]
    fn a_token_is_overridden_by_its_variable_and_neither_is_shown() {
        let token = |secret| TokenText::with_secret(NodeId([7; 32]), [secret; 16]);
        let (one, two) = (token(1).reveal(), token(2).reveal());
        assert_eq!(options(&["--token", &one], &[]).token, Some(token(1)));
        assert_eq!(options(&[], &[("OCTASKLY_TOKEN", &one)]).token, Some(token(1)));
        assert!(settings(&["--token", &one], &[("OCTASKLY_TOKEN", &one)]).expect("settings").overridden.is_empty());
        let both = settings(&["--token", &one], &[("OCTASKLY_TOKEN", &two)]).expect("settings");
        assert_eq!(both.options.token, Some(token(2)));
        let warning = both.overridden[0].to_string();
        assert_eq!(warning, "--token is overridden by the environment: OCTASKLY_TOKEN wins");
        let damaged = &one[..80];
        for (line, variables, place) in [
            (vec!["--token", damaged], vec![], "--token"),
            (vec!["--token", &one], vec![("OCTASKLY_TOKEN", damaged)], "OCTASKLY_TOKEN"),
        ] {
            let error = settings(&line, &variables).expect_err("a damaged token");
            assert!(error.line().contains(place) && !error.line().contains(&one[57..70]), "{}", error.line());
            assert!(error.hint().is_some_and(|hint| hint.contains("84 characters")));
        }
    }

    #[test]
    fn a_port_behind_the_host_is_that_hosts() {
        let address = options(&["-d", "mars:7900", "-p", "7878"], &[]).dispatcher;
        assert_eq!(address, DispatcherAddress { host: Some("mars".into()), port: Some(7900) });
    }

    #[test]
    fn more_tasks_at_once_than_a_worker_can_tell_of_are_refused_with_the_bound() {
        assert_eq!(options(&["--max-jobs", "2048"], &[]).max_jobs, Some(MOST_JOBS));
        for (line, variables) in [(&["--max-jobs", "2049"][..], &[][..]), (&[], &[("OCTASKLY_MAX_JOBS", "4294967296")])]
        {
            let error = settings(line, variables).expect_err("too many");
            assert!(error.line().contains("more than 2048"), "{}", error.line());
        }
    }

    #[test]
    fn files_take_what_the_disk_has_room_for_unless_a_size_is_given() {
        assert_eq!(options(&[], &[]).file_quota, None);
        assert_eq!(options(&["--file-quota", "50G"], &[]).file_quota, Some(50 << 30));
        assert_eq!(options(&["--file-quota", "auto"], &[]).file_quota, None);
        assert_eq!(options(&[], &[("OCTASKLY_FILE_QUOTA", "1.5T")]).file_quota, Some(3 << 39));
    }

    #[test]
    fn bad_values_are_refused_by_name_with_a_way_out() {
        for (line, name) in [
            (["--name", "worker 01"], "--name"),
            (["--name", "WORKER-01"], "--name"),
            (["--memory", "4X"], "--memory"),
            (["--max-jobs", "0"], "--max-jobs"),
            (["--cpu-cores", "0"], "--cpu-cores"),
            (["--gpu", "perhaps"], "--gpu"),
            (["--file-quota", "50X"], "--file-quota"),
            (["--label", "os=linux"], "--label"),
            (["--dispatcher", "a b"], "--dispatcher"),
            (["--listen", "7900"], "--listen"),
            (["--advertise", "0.0.0.0"], "--advertise"),
        ] {
            let error = settings(&line, &[]).expect_err("no such value");
            assert!(error.line().contains(name), "{}", error.line());
            assert!(error.hint().is_some(), "{} has a hint", error.line());
        }
    }
}
