//! Who gets in and who does not, as users see it: the real binary, a
//! dispatcher, and workers and clients with homes of their own on one machine,
//! which share nothing with it but the loopback.
//!
//! The one invariant: whoever is refused reads one clear line, and so does
//! whoever looks at the dispatcher's log. Absent: what takes several machines
//! (`lan`), and peers that do not play by the rules (`join`, `hostile`).

mod harness;

use std::fs;
use std::path::Path;

use harness::{Cluster, MARKER, Node, Ran, SOON, await_nothing_left, await_sleepers, eventually, marker, soon};
use nix::sys::signal::Signal;

/// A dispatcher with its admin's home.
struct Site {
    cluster: Cluster,
    serving: Node,
}

impl Site {
    fn new() -> Self {
        let cluster = Cluster::new();
        let serving = cluster.dispatcher();
        Self { cluster, serving }
    }

    /// What others call it by.
    fn at(&self) -> String {
        format!("127.0.0.1:{}", self.cluster.port())
    }

    /// A token that its admin makes.
    fn token(&self, options: &[&str]) -> String {
        let printed = self.cluster.ok(["token", "create"].iter().chain(options));
        assert!(printed.starts_with("okt1-") && printed.lines().count() == 1, "{printed}");
        printed.trim_end().to_owned()
    }

    /// A worker of another home.
    fn worker(&self, home: &Cluster, name: &str, options: &[&str]) -> Node {
        let at = self.at();
        let mut all = vec!["--dispatcher", &at, "--name", name];
        all.extend(options);
        home.worker_with(&all)
    }

    /// A worker of another home, let in by a token.
    fn worker_by_token(&self, home: &Cluster, name: &str) -> Node {
        let token = self.token(&[]);
        let worker = self.worker(home, name, &["--token", &token]);
        worker.says("Joined the dispatcher");
        worker
    }

    /// A home whose client is enrolled.
    fn client(&self) -> Cluster {
        let home = Cluster::new();
        let token = self.token(&["--role", "client"]);
        home.ok(["list", "--dispatcher", &self.at(), "--token", &token]);
        home
    }

    /// What a client of `home` is told with this token.
    fn asks(&self, home: &Cluster, token: &str) -> Ran {
        home.run(["list", "--dispatcher", &self.at(), "--token", token])
    }

    /// Waits for a line of refusal in its log that says all of `words`.
    fn logs_refusal(&self, words: &[&str]) {
        let wanted = |line: &str| line.contains("WARN") && words.iter().all(|word| line.contains(word));
        let seen = eventually(&format!("the dispatcher tells of {words:?}"), SOON, || {
            self.serving.log().lines().any(wanted).then_some(())
        });
        seen.unwrap_or_else(|missed| panic!("{missed}:\n{}", self.serving.log()));
    }

    /// The state of a worker in the roster; `None` when it is not there.
    fn state(&self, worker: &str) -> Option<String> {
        let rows = self.cluster.json(["workers"]);
        let rows = rows.as_array().expect("an array").clone();
        rows.iter().find(|row| row["name"] == worker).and_then(|row| row["state"].as_str().map(str::to_owned))
    }

    /// The only token of the list.
    fn only_token(&self) -> serde_json::Value {
        let rows = self.cluster.json(["token", "list"]);
        let rows = rows.as_array().expect("an array").clone();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].clone()
    }
}

/// Checks that a worker has ended because it was turned away, with one line that says `why` and one that helps.
fn turned_away(worker: &mut Node, why: &str) {
    assert_eq!(worker.ended(), Some(1), "{}", worker.log());
    let log = worker.log();
    let errors: Vec<_> = log.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains(why), "{why}: {log}");
    assert_eq!(log.lines().filter(|line| line.starts_with("hint: ")).count(), 1, "{log}");
}

/// The code that a worker shows, the newest when it has shown several.
fn code_of(worker: &Node, how_many: usize) -> String {
    let shown = || {
        let log = worker.log();
        let lines: Vec<&str> =
            log.lines().filter_map(|line| line.split_once("type: octaskly approve ")).map(|(_, rest)| rest).collect();
        let last = lines.get(how_many - 1)?.split_whitespace().nth(1)?;
        Some(last.to_owned())
    };
    eventually("the worker shows a code", SOON, shown).unwrap_or_else(|missed| panic!("{missed}:\n{}", worker.log()))
}

