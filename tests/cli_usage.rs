//! The real binary as a user types it, where no dispatcher is needed: usage
//! errors, help, version, completions, manual page, precedence, and that
//! docs/HELP.md tells the truth about all of it.

use std::path::Path;
use std::process::{Command, Output};

/// Every command, in the order of the help.
const VERBS: [&str; 27] = [
    "dispatcher",
    "worker",
    "run",
    "submit",
    "attach",
    "list",
    "show",
    "explain",
    "logs",
    "get",
    "wait",
    "cancel",
    "retry",
    "forget",
    "workers",
    "peers",
    "drain",
    "resume",
    "approve",
    "revoke",
    "clients",
    "token",
    "status",
    "hwdetect",
    "bench",
    "completions",
    "man",
];

/// What stands behind `token`.
const TOKEN_VERBS: [&str; 3] = ["create", "list", "revoke"];

/// What stands behind `bench`.
const BENCH_VERBS: [&str; 3] = ["throughput", "latency", "transfer"];

/// Every command with a help of its own, the ones of two words among them.
fn commands() -> Vec<Vec<&'static str>> {
    let single = VERBS.iter().map(|verb| vec![*verb]);
    let double = TOKEN_VERBS.iter().map(|verb| vec!["token", *verb]);
    single.chain(double).chain(BENCH_VERBS.iter().map(|verb| vec!["bench", *verb])).collect()
}

/// The help of a command.
fn help_of(command: &[&str]) -> String {
    octaskly(&[command, &["--help"]].concat()).printed().to_owned()
}

/// One invocation with nothing in its environment that could bend it.
struct Octaskly {
    home: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Octaskly {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a folder"), variables: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn run(&self, line: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_octaskly"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OCTASKLY_")) {
            command.env_remove(name);
        }
        command.env("OCTASKLY_HOME", self.home.path()).envs(self.variables.iter().cloned());
        let output = command.args(line).stdin(std::process::Stdio::null()).output().expect("the binary starts");
        Answer::new(line, output)
    }
}

