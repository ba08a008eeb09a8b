//! Whose jobs are whose, as users see it: names, `all` and `--everyone`, who did what, and idempotency keys.
//!
//! The one invariant: one dispatcher, its own user as the admin, and clients with homes of their own that came in by
//! tokens. Absent: who is let in at all (`cli_trust`), and the rules themselves (the engine's own tests).

mod harness;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use harness::{Cluster, Node, SOON, eventually, soon};

/// A dispatcher and its own user, who is an admin.
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

    fn token(&self, options: &[&str]) -> String {
        self.cluster.ok(["token", "create"].iter().chain(options)).trim_end().to_owned()
    }

    /// A home whose client came in by a token that was made with these options.
    fn client(&self, options: &[&str]) -> Cluster {
        let home = Cluster::new();
        let token = self.token(&[&["--role", "client"], options].concat());
        home.ok(["list", "--dispatcher", &format!("127.0.0.1:{}", self.cluster.port()), "--token", &token]);
        home
    }
}

/// Queues something that nobody will run, and says which job it is.
fn submits(home: &Cluster) -> String {
    home.ok(["submit", "-q", "--", "true"]).trim_end().to_owned()
}

/// The job's row, as its owner or an admin sees it.
fn row(home: &Cluster, job: &str) -> serde_json::Value {
    home.json(["show", job])[0].clone()
}

fn state(home: &Cluster, job: &str) -> String {
    row(home, job)["state"].as_str().expect("a state").to_owned()
}

#[test]
fn an_owner_is_shown_by_the_name_that_people_chose_and_a_rename_shows_at_once() {
    let site = Site::new();
    let anna = site.client(&["--name", "anna"]);
    let other = site.client(&[]);
    let (first, second) = (submits(&anna), submits(&other));
    let own = submits(&site.cluster);
    let me = row(&site.cluster, &own)["owner"].as_str().expect("an owner").to_owned();
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).expect("users").expect("this user");
    assert_eq!(me, user.name.to_lowercase(), "this machine's user is called as it is");
    assert_eq!(row(&site.cluster, &first)["owner"], "anna");
    assert_eq!(row(&site.cluster, &second)["owner"], "client-1");
    site.cluster.ok(["clients", "rename", "client-1", "bob"]);
    site.serving.says("renamed to bob by");
    assert_eq!(row(&site.cluster, &second)["owner"], "bob");
    assert!(site.cluster.ok(["list"]).lines().any(|line| line.contains(" bob ")), "the table has it too");
    assert!(site.cluster.ok(["show", &second]).contains("owner       bob"));
    assert!(site.cluster.ok(["explain", &second]).contains(&format!("task {second}.0 of bob is ")));
    let listed = |args: &[&str]| -> Vec<u64> {
        let rows = site.cluster.json(["list"].iter().chain(args));
        rows.as_array().expect("rows").iter().map(|row| row["id"].as_u64().expect("a number")).collect()
    };
    let number = |job: &str| job.parse::<u64>().expect("a number");
    assert_eq!(listed(&["--owner", "anna"]), [number(&first)]);
    assert_eq!(listed(&["--owner", "me", "--state", "READY"]), [number(&own)]);
    let told = site.cluster.run(["list", "--owner", "carol"]);
    told.says_failure_and_hint(1, "no client is called carol");
    assert!(told.stderr_text().contains("anna") && told.stderr_text().contains("bob"), "{told:?}");
    other.run(["list", "--owner", "anna"]).says_failure(1, "only an admin may list the jobs of others");
    assert_eq!(other.json(["list", "--owner", "bob"]).as_array().map(Vec::len), Some(1), "its own name");
    let told = site.cluster.run(["clients", "rename", "anna", "Bob Smith"]);
    assert!(told.code == Some(2) && told.stderr_text().contains("bob-smith"), "{told:?}");
    site.cluster.run(["clients", "rename", "anna", "bob"]).says_failure(1, "another client is called bob");
    let told = site.cluster.run(["list", "--state", "done"]);
    assert!(told.code == Some(2) && told.stderr_text().contains("waiting, ready, running"), "{told:?}");
}