/// `token` with one character of its secret changed.
fn altered(token: &str) -> String {
    let (front, last) = token.split_at(token.len() - 2);
    format!("{front}{}", if last.starts_with('a') { "ba" } else { "aa" })
}

/// `token` with one character of the dispatcher's id changed.
fn for_another_dispatcher(token: &str) -> String {
    let (front, rest) = token.split_at("okt1-".len());
    let (first, rest) = rest.split_at(1);
    format!("{front}{}{rest}", if first == "a" { "b" } else { "a" })
}

/// Puts the key of one node in the place of another's.
fn steal_key(from: &Path, to: &Path) {
    fs::copy(from.join("identity.key"), to.join("identity.key")).expect("the key is copied");
}

fn copy_folder(from: &Path, to: &Path) {
    let made =
        std::process::Command::new("mkdir").args(["-m", "700", "-p"]).arg(to.parent().expect("a parent")).status();
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(made.is_ok_and(|it| it.success()) && copied.is_ok_and(|it| it.success()), "{} is copied", from.display());
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(to.parent().expect("a parent"), private).expect("it is private");
}

#[test]
fn a_token_lets_in_a_worker_and_a_client_of_other_homes_which_then_survive_every_restart() {
    let mut site = Site::new();
    let (host, desk) = (Cluster::new(), Cluster::new());
    let at = site.at();
    let mut worker = site.worker_by_token(&host, "b");
    site.serving.says("Enrolled worker b");

    let token = site.token(&["--role", "client"]);
    let first = desk.ok(["run", "--dispatcher", &at, "--token", &token, "--", "sh", "-c", "echo $OCTASKLY_WORKER"]);
    assert_eq!(first, "b\n");
    assert_eq!(desk.ok(["run", "--", "echo", "remembered"]), "remembered\n");
    // Presented again by the same key it does no harm, and its use was its only one.
    desk.ok(["list", "--token", &token]);
    let uses = site.cluster.json(["token", "list"]);
    assert!(uses.as_array().expect("an array").iter().all(|row| row["state"] == "used" && row["used"] == 1), "{uses}");
    let rows = site.cluster.json(["clients"]);
    let rows = rows.as_array().expect("an array").clone();
    assert_eq!(rows.iter().filter(|row| row["role"] == "client" && row["state"] == "enrolled").count(), 1, "{rows:?}");

    assert_eq!(site.serving.stop(), Some(0));
    site.serving = site.cluster.dispatcher();
    soon("the worker is back", || site.state("b").as_deref() == Some("idle"));
    assert_eq!(desk.ok(["run", "--", "echo", "again"]), "again\n");
    assert_eq!(worker.stop(), Some(0));
    let mut worker = host.worker_with(&["--dispatcher", &at, "--name", "b"]);
    worker.says("Joined the dispatcher");
    assert_eq!(desk.ok(["run", "--", "echo", "and again"]), "and again\n");
    assert_eq!(worker.stop(), Some(0));
}

#[test]
fn a_new_token_stands_alone_on_stdout_and_the_line_to_type_on_stderr() {
    let site = Site::new();
    let made = site.cluster.run(["token", "create"]);
    let (token, said) = (made.stdout_text().trim_end().to_owned(), made.stderr_text());
    let line = format!("octaskly worker --dispatcher {} --token {token}", site.at());
    assert!(made.code == Some(0) && said.lines().any(|told| told.ends_with(&line)), "{made:?}");
    assert!(said.contains("other machines cannot reach this dispatcher"), "it listens on loopback: {said}");
    let made = site.cluster.run(["token", "create", "--role", "client", "--uses", "3"]);
    assert!(made.stderr_text().contains("octaskly status --dispatcher"), "{made:?}");
    assert_eq!(site.cluster.run(["-q", "token", "create"]).stderr_text(), "");
    let log = site.serving.log();
    assert!(!log.contains("okt1-") && log.contains("Token "), "the log names tokens and shows none: {log}");
}

#[test]
fn a_token_is_refused_once_it_is_used_up() {
    let site = Site::new();
    let token = site.token(&[]);
    let host = Cluster::new();
    let worker = site.worker(&host, "b", &["--token", &token]);
    worker.says("Joined the dispatcher");
    turned_away(&mut site.worker(&Cluster::new(), "c", &["--token", &token]), "this token is used up");
    site.logs_refusal(&["worker c", "127.0.0.1", "used up"]);
    let token = site.token(&["--role", "client"]);
    assert_eq!(site.asks(&Cluster::new(), &token).code, Some(0));
    site.asks(&Cluster::new(), &token).says_failure_and_hint(125, "this token is used up");
    site.logs_refusal(&["a client", "127.0.0.1", "used up"]);
}