/// What came of an invocation.
struct Answer {
    line: String,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn new(line: &[&str], output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let Output { status, stdout, stderr } = output;
        Self { line: line.join(" "), code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Checks that it is refused in one `error:` line with `code`, perhaps a `hint:`, and nothing else.
    fn refused(&self, code: i32) -> (&str, Option<&str>) {
        assert_eq!(self.code, Some(code), "{}: {}", self.line, self.stderr);
        assert_eq!(self.stdout, "", "{}", self.line);
        let lines: Vec<_> = self.stderr.lines().collect();
        let error = lines.first().and_then(|line| line.strip_prefix("error: "));
        let hint = lines.get(1).map(|line| line.strip_prefix("hint: ").expect("the second line is a hint"));
        assert!(lines.len() <= 2, "{}: {}", self.line, self.stderr);
        (error.expect("the first line is the error"), hint)
    }

    fn printed(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.line);
        &self.stdout
    }
}

fn octaskly(line: &[&str]) -> Answer {
    Octaskly::new().run(line)
}

/// The long options that a help text lists.
fn long_options(help: &str) -> Vec<String> {
    let words = help.lines().filter(|line| line.trim_start().starts_with('-')).flat_map(str::split_whitespace);
    let longs = words.filter_map(|word| word.strip_prefix("--"));
    let mut longs: Vec<_> = longs
        .map(|long| long.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-').collect())
        .filter(|long: &String| !long.is_empty())
        .map(|long| format!("--{long}"))
        .collect();
    longs.sort();
    longs.dedup();
    longs
}

fn help_document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/HELP.md");
    std::fs::read_to_string(path).expect("docs/HELP.md is readable")
}

#[test]
fn the_version_is_octaskly_1_0_0_wherever_it_is_asked_for() {
    for line in [&["--version"][..], &["-V"], &["dispatcher", "--version"], &["w", "-V"], &["run", "-V"]] {
        assert_eq!(octaskly(line).printed(), "octaskly 1.0.0\n");
    }
}

#[test]
fn help_is_there_for_every_command_before_and_after_its_name() {
    let overview = octaskly(&["--help"]);
    for verb in VERBS {
        assert!(overview.printed().contains(&format!("  {verb} ")), "{verb} is listed");
        let help = octaskly(&[verb, "--help"]);
        assert!(help.printed().contains("Usage: octaskly"), "{verb}");
        assert_eq!(octaskly(&["help", verb]).printed().lines().next(), help.printed().lines().next());
        assert!(help.printed().lines().all(|line| line.chars().count() <= 100), "{verb}: lines fit 100 columns");
    }
    assert_eq!(octaskly(&["d", "-h"]).printed(), octaskly(&["dispatcher", "-h"]).printed());
}

#[test]
fn the_options_of_the_original_are_all_there_with_their_defaults() {
    let has = |verb: &str, wanted: &[(&str, &str)]| {
        let help = octaskly(&[verb, "--help"]).printed().split_whitespace().collect::<Vec<_>>().join(" ");
        for (option, default) in wanted {
            let at = help.find(option).unwrap_or_else(|| panic!("{verb} has {option}"));
            let default_at = help[at..].find(default).unwrap_or_else(|| panic!("{verb} {option} says {default}"));
            assert!(default_at < 160, "{verb}: {default} stands with {option}");
        }
    };
    has(
        "dispatcher",
        &[
            ("-p, --port", "[default: 7878]"),
            ("-b, --bind", "[default: 0.0.0.0]"),
            ("-w, --max-workers", "[default: 10]"),
            ("-t, --task-timeout", "[default: 300]"),
            ("--p2p-enabled", "[default: true]"),
            ("--discovery-port", "[default: 5555]"),
            ("--heartbeat-timeout", "[default: 60]"),
            ("--task-retries", "[default: 3]"),
            ("-v, --verbose", "debug"),
        ],
    );
    has(
        "worker",
        &[
            ("-n, --name", "[default: worker-N"),
            ("-d, --dispatcher", "[default: localhost]"),
            ("-p, --port", "[default: 7878]"),
            ("-j, --max-jobs", "[default: 4]"),
            ("-c, --cpu-cores", "[default: auto]"),
            ("-m, --memory", "[default: auto]"),
            ("--gpu", "[default: false]"),
            ("-v, --verbose", "debug"),
        ],
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_one_error_and_exit_2() {
    let lines: &[&[&str]] = &[
        &["frobnicate"],
        &["list", "--bogus"],
        &["list", "--state", "done"],
        &["list", "--all", "--state", "failed"],
        &["list", "--limit", "0"],
        &["show"],
        &["show", "x"],
        &["show", "5", "all"],
        &["wait", "1", "--timeout", "soon"],
        &["logs", "1", "--stdout", "--stderr"],
        &["logs", "1", "--tail", "-3"],
        &["run"],
        &["run", "--"],
        &["run", ""],
        &["run", ":::", "a"],
        &["run", "--cpus", "0", "true"],
        &["run", "--mem", "4X", "true"],
        &["run", "--each-line", "/no/such/file", "echo"],
        &["run", "--stdin", "/no/such/file", "cat"],
        &["run", "--shell", "--no-shell", "true"],
        &["run", "--no-retry", "--retries", "2", "true"],
        &["submit", "--array", "9-1", "true"],
        &["submit", "--after", "all", "true"],
        &["dispatcher", "--port", "70000"],
        &["dispatcher", "--bind", "nowhere"],
        &["dispatcher", "extra"],
        &["worker", "--name", "worker 01"],
        &["worker", "--memory", "lots"],
        &["worker", "--gpu", "perhaps"],
        &["list", "--dispatcher", "a b"],
        &["approve"],
        &["approve", "worker-b"],
        &["approve", "worker-b", "abcd"],
        &["approve", "Worker B", "abcd-efgh-ijkl-mnop"],
        &["revoke"],
        &["revoke", "b", "--worker", "--client"],
        &["drain"],
        &["resume", "b", "--wait"],
        &["token", "make"],
        &["token", "create", "--role", "boss"],
        &["token", "create", "--uses", "0"],
        &["token", "create", "--ttl", "2y"],
        &["token", "revoke", "x"],
        &["worker", "--token", "x"],
        &["list", "--token", "okt1-x"],
        &["bench", "speed"],
        &["bench", "throughput", "--tasks", "0"],
        &["bench", "latency", "--seconds", "0"],
        &["bench", "transfer", "--size", "lots"],
        &["completions", "tcsh"],
        &["man", "frobnicate"],
        &["-q", "-v", "status"],
    ];
    for line in lines {
        let answer = octaskly(line);
        let (error, hint) = answer.refused(2);
        assert!(!error.is_empty() && !error.contains("Error {"), "{line:?}: {error}");
        assert!(hint.is_some() || line[0] == "run", "{line:?} has a hint");
    }
}

#[test]
fn a_bad_name_is_refused_with_the_nearest_good_one() {
    for given in ["worker 01", "WORKER-01"] {
        let answer = octaskly(&["worker", "--name", given]);
        let (error, hint) = answer.refused(2);
        assert!(error.contains(given), "{error}");
        assert_eq!(hint, Some("the nearest valid name is worker-01"));
    }
}

#[test]
fn without_a_command_the_help_is_shown_and_the_exit_is_2() {
    let answer = octaskly(&[]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""));
    assert!(answer.stderr.contains("Usage: octaskly"));
}

#[test]
fn a_client_without_a_dispatcher_says_so_and_exits_125() {
    for line in [
        &["list"][..],
        &["show", "1"],
        &["explain", "1"],
        &["logs", "1"],
        &["attach", "1"],
        &["wait", "1"],
        &["cancel", "1"],
        &["retry", "1"],
        &["forget", "1"],
        &["workers"],
        &["peers"],
        &["drain", "b"],
        &["resume", "b"],
        &["approve", "b", "abcd-efgh-ijkl-mnop"],
        &["revoke", "b"],
        &["clients"],
        &["token", "create"],
        &["token", "list"],
        &["token", "revoke", "aebagbaf"],
        &["status"],
        &["submit", "true"],
    ] {
        let answer = octaskly(line);
        let (_, hint) = answer.refused(125);
        assert!(hint.is_some_and(|hint| hint.contains("octaskly dispatcher")), "{line:?}");
    }
    let answer = octaskly(&["list", "--dispatcher", "no-such-host.invalid"]);
    assert!(answer.refused(125).0.contains("no-such-host.invalid"));
}

#[test]
fn a_node_names_the_variable_that_makes_no_sense() {
    let answer = Octaskly::new().with("OCTASKLY_PORT", "abc").run(&["dispatcher"]);
    assert!(answer.refused(2).0.contains("OCTASKLY_PORT"));
    let answer = Octaskly::new().with("OCTASKLY_WORKER_NAME", "Worker").run(&["worker"]);
    assert!(answer.refused(2).0.contains("OCTASKLY_WORKER_NAME"));
}

#[test]
fn an_overridden_option_is_warned_of_once_with_both_values() {
    // Both ports are taken by a socket of ours, so that the dispatcher ends at once whichever it tries.
    let taken = || std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (one, other) = (taken(), taken());
    let number = |socket: &std::net::UdpSocket| socket.local_addr().expect("bound").port().to_string();
    let (typed, set) = (number(&one), number(&other));
    let node = Octaskly::new().with("OCTASKLY_PORT", &set);
    let answer = node.run(&["dispatcher", "--bind", "127.0.0.1", "--port", &typed]);
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    let warnings: Vec<_> = answer.stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{}", answer.stderr);
    assert!(
        warnings[0].contains(&format!("--port {typed}")) && warnings[0].contains(&format!("OCTASKLY_PORT={set} wins"))
    );
    let error = answer.stderr.lines().find(|line| line.starts_with("error: ")).expect("it cannot start");
    assert!(error.contains(&format!("127.0.0.1:{set}")), "the variable won: {error}");
    let quiet = node.run(&["-q", "dispatcher", "--bind", "127.0.0.1", "--port", &typed]);
    assert!(!quiet.stderr.contains("WARN"), "{}", quiet.stderr);
}

#[test]
fn a_token_is_never_repeated_not_in_an_error_and_not_in_a_warning() {
    let secret = "mfrggzdfmztwq2lknnwg23tpoa";
    let token = |secret: &str| format!("okt1-{}-{secret}", "a".repeat(52));
    let damaged = token(&secret[1..]);
    for (line, variable) in [
        (vec!["worker", "--token", &damaged], None),
        (vec!["worker"], Some(&damaged)),
        (vec!["list", "--token", &damaged], None),
        (vec!["run", "--token", &damaged, "true"], None),
        (vec!["list"], Some(&damaged)),
        (vec!["token", "revoke", &damaged], None),
    ] {
        let one = match variable {
            Some(value) => Octaskly::new().with("OCTASKLY_TOKEN", value),
            None => Octaskly::new(),
        };
        let answer = one.run(&line);
        let (error, hint) = answer.refused(2);
        assert!(error.contains("damaged") && !error.contains(&secret[2..20]), "{error}");
        assert!(hint.is_some_and(|hint| hint.contains("84 characters")), "{hint:?}");
    }
    // Of two good ones that differ the variable's wins, and the host that nobody has ends the worker.
    let (typed, set) = (token(secret), token(&secret.replace('m', "n")));
    let node = Octaskly::new().with("OCTASKLY_TOKEN", &set);
    let answer = node.run(&["worker", "--token", &typed, "--dispatcher", "no-such-host.invalid"]);
    let warnings: Vec<_> = answer.stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("OCTASKLY_TOKEN wins"), "{}", answer.stderr);
    assert!(!answer.stderr.contains(&secret[..10]) && !answer.stderr.contains("nfrggzdfnz"), "{}", answer.stderr);
}

#[test]
fn a_token_that_does_not_say_where_its_dispatcher_is_needs_an_address() {
    let token = format!("okt1-{}-mfrggzdfmztwq2lknnwg23tpoa", "a".repeat(52));
    for line in [&["list"][..], &["run", "true"]] {
        let mut line = line.to_vec();
        line.splice(1..1, ["--token", &token]);
        let answer = octaskly(&line);
        let (_, hint) = answer.refused(125);
        assert_eq!(hint, Some("name it with --dispatcher HOST[:PORT]"));
    }
}

#[test]
fn completions_come_for_every_shell_and_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = octaskly(&["completions", shell]);
        for verb in VERBS {
            assert!(script.printed().contains(verb), "{shell} completes {verb}");
        }
    }
}