#[test]
fn all_is_ones_own_jobs_and_everyone_is_for_admins() {
    let site = Site::new();
    let (anna, bob) = (site.client(&["--name", "anna"]), site.client(&["--name", "bob"]));
    let jobs = [submits(&anna), submits(&bob), submits(&site.cluster)];
    let states = || jobs.each_ref().map(|job| state(&site.cluster, job));
    assert_eq!(site.cluster.ok(["cancel", "all"]), "cancelled 1 task\n");
    assert_eq!(states(), ["ready", "ready", "cancelled"]);
    assert!(site.cluster.ok(["cancel", "all"]).contains("--everyone"), "who expected more is told");
    anna.run(["cancel", "all", "--everyone"]).says_failure(1, "only an admin may act on the jobs of everyone");
    assert_eq!(site.cluster.run(["cancel", "1-3", "--everyone"]).code, Some(2));
    let told = anna.run(["cancel", "1-3"]);
    assert_eq!((told.code, told.stdout_text().as_str()), (Some(0), "cancelled 1 task\n"));
    assert!(told.stderr_text().contains("2 numbers are no job of yours"), "nothing is left out in silence: {told:?}");
    assert_eq!(states(), ["cancelled", "ready", "cancelled"]);
    assert_eq!(site.cluster.ok(["retry", "all"]), "queued 1 task again\n");
    assert_eq!(states(), ["cancelled", "ready", "ready"]);
    let told = site.cluster.ok(["cancel", "all", "--everyone"]);
    assert!(told.starts_with("cancelled 2 tasks: ") && told.contains("1 job of bob"), "{told}");
    assert_eq!(site.cluster.ok(["forget", "all"]), "forgot 1 job\n");
    assert!(site.cluster.ok(["forget", "all", "--everyone"]).contains("1 job of anna, 1 job of bob"));
    assert_eq!(site.cluster.json(["list", "--all"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn on_a_terminal_everyone_is_asked_about_once_with_how_many_jobs_of_how_many_owners() {
    let site = Site::new();
    let anna = site.client(&["--name", "anna"]);
    let jobs = [submits(&anna), submits(&anna), submits(&site.cluster)];
    for (answer, code, expected) in [("n\n", 1, "ready"), ("\n", 1, "ready"), ("y\n", 0, "cancelled")] {
        let terminal = nix::pty::openpty(None, None).expect("a terminal");
        let mut person = File::from(terminal.master);
        let side = File::from(terminal.slave);
        let mut command = site.cluster.command(["cancel", "all", "--everyone"]);
        command.stdin(side.try_clone().expect("a handle")).stdout(Stdio::null()).stderr(side);
        let mut asking = command.spawn().expect("it starts");
        drop(command);
        let mut shown = String::new();
        while !shown.contains("[y/N]") {
            let mut some = [0; 256];
            let bytes = person.read(&mut some).expect("the terminal stands");
            shown.push_str(&String::from_utf8_lossy(&some[..bytes]));
        }
        assert!(shown.contains("Cancel 3 jobs of 2 owners (anna, "), "{shown}");
        person.write_all(answer.as_bytes()).expect("it is typed");
        let ended = eventually("it ends", SOON, || asking.try_wait().expect("a status")).expect("in time");
        assert_eq!(ended.code(), Some(code), "{answer:?}");
        for job in &jobs {
            assert_eq!(state(&site.cluster, job), expected, "after {answer:?}");
        }
    }
}

#[test]
fn who_cancelled_retried_forgot_drained_and_resumed_is_shown_also_after_a_restart() {
    let mut site = Site::new();
    let worker = site.cluster.worker("w");
    worker.says("Joined the dispatcher");
    let anna = site.client(&["--name", "anna"]);
    site.cluster.ok([
        "clients",
        "rename",
        row(&site.cluster, &submits(&site.cluster))["owner"].as_str().expect("a name"),
        "root",
    ]);
    site.cluster.ok(["drain", "w"]);
    let (waiting, job) = (submits(&anna), submits(&anna));
    site.cluster.ok(["cancel", &job, "--reason", "wrong input"]);
    site.serving.says(&format!("Cancelled 1 tasks of job {job}, as root asked: wrong input"));
    assert_eq!(site.serving.stop(), Some(0));
    site.serving = site.cluster.dispatcher();
    soon("the worker is back", || site.cluster.json(["workers"])[0]["drained_by"] == "root");
    assert!(site.cluster.ok(["explain", &waiting]).contains("drained by root"));
    let shown = anna.ok(["show", &job]);
    assert!(shown.contains("cancelled by root: wrong input"), "{shown}");
    assert_eq!(row(&anna, &job)["cancelled_by"], "root");
    assert_eq!(anna.json(["show", &job, "--tasks"])[0]["cancelled_by"], "root");
    anna.ok(["retry", &job]);
    assert_eq!((&row(&anna, &job)["retried_by"], &row(&anna, &job)["cancelled_by"]), (&"anna".into(), &().into()));
    site.cluster.ok(["resume", "w"]);
    site.serving.says("Worker w resumed by root");
    let worker = &site.cluster.json(["workers"])[0];
    assert_eq!((&worker["resumed_by"], &worker["drained_by"]), (&"root".into(), &().into()));
    anna.ok(["wait", &job]);
    anna.ok(["forget", &job]);
    anna.run(["show", &job]).says_failure(1, "any more: anna forgot it");
    site.serving.says(&format!("Forgot job {job}, as anna asked"));
}

#[test]
fn an_idempotency_key_with_another_job_is_refused_and_belongs_to_its_owner() {
    let site = Site::new();
    let submit =
        |home: &Cluster, more: &[&str]| home.run(["submit", "-q", "--idempotency-key", "nightly"].iter().chain(more));
    let first = submit(&site.cluster, &["make", "all"]);
    assert_eq!((first.code, submit(&site.cluster, &["make", "all"]).stdout_text()), (Some(0), first.stdout_text()));
    let told = submit(&site.cluster, &["rm", "-r", "x"]);
    told.says_failure_and_hint(1, "idempotency key \"nightly\" belongs to job 1, which has another command");
    let told = submit(&site.cluster, &["--priority", "3", "make", "all"]);
    told.says_failure(1, "which has other options or inputs");
    let anna = site.client(&["--name", "anna"]);
    assert_eq!(submit(&anna, &["rm", "-r", "x"]).stdout_text(), "2\n", "another owner's key is another key");
    site.cluster.ok(["cancel", "1"]);
    site.cluster.ok(["forget", "1"]);
    assert_eq!(submit(&site.cluster, &["rm", "-r", "x"]).stdout_text(), "3\n", "a forgotten job's key is free");
}