#[test]
fn a_token_is_refused_once_it_has_expired() {
    let site = Site::new();
    let token = site.token(&["--ttl", "1s"]);
    soon("it expires", || site.only_token()["state"] == "expired");
    turned_away(&mut site.worker(&Cluster::new(), "b", &["--token", &token]), "this token has expired");
    site.logs_refusal(&["worker b", "expired"]);
}

#[test]
fn a_token_is_refused_once_it_was_taken_back_and_whom_it_enrolled_stays() {
    let site = Site::new();
    let token = site.token(&["--role", "client", "--uses", "2"]);
    let desk = Cluster::new();
    assert_eq!(site.asks(&desk, &token).code, Some(0));
    let id = site.only_token()["id"].as_str().expect("an id").to_owned();
    let told = site.cluster.run(["token", "revoke", &id]);
    assert!(told.code == Some(0) && told.stderr_text().lines().count() == 1, "{told:?}");
    site.asks(&Cluster::new(), &token).says_failure_and_hint(125, "this token was revoked");
    site.logs_refusal(&["a client", "revoked"]);
    assert_eq!(desk.ok(["list", "--json"]), "[]\n");
    assert_eq!(site.cluster.run(["token", "revoke", &token]).code, Some(0), "the token itself names it too");
    site.cluster.run(["token", "revoke", "aebagbaf"]).says_failure_and_hint(1, "there is no token aebagbaf");
}

#[test]
fn an_altered_token_opens_nothing() {
    let site = Site::new();
    let token = site.token(&["--uses", "5"]);
    turned_away(&mut site.worker(&Cluster::new(), "b", &["--token", &altered(&token)]), "no such token");
    site.logs_refusal(&["worker b", "no such token"]);
    let token = site.token(&["--role", "client", "--uses", "5"]);
    site.asks(&Cluster::new(), &altered(&token)).says_failure_and_hint(125, "no such token");
    site.logs_refusal(&["a client", "no such token"]);

    // With another id it is another dispatcher's, whose key is not the one here: no secret is said.
    let other = for_another_dispatcher(&token);
    let told = site.asks(&Cluster::new(), &other);
    told.says_failure_and_hint(125, "the token is for another dispatcher");
    assert!(told.stderr_text().contains(&site.at()), "{told:?}");
    site.logs_refusal(&["was told to expect another key here"]);
    turned_away(
        &mut site.worker(&Cluster::new(), "b", &["--token", &other]),
        "is not the one this worker has a token of",
    );
}

#[test]
fn a_token_makes_nothing_but_what_it_was_made_for() {
    let site = Site::new();
    let for_workers = site.token(&[]);
    site.asks(&Cluster::new(), &for_workers).says_failure_and_hint(125, "this token is for a worker, not for a client");
    site.logs_refusal(&["a client", "this token is for a worker"]);
    let for_clients = site.token(&["--role", "client"]);
    let host = Cluster::new();
    let mut worker = site.worker(&host, "b", &["--token", &for_clients]);
    turned_away(&mut worker, "this token is for a client, not for a worker");
    site.logs_refusal(&["worker b", "this token is for a client"]);
    // Neither lost a use by it.
    let rows = site.cluster.json(["token", "list"]);
    assert!(rows.as_array().expect("an array").iter().all(|row| row["used"] == 0), "{rows}");
}

#[test]
fn an_admin_by_token_may_do_from_elsewhere_what_a_client_may_not() {
    let site = Site::new();
    let desk = site.client();
    for line in [
        &["approve", "b", "abcd-efgh-ijkl-mnop"][..],
        &["revoke", "b"],
        &["clients"],
        &["token", "create"],
        &["token", "list"],
        &["token", "revoke", "aebagbaf"],
        &["drain", "b"],
        &["resume", "b"],
    ] {
        desk.run(line).says_failure(1, "only an admin may");
    }
    site.logs_refusal(&["a request of client", "127.0.0.1", "only an admin may approve"]);
    let token = site.token(&["--role", "admin"]);
    desk.ok(["list", "--token", &token]);
    let made = desk.run(["token", "create"]);
    assert!(made.code == Some(0) && made.stdout_text().starts_with("okt1-"), "{made:?}");
    assert_eq!(desk.json(["clients"]).as_array().map(Vec::len), Some(2));
}