#[test]
fn the_manual_page_is_roff_and_covers_every_command() {
    let page = octaskly(&["man"]);
    for verb in VERBS {
        assert!(page.printed().contains(&format!(".SH \"OCTASKLY {}\"", verb.to_uppercase())), "{verb}");
        assert!(octaskly(&["man", verb]).printed().contains(".TH octaskly"), "{verb}");
    }
}

#[test]
fn hwdetect_needs_no_dispatcher() {
    assert!(octaskly(&["hwdetect"]).printed().contains("memory"));
    let json: serde_json::Value = serde_json::from_str(octaskly(&["hwdetect", "--json"]).printed()).expect("JSON");
    assert!(json["cpu_cores"].as_u64().is_some_and(|cores| cores > 0));
    assert!(json["memory_mb"].as_u64().is_some_and(|memory| memory > 0));
}

#[test]
fn the_help_document_knows_every_command_and_every_option() {
    let document = help_document();
    for command in commands() {
        let verb = command.join(" ");
        assert!(document.contains(&format!("`octaskly {verb}")), "docs/HELP.md lists {verb}");
        for option in long_options(&help_of(&command)) {
            assert!(document.contains(&format!("`{option}")), "docs/HELP.md explains {option} of {verb}");
        }
    }
}

#[test]
fn the_help_document_shows_no_option_that_is_not_there() {
    let mut known: Vec<String> = commands().iter().flat_map(|command| long_options(&help_of(command))).collect();
    known.sort();
    known.dedup();
    let document = help_document();
    let shown = document.split('`').skip(1).step_by(2).filter(|code| code.starts_with("--"));
    for code in shown {
        let option: String = code.chars().take_while(|c| !matches!(c, ' ' | '=')).collect();
        assert!(known.contains(&option), "docs/HELP.md explains {option}, which no command has");
    }
}