#[test]
fn a_workers_key_does_not_submit_and_a_clients_key_does_not_work() {
    let site = Site::new();
    let host = Cluster::new();
    let mut worker = site.worker_by_token(&host, "b");
    let desk = site.client();
    assert_eq!(worker.stop(), Some(0));
    let (of_worker, of_client) = (host.home().join("workers/b"), desk.home().join("clients/default"));

    let thief = Cluster::new();
    copy_folder(&of_client, &thief.home().join("clients/default"));
    steal_key(&of_worker, &thief.home().join("clients/default"));
    thief.run(["submit", "--", "true"]).says_failure(125, "this key is enrolled as a worker, not as a client");
    site.logs_refusal(&["a client", "enrolled as a worker"]);

    let thief = Cluster::new();
    copy_folder(&of_worker, &thief.home().join("workers/b"));
    steal_key(&of_client, &thief.home().join("workers/b"));
    let mut working = site.worker(&thief, "b", &[]);
    assert_eq!(working.ended(), Some(1), "{}", working.log());
    assert!(working.log().contains("this key is enrolled as a client, not as a worker"), "{}", working.log());
    site.logs_refusal(&["worker b", "enrolled as a client"]);
}

#[test]
fn a_worker_waits_until_its_code_is_typed_and_three_wrong_ones_burn_it() {
    let site = Site::new();
    let host = Cluster::new();
    let mut worker = site.worker(&host, "b", &[]);
    let code = code_of(&worker, 1);
    site.serving.says("asks to join");
    soon("it is listed as waiting", || site.state("b").as_deref() == Some("pending"));
    site.cluster.run(["approve", "c", &code]).says_failure_and_hint(1, "no worker waits for approval as c");
    site.cluster.run(["approve", "b", "abcd"]).says_failure_and_hint(2, "CODE");
    for left in ["2 tries left", "1 try left", ""] {
        let told = site.cluster.run(["approve", "b", "aaaa-bbbb-cccc-dddd"]);
        told.says_failure(1, "that is not the code that b shows");
        assert!(told.stderr_text().contains(left), "{told:?}");
    }
    site.logs_refusal(&["b", "code"]);
    worker.says("Three wrong codes were typed");
    let next = code_of(&worker, 2);
    assert_ne!(next, code);
    soon("it waits again", || site.state("b").as_deref() == Some("pending"));
    site.cluster.run(["approve", "b", &code]).says_failure(1, "that is not the code");
    // In capitals and with blanks, as a person might type it.
    let typed = next.to_ascii_uppercase();
    let told = site.cluster.run(["approve", "b"].into_iter().chain(typed.split('-')));
    assert!(told.code == Some(0) && told.stderr_text().contains("approved b"), "{told:?}");
    worker.says("Joined the dispatcher");
    assert_eq!(site.cluster.ok(["run", "--", "sh", "-c", "echo $OCTASKLY_WORKER"]), "b\n");
    // Once is enough.
    assert_eq!(worker.stop(), Some(0));
    let worker = site.worker(&host, "b", &[]);
    worker.says("Joined the dispatcher");
}