#[test]
fn the_help_document_shows_only_command_lines_that_parse() {
    let document = help_document();
    let mut checked = 0;
    for block in document.split("```bash\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines().filter(|line| line.starts_with("octaskly ") && !line.contains('[')) {
            // What a shell does with the rest of the line is not ours to check.
            let ours = line.split([';', '|', '&', '<', '>']).next().unwrap_or_default();
            let quotes = ours.matches(['\'', '"']).count();
            if quotes % 2 != 0 {
                continue;
            }
            let words: Vec<String> =
                ours.split_whitespace().skip(1).map(|word| word.replace(['\'', '"'], "")).collect();
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            // Help ends the parse before anything is done, and comes after a complaint about what stands before it.
            let before_command = words.iter().position(|word| *word == "--");
            let at = match words[0] {
                "run" | "submit" => before_command.unwrap_or(1),
                _ => words.len(),
            };
            words.insert(at, "--help");
            let answer = octaskly(&words);
            assert_eq!(answer.code, Some(0), "{line}: {}", answer.stderr);
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked} lines were checked");
}

#[test]
fn the_command_lines_of_the_original_help_are_in_the_help_document() {
    let document = help_document();
    for line in [
        "octaskly --version",
        "octaskly dispatcher --port 7878",
        "octaskly worker --name worker-01",
        "octaskly dispatcher --port 8080",
        "octaskly dispatcher --bind 192.168.1.10 --port 7878",
        "octaskly dispatcher --max-workers 5 --task-timeout 600",
        "octaskly dispatcher --p2p-enabled false",
        "octaskly dispatcher --verbose",
        "octaskly worker --name worker-prod-01 --max-jobs 8",
        "octaskly worker --name worker-remote --dispatcher 192.168.1.100 --port 7878",
        "octaskly worker --name worker-a --max-jobs 4",
        "octaskly worker --max-jobs 16",
        "octaskly worker --dispatcher 192.168.1.100 --port 7878",
        "octaskly dispatcher > dispatcher.log 2>&1 &",
        "octaskly worker > worker.log 2>&1 &",
    ] {
        assert!(document.lines().any(|shown| shown.trim() == line), "docs/HELP.md shows `{line}`");
    }
}