#[test]
fn a_revoked_worker_and_a_revoked_client_are_out_at_once_and_for_good() {
    let site = Site::new();
    let (host, desk) = (Cluster::new(), site.client());
    let mut worker = site.worker_by_token(&host, "b");
    let marker = marker();
    let job = site.cluster.ok(["submit", "-q", "--env", &format!("{MARKER}={marker}"), "--", "sleep", "999"]);
    await_sleepers(&marker, 1);
    let told = site.cluster.run(["revoke", "b"]);
    assert!(told.code == Some(0) && told.stdout.is_empty() && told.stderr_text().lines().count() == 1, "{told:?}");
    turned_away(&mut worker, "this worker's key was revoked");
    site.serving.says("Revoked worker b");
    await_nothing_left(&marker);
    assert_ne!(site.cluster.job_state(job.trim()).as_deref(), Some("failed"), "its task waits for another worker");
    turned_away(&mut site.worker(&host, "b", &[]), "this worker's key was revoked");
    site.logs_refusal(&["worker b", "revoked"]);

    let rows = site.cluster.json(["clients"]);
    let rows = rows.as_array().expect("an array").clone();
    let name =
        rows.iter().find(|row| row["role"] == "client").expect("listed")["name"].as_str().expect("a name").to_owned();
    site.cluster.ok(["revoke", &name, "--client"]);
    let told = desk.run(["list"]);
    told.says_failure_and_hint(125, "this client's key was revoked");
    assert!(told.stderr_text().contains("clients/default"), "the hint names the folder: {told:?}");
    site.logs_refusal(&["a client", "revoked"]);
    // A fresh key and a fresh token, and it is somebody new.
    fs::remove_dir_all(desk.home().join("clients/default")).expect("removed");
    assert_eq!(site.asks(&desk, &site.token(&["--role", "client"])).code, Some(0));
    site.cluster.run(["revoke", "b"]).says_failure_and_hint(1, "b was revoked already");
    site.cluster.run(["revoke", "nobody"]).says_failure_and_hint(1, "no worker or client is called nobody");
    site.cluster.ok(["cancel", "all"]);
}

#[test]
fn nobody_throws_himself_out() {
    let site = Site::new();
    let rows = site.cluster.json(["clients"]);
    let name = rows[0]["name"].as_str().expect("a name").to_owned();
    site.cluster.run(["revoke", &name]).says_failure_and_hint(1, "is the key that asks for this");
}

#[test]
fn a_second_live_worker_of_a_name_is_refused_by_name() {
    let site = Site::new();
    let host = Cluster::new();
    let _worker = site.worker_by_token(&host, "b");
    let token = site.token(&[]);
    turned_away(&mut site.worker(&Cluster::new(), "b", &["--token", &token]), "another worker is called b");
    site.logs_refusal(&["worker b", "another worker is called b"]);
}

#[test]
fn a_client_that_is_not_enrolled_is_refused_at_once_and_told_about_tokens() {
    let site = Site::new();
    let stranger = Cluster::new();
    for line in [&["list"][..], &["run"], &["submit"], &["approve", "b", "abcd-efgh-ijkl-mnop"]] {
        let mut line = line.to_vec();
        let at = site.at();
        line.splice(1..1, ["--dispatcher", &at]);
        if matches!(line[0], "run" | "submit") {
            line.extend(["--", "true"]);
        }
        let told = stranger.run(&line);
        told.says_failure_and_hint(125, "this client is not enrolled here");
        assert!(told.stderr_text().contains("--token"), "{told:?}");
    }
    site.logs_refusal(&["a client", "127.0.0.1", "not enrolled"]);
    // The variable names it as well as the option.
    let mut command = stranger.command(["list"]);
    let told = command.env("OCTASKLY_DISPATCHER", site.at()).output().expect("it runs");
    assert!(String::from_utf8_lossy(&told.stderr).contains("not enrolled here"), "{told:?}");
    // Who knows some dispatcher is not taken for a friend of every other one.
    let other = Site::new();
    let desk = other.client();
    desk.run(["list", "--dispatcher", &site.at()]).says_failure_and_hint(125, "not enrolled here");
    assert_eq!(desk.ok(["list", "--json"]), "[]\n", "the one it knows is as good as before");
}

#[test]
fn a_client_of_several_dispatchers_means_the_last_one_and_reaches_each_by_its_address() {
    let (one, two) = (Site::new(), Site::new());
    let desk = one.client();
    let token = two.token(&["--role", "client"]);
    assert_eq!(two.asks(&desk, &token).code, Some(0));
    let asked = |line: &[&str]| desk.json([&["status"], line].concat())["dispatcher"]["address"].clone();
    assert_eq!((asked(&[]), asked(&["--dispatcher", &one.at()])), (two.at().into(), one.at().into()));
    assert_eq!(asked(&[]), two.at(), "looking elsewhere once changes nothing");
    let mut command = desk.command(["list", "--json"]);
    let by_variable = command.env("OCTASKLY_TOKEN", one.token(&["--role", "client"])).output().expect("it runs");
    assert!(by_variable.status.success(), "{by_variable:?}");
    assert_eq!(asked(&[]), one.at(), "a token makes its dispatcher the last one");
}

#[test]
fn a_reinstalled_dispatcher_is_noticed_by_all_who_knew_the_one_before_and_they_are_told_what_to_type() {
    let mut site = Site::new();
    let (host, away) = (Cluster::new(), Cluster::new());
    let running = site.worker_by_token(&host, "b");
    let mut stopped = site.worker_by_token(&away, "c");
    assert_eq!(stopped.stop(), Some(0));
    let desk = site.client();
    assert_eq!(site.serving.stop(), Some(0));
    fs::remove_dir_all(site.cluster.home()).expect("the home is removed");
    site.serving = site.cluster.dispatcher();

    let told = desk.run(["list"]);
    told.says_failure_and_hint(125, "it was reinstalled, or something else answers there");
    assert!(told.stderr_text().contains("--token") && told.stderr_text().contains(&site.at()), "{told:?}");
    running.says("not the one this worker was enrolled with");
    turned_away(&mut site.worker(&away, "c", &[]), "not the one this worker was enrolled with");

    // What the hints say helps.
    assert_eq!(site.asks(&desk, &site.token(&["--role", "client"])).code, Some(0));
    assert_eq!(desk.ok(["list", "--json"]), "[]\n");
    let again = site.worker_by_token(&away, "c");
    assert_eq!(desk.ok(["run", "--", "echo", "anew"]), "anew\n");
    drop(again);
}

#[test]
fn a_drained_worker_finishes_what_it_runs_gets_nothing_new_and_is_waited_for() {
    let (cluster, dispatcher, worker) = Cluster::with_a_worker();
    let marker = marker();
    let job = cluster.ok(["submit", "-q", "--env", &format!("{MARKER}={marker}"), "--", "sleep", "600"]);
    await_sleepers(&marker, 1);
    let told = cluster.run(["drain", "worker-a"]);
    assert!(told.code == Some(0) && told.stderr_text().contains("still runs 1 task"), "{told:?}");
    let next = cluster.ok(["submit", "-q", "--", "true"]);
    let waits = cluster.start(["drain", "worker-a", "--wait"]);
    soon("it says that it drains", || cluster.json(["workers"])[0]["state"] == "draining");
    assert_eq!(cluster.job_state(next.trim()).as_deref(), Some("ready"), "nothing new is given to it");
    cluster.ok(["cancel", job.trim()]);
    let waited = waits.finish(SOON);
    assert!(waited.code == Some(0) && waited.stderr_text().contains("runs nothing any more"), "{waited:?}");
    assert_eq!(cluster.job_state(next.trim()).as_deref(), Some("ready"));
    let told = cluster.run(["resume", "worker-a"]);
    assert!(told.code == Some(0) && told.stderr_text().contains("gets new work again"), "{told:?}");
    assert_eq!(cluster.run(["wait", next.trim()]).code, Some(0));
    cluster.run(["drain", "worker-z"]).says_failure_and_hint(1, "no worker is called worker-z");
    dispatcher.says("Worker worker-a drained by ");
    drop(worker);
}

#[test]
fn whoever_waits_for_a_drained_worker_hears_that_somebody_gave_it_work_again() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let marker = marker();
    cluster.ok(["submit", "-q", "--env", &format!("{MARKER}={marker}"), "--", "sleep", "600"]);
    await_sleepers(&marker, 1);
    let waits = cluster.start(["drain", "worker-a", "--wait"]);
    soon("it drains", || cluster.json(["workers"])[0]["state"] == "draining");
    cluster.ok(["resume", "worker-a"]);
    waits.finish(SOON).says_failure(1, "worker-a was given work again");
    cluster.ok(["cancel", "all"]);
}

#[test]
fn a_client_whose_dispatcher_is_away_says_where_it_was_once() {
    let mut site = Site::new();
    let desk = site.client();
    site.serving.signal(Signal::SIGKILL);
    site.serving.ended();
    let told = desk.run(["list"]);
    told.says_failure_and_hint(125, &site.at());
    assert_eq!(told.stderr_text().matches(&site.at()).count(), 1, "{told:?}");
}

#[test]
fn keys_in_a_folder_that_others_may_enter_are_not_used() {
    let site = Site::new();
    let desk = site.client();
    let folder = desk.home().join("clients");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&folder, open).expect("it is open");
    let told = desk.run(["list"]);
    told.says_failure_and_hint(125, "others may access it");
    assert!(told.stderr_text().contains(&format!("hint: chmod 700 {}", folder.display())), "{told:?}");
}
