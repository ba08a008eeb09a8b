//! Several hosts, each with its own address and its own home: who gets in, who
//! does not, and what the network sees of it. `scripts/lan.sh` makes the hosts.
//!
//! Nothing here asserts how long something takes, except that limits of time
//! keep a failing test from hanging. Absent: what one machine can show.

#![cfg(target_os = "linux")]

#[path = "lan/capture.rs"]
mod capture;
mod harness;
#[path = "lan/relay.rs"]
mod relay;

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use capture::Capture;
use harness::lan::{Host, SCRIPT, on_a_lan, script};
use harness::{MARKER, Node, SOON, await_nothing_left, await_sleepers, eventually, marker, soon};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use octaskly::model::trust::JoinReply;
use relay::Relay;

/// A token that an admin on the dispatcher's host makes: what `token create` prints, alone on its line.
fn token(dispatcher: &Host, options: &[&str]) -> String {
    let args = ["token", "create"];
    let token = dispatcher.ok(args.iter().chain(options));
    assert!(token.starts_with("okt1-") && token.lines().count() == 1, "{token}");
    token.trim_end().to_owned()
}

/// The line that a worker asks for: name and code behind `octaskly approve`; the newest, when it said several.
fn asked_for(worker: &Node, times: usize) -> (String, String) {
    let codes = || {
        let log = worker.log();
        let lines: Vec<_> = log.lines().filter_map(|line| line.split_once("octaskly approve ")).collect();
        let words = lines.iter().filter_map(|(_, rest)| {
            let mut words = rest.split(|c: char| c.is_whitespace() || c == '`' || c == '"');
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        });
        let mut codes: Vec<_> = words.collect();
        codes.dedup();
        (codes.len() >= times).then(|| codes.pop()).flatten()
    };
    eventually("the worker shows a code", SOON, codes).unwrap_or_else(|missed| panic!("{missed}:\n{}", worker.log()))
}

/// A worker that was let in by its code.
fn approved(dispatcher: &Host, on: &Host, name: &str) -> Node {
    let worker = on.works_for(dispatcher.address, name, &[]);
    let (asked, code) = asked_for(&worker, 1);
    assert_eq!(asked, name);
    dispatcher.ok(["approve", name, &code]);
    worker.says("Joined the dispatcher");
    worker
}

/// A worker that was let in by a token.
fn with_a_token(dispatcher: &Host, on: &Host, name: &str) -> Node {
    let token = token(dispatcher, &[]);
    let worker = on.works_for(dispatcher.address, name, &["--token", &token]);
    worker.says("Joined the dispatcher");
    worker
}

/// The client on `on` may submit from now on.
fn enrol_a_client(dispatcher: &Host, on: &Host) {
    let token = token(dispatcher, &["--role", "client"]);
    on.ok(["list", "--dispatcher", &dispatcher.address.to_string(), "--token", &token]);
}

/// For what is to happen within a second, with room for a busy machine; silence would take 20 s to be noticed.
const AT_ONCE: Duration = Duration::from_secs(8);

fn at_once(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, AT_ONCE, || holds().then_some(())).unwrap_or_else(|missed| panic!("{missed}"));
}

/// The state of a worker in the roster; `None` when it is not there.
fn state(dispatcher: &Host, worker: &str) -> Option<String> {
    let roster = dispatcher.json(["workers"]);
    let rows = roster.as_array().expect("an array").clone();
    rows.iter().find(|row| row["name"] == worker).and_then(|row| row["state"].as_str().map(str::to_owned))
}

#[test]
fn a_lan_is_built_whole_or_not_at_all_and_leaves_nothing_behind() {
    on_a_lan(1, |lan| {
        let name = format!("half-{}", std::process::id());
        let there = |name: &str| script(&["list"]).lines().any(|line| line.split(' ').next() == Some(name));
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let mut building = Command::new("bash").args([SCRIPT, "up", &name, "200"]).spawn().expect("bash starts");
            soon("its first host is there", || there(&name));
            kill(Pid::from_raw(building.id().try_into().expect("an id")), signal).expect("it builds");
            assert_eq!(building.wait().expect("its status").code(), Some(code));
            soon("nothing of it is left", || !there(&name));
        }
        let taken = Command::new("bash").args([SCRIPT, "up", lan.name(), "2"]).output().expect("bash starts");
        let said = String::from_utf8_lossy(&taken.stderr).into_owned();
        assert!(!taken.status.success() && said.starts_with("error: ") && said.lines().count() == 1, "{said}");
        assert!(there(lan.name()), "the one that was there stays");
        script(&["down", &name]);
    });
}

#[test]
fn a_token_lets_in_a_worker_and_a_client_on_other_hosts_in_one_step_each() {
    on_a_lan(3, |lan| {
        let (dispatcher, worker, client) = (lan.host(1), lan.host(2), lan.host(3));
        let serving = dispatcher.serves();
        let _worker = with_a_token(dispatcher, worker, "worker-b");
        serving.says("Worker worker-b joined");
        enrol_a_client(dispatcher, client);
        assert_eq!(client.ok(["run", "--", "sh", "-c", "echo $OCTASKLY_WORKER"]), "worker-b\n");
        let ran = client.run(["run", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!((ran.code, ran.stdout_text().as_str(), ran.stderr_text().as_str()), (Some(7), "out\n", "err\n"));
    });
}

#[test]
fn a_worker_that_was_told_only_an_address_is_let_in_by_the_code_it_shows() {
    on_a_lan(2, |lan| {
        let (dispatcher, host) = (lan.host(1), lan.host(2));
        let serving = dispatcher.serves();
        let worker = host.works_for(dispatcher.address, "worker-b", &[]);
        let (name, code) = asked_for(&worker, 1);
        assert_eq!((name.as_str(), code.len()), ("worker-b", "abcd-efgh-ijkl-mnop".len()), "{code}");
        soon("it shows as pending", || state(dispatcher, "worker-b").as_deref() == Some("pending"));
        dispatcher.ok(["approve", &name, &code.to_uppercase()]);
        worker.says("Joined the dispatcher");
        serving.says("Worker worker-b joined");
        assert_eq!(dispatcher.ok(["run", "--", "echo", "from afar"]), "from afar\n");
    });
}

#[test]
fn three_wrong_codes_burn_the_right_one() {
    on_a_lan(2, |lan| {
        let (dispatcher, host) = (lan.host(1), lan.host(2));
        let _serving = dispatcher.serves();
        let worker = host.works_for(dispatcher.address, "worker-b", &[]);
        let (_, burnt) = asked_for(&worker, 1);
        for _ in 0..3 {
            dispatcher.run(["approve", "worker-b", "aaaa-bbbb-cccc-dddd"]).says_failure(1, "worker-b");
        }
        let (_, fresh) = asked_for(&worker, 2);
        assert_ne!(fresh, burnt);
        soon("it waits again", || state(dispatcher, "worker-b").as_deref() == Some("pending"));
        dispatcher.run(["approve", "worker-b", &burnt]).says_failure(1, "worker-b");
        dispatcher.ok(["approve", "worker-b", &fresh]);
        worker.says("Joined the dispatcher");
    });
}

#[test]
fn enrolment_survives_restarts_of_both_sides_and_needs_no_flag_again() {
    on_a_lan(3, |lan| {
        let (dispatcher, by_token, by_code) = (lan.host(1), lan.host(2), lan.host(3));
        let mut serving = dispatcher.serves();
        let mut first = with_a_token(dispatcher, by_token, "a");
        let mut second = approved(dispatcher, by_code, "b");
        enrol_a_client(dispatcher, by_token);
        first.kill();
        assert_eq!(second.stop(), Some(0));
        assert_eq!(serving.stop(), Some(0));
        let serving = dispatcher.serves();
        let _first = by_token.works_for(dispatcher.address, "a", &[]);
        let _second = by_code.works_for(dispatcher.address, "b", &[]);
        serving.says("Worker a joined");
        serving.says("Worker b joined");
        for name in ["a", "b"] {
            let label = format!("name={name}");
            let ran_on = by_token.ok(["run", "--label", &label, "--", "sh", "-c", "echo $OCTASKLY_WORKER"]);
            assert_eq!(ran_on.trim(), name);
        }
    });
}

#[test]
fn a_worker_behind_a_silent_cable_finishes_its_task_and_reports_it_once_the_cable_is_mended() {
    on_a_lan(2, |lan| {
        let (dispatcher, host) = (lan.host(1), lan.host(2));
        let _serving = dispatcher.serves();
        let _worker = with_a_token(dispatcher, host, "b");
        let done = host.scratch().join("done");
        let command = format!("sleep 3; echo kept; echo x >>{}", done.display());
        let job = dispatcher.ok(["submit", "-q", "--", "sh", "-c", &command]);
        let job = job.trim();
        soon("it runs", || dispatcher.job_state(job).as_deref() == Some("running"));
        lan.unplug(host);
        soon("it falls silent", || state(dispatcher, "b").as_deref() == Some("suspect"));
        soon("its task is done all the same", || done.exists());
        lan.plug(host);
        soon("the result arrives", || dispatcher.job_state(job).as_deref() == Some("succeeded"));
        assert_eq!(dispatcher.ok(["logs", job]), "kept\n");
        assert_eq!(fs::read_to_string(&done).expect("its mark"), "x\n", "it ran once");
    });
}

#[test]
fn a_cut_between_a_client_and_the_dispatcher_touches_nobody_else() {
    on_a_lan(3, |lan| {
        let (dispatcher, worker, client) = (lan.host(1), lan.host(2), lan.host(3));
        let _serving = dispatcher.serves();
        let _worker = with_a_token(dispatcher, worker, "b");
        enrol_a_client(dispatcher, client);
        lan.cut(dispatcher, client);
        client.run(["list"]).says_failure(125, &dispatcher.address.to_string());
        assert_eq!(dispatcher.ok(["run", "--", "echo", "still here"]), "still here\n");
        lan.heal();
        assert_eq!(client.ok(["run", "--", "echo", "back"]), "back\n");
    });
}

#[test]
fn a_revoked_worker_loses_its_link_and_its_task_at_once_and_never_comes_back() {
    on_a_lan(3, |lan| {
        let (dispatcher, host, other) = (lan.host(1), lan.host(2), lan.host(3));
        let serving = dispatcher.serves();
        let mut worker = with_a_token(dispatcher, host, "b");
        let marker = marker();
        let variable = format!("{MARKER}={marker}");
        let job = dispatcher.ok([
            "submit",
            "-q",
            "--env",
            &variable,
            "--",
            "sh",
            "-c",
            "echo $OCTASKLY_WORKER; exec sleep 4",
        ]);
        await_sleepers(&marker, 1);
        dispatcher.ok(["revoke", "b"]);
        at_once("the revoked worker is gone", || !worker.is_running());
        assert_eq!(worker.ended(), Some(1), "{}", worker.log());
        assert!(worker.log().contains("revoked"), "{}", worker.log());
        await_nothing_left(&marker);
        soon("the roster says so", || matches!(state(dispatcher, "b").as_deref(), None | Some("revoked")));

        let mut again = host.works_for(dispatcher.address, "b", &[]);
        assert_eq!(again.ended(), Some(1), "{}", again.log());
        assert!(again.log().contains("revoked") && again.log().contains("hint: "), "{}", again.log());
        serving.says("revoked");

        // Its name is free, and its task runs on whoever comes.
        let _next = with_a_token(dispatcher, other, "b");
        assert_eq!(dispatcher.run(["wait", job.trim()]).code, Some(0));
        assert_eq!(dispatcher.ok(["logs", job.trim()]), "b\n");
    });
}

#[test]
fn a_revoked_client_is_cut_off_in_the_middle_of_what_it_does() {
    on_a_lan(3, |lan| {
        let (dispatcher, worker, client) = (lan.host(1), lan.host(2), lan.host(3));
        let _serving = dispatcher.serves();
        let _worker = with_a_token(dispatcher, worker, "b");
        enrol_a_client(dispatcher, client);
        let marker = marker();
        let running = client.start(["run", "--env", &format!("{MARKER}={marker}"), "--", "sleep", "600"]);
        await_sleepers(&marker, 1);
        let rows = dispatcher.json(["clients"]);
        let rows = rows.as_array().expect("an array").clone();
        let row = rows.iter().find(|row| row["role"] == "client").expect("it is listed");
        assert_eq!((&row["state"], row["links"].as_u64() > Some(0)), (&"enrolled".into(), true), "{row}");
        dispatcher.ok(["revoke", row["name"].as_str().expect("a name")]);
        running.finish(AT_ONCE).says_failure(125, "revoked");
        client.run(["list"]).says_failure(125, "revoked");
        dispatcher.ok(["cancel", "all", "--everyone"]);
        await_nothing_left(&marker);
    });
}

#[test]
fn another_key_at_the_dispatchers_address_is_told_apart_by_a_running_worker_a_starting_one_and_a_client() {
    on_a_lan(3, |lan| {
        let (dispatcher, host, client) = (lan.host(1), lan.host(2), lan.host(3));
        let mut serving = dispatcher.serves();
        drop(with_a_token(dispatcher, host, "b"));
        let worker = host.works_for(dispatcher.address, "b", &[]);
        worker.says("Joined the dispatcher");
        enrol_a_client(dispatcher, client);
        serving.kill();
        let elsewhere = dispatcher.another_home();
        let mut fake = elsewhere.serves();

        worker.says("not the one this worker was enrolled with");
        let mut starting = host.another_home();
        starting = {
            copy_folder(&host.home(), &starting.home(), "workers/b");
            starting
        };
        let mut second = starting.works_for(dispatcher.address, "b", &[]);
        assert_eq!(second.ended(), Some(1), "{}", second.log());
        let said = second.log();
        let told = said.contains("not the one this worker was enrolled with") && said.contains("hint: ");
        assert!(told && said.contains("--token"), "{said}");
        client.run(["list"]).says_failure(125, "");
        assert_eq!(elsewhere.json(["workers"]).as_array().map(Vec::len), Some(0), "nobody went over to it");

        // The real one comes back, and with it its worker, without a word from anybody.
        fake.kill();
        let serving = dispatcher.serves();
        serving.says("Worker b joined");
        assert_eq!(client.ok(["run", "--", "echo", "home"]), "home\n");
        assert_eq!(worker.log().matches("not the one this worker was enrolled with").count(), 1, "{}", worker.log());
    });
}

/// Copies a node's folder to another home, as a backup would.
fn copy_folder(from: &std::path::Path, to: &std::path::Path, folder: &str) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp starts");
    assert!(copied.success() && to.join(folder).exists(), "{folder} was not copied");
}

#[test]
fn a_man_in_the_middle_gets_neither_a_token_nor_a_word_from_a_worker_that_has_one() {
    on_a_lan(3, |lan| {
        let (dispatcher, host, middle) = (lan.host(1), lan.host(2), lan.host(3));
        let _serving = dispatcher.serves();
        let relay = Relay::on(middle, dispatcher.at());
        let token = token(dispatcher, &[]);
        let worker = host.works_for(middle.address, "b", &["--token", &token]);
        worker.says("not the");
        assert_eq!(relay.with(|seen| seen.hellos.len()), 0, "the key is checked before anything is said");
        assert_eq!(state(dispatcher, "b"), None);
        // The token is as good as before.
        drop(worker);
        let worker = host.works_for(dispatcher.address, "b", &["--token", &token]);
        worker.says("Joined the dispatcher");

        let for_a_client = self::token(dispatcher, &["--role", "client"]);
        let ran = host.run(["list", "--dispatcher", &middle.address.to_string(), "--token", &for_a_client]);
        ran.says_failure(125, &middle.address.to_string());
        assert_eq!(relay.with(|seen| seen.hellos.len()), 0);
    });
}

#[test]
fn a_man_in_the_middle_of_an_approval_is_found_out_even_with_the_right_code() {
    on_a_lan(3, |lan| {
        let (dispatcher, host, middle) = (lan.host(1), lan.host(2), lan.host(3));
        let _serving = dispatcher.serves();
        let relay = Relay::on(middle, dispatcher.at());
        let worker = host.works_for(middle.address, "b", &[]);
        let (name, code) = asked_for(&worker, 1);
        soon("the dispatcher knows a joiner", || state(dispatcher, "b").as_deref() == Some("pending"));
        // The admin is deceived: this is the worker's true code.
        dispatcher.run(["approve", &name, &code]).says_failure(1, "b");
        relay.saw("the proof went through the relay and was turned down", |seen| {
            seen.proofs == 1 && matches!(seen.replies[..], [JoinReply::WrongCode { .. }])
        });
        relay.with(|seen| assert_eq!((seen.enrolled, seen.secrets), (0, 0)));
        assert_ne!(state(dispatcher, "b").as_deref(), Some("idle"));
        assert!(!worker.log().contains("Joined the dispatcher"), "{}", worker.log());
        let enrolled = dispatcher.json(["workers"]).to_string();
        assert!(!enrolled.contains("idle") && !enrolled.contains("busy"), "{enrolled}");
    });
}

#[test]
fn a_stranger_client_and_a_second_worker_of_a_name_are_refused_at_once_with_a_line_on_both_sides() {
    on_a_lan(3, |lan| {
        let (dispatcher, host, stranger) = (lan.host(1), lan.host(2), lan.host(3));
        let serving = dispatcher.serves();
        let _worker = with_a_token(dispatcher, host, "b");
        let ran = stranger.run(["list", "--dispatcher", &dispatcher.address.to_string()]);
        ran.says_failure_and_hint(125, "enrolled");
        assert!(ran.stderr_text().contains("--token"), "{ran:?}");
        serving.says(&format!("{}", stranger.address));
        let token = token(dispatcher, &[]);
        let mut twin = stranger.works_for(dispatcher.address, "b", &["--token", &token]);
        assert_eq!(twin.ended(), Some(1), "{}", twin.log());
        assert!(twin.log().contains("another worker is called b") && twin.log().contains("hint: "), "{}", twin.log());
        serving.says("another worker is called b");
        // It was refused for its name, so its token is unused.
        let _other = stranger.works_for(dispatcher.address, "c", &["--token", &token]);
        serving.says("Worker c joined");
    });
}

#[test]
fn keys_do_nothing_outside_their_roles_also_when_somebody_copies_them() {
    on_a_lan(3, |lan| {
        let (dispatcher, host, client) = (lan.host(1), lan.host(2), lan.host(3));
        let _serving = dispatcher.serves();
        let worker = with_a_token(dispatcher, host, "b");
        enrol_a_client(dispatcher, client);

        client.run(["approve", "x", "aaaa-bbbb-cccc-dddd"]).says_failure(1, "admin");
        client.run(["revoke", "b"]).says_failure(1, "admin");
        client.run(["token", "create"]).says_failure(1, "admin");

        // The worker's key in a client's place, and the client's in a worker's.
        drop(worker);
        let key = |home: &Host, folder: &str| home.home().join(folder).join("identity.key");
        let thief = host.another_home();
        copy_folder(&client.home(), &thief.home(), "clients/default");
        fs::copy(key(host, "workers/b"), key(&thief, "clients/default")).expect("the key is copied");
        thief.run(["submit", "--", "true"]).says_failure(125, "worker");

        let thief = client.another_home();
        copy_folder(&host.home(), &thief.home(), "workers/b");
        fs::copy(key(client, "clients/default"), key(&thief, "workers/b")).expect("the key is copied");
        let mut working = thief.works_for(dispatcher.address, "b", &[]);
        assert_eq!(working.ended(), Some(1), "{}", working.log());
        assert!(working.log().contains("client"), "{}", working.log());
    });
}

#[test]
fn what_passes_the_switch_shows_nothing_of_what_is_said_or_who_may_say_it() {
    on_a_lan(3, |lan| {
        let (dispatcher, by_token, by_code) = (lan.host(1), lan.host(2), lan.host(3));
        let capture = Capture::begin(lan);
        let serving = dispatcher.serves();
        let token = token(dispatcher, &["--uses", "2"]);
        let _a = by_token.works_for(dispatcher.address, "worker-plainname", &["--token", &token]);
        serving.says("Worker worker-plainname joined");
        let waiting = by_code.works_for(dispatcher.address, "worker-othername", &[]);
        let (name, code) = asked_for(&waiting, 1);
        dispatcher.ok(["approve", &name, &code]);
        serving.says("Worker worker-othername joined");
        let for_client = self::token(dispatcher, &["--role", "client"]);
        by_code.ok(["list", "--dispatcher", &dispatcher.address.to_string(), "--token", &for_client]);
        let command = "echo plaintext-of-output-$((6 * 7)) plaintext-of-command; echo $PLAINTEXT_VARIABLE";
        for place in ["name=worker-plainname", "name=worker-othername"] {
            let variable = "PLAINTEXT_VARIABLE=plaintext-of-environment";
            let printed = by_code.ok(["run", "--label", place, "--env", variable, "--", "sh", "-c", command]);
            assert_eq!(printed, "plaintext-of-output-42 plaintext-of-command\nplaintext-of-environment\n");
        }
        by_code.start_with_input(["run", "--", "cat"], b"plaintext-of-stdin".to_vec()).finish(SOON);
        let canary = (by_token.address, by_code.address);
        by_token
            .inside(move || {
                let socket = UdpSocket::bind((canary.0, 0)).expect("a socket");
                socket.send_to(b"plaintext-of-canary", (canary.1, 5999)).expect("it is sent");
            })
            .join()
            .expect("the canary sings");
        let frames = capture.end();

        assert!(frames.show(b"plaintext-of-canary"), "what is in the clear would be seen");
        let secret = |token: &str| {
            let text = token.rsplit('-').next().expect("a secret").to_ascii_uppercase();
            data_encoding::BASE32_NOPAD.decode(text.as_bytes()).expect("base32")
        };
        let typed = code.replace('-', "");
        let code_bytes = data_encoding::BASE32_NOPAD.decode(typed.to_ascii_uppercase().as_bytes()).expect("base32");
        let secrets: [&[u8]; 12] = [
            b"plaintext-of-output",
            b"plaintext-of-command",
            b"plaintext-of-environment",
            b"plaintext-of-stdin",
            b"PLAINTEXT_VARIABLE",
            token.as_bytes(),
            &secret(&token),
            for_client.as_bytes(),
            &secret(&for_client),
            code.as_bytes(),
            typed.as_bytes(),
            &code_bytes,
        ];
        for needle in secrets {
            assert!(!frames.show(needle), "{:?} is in the clear", String::from_utf8_lossy(needle));
        }
        // Beacons name their nodes in the clear, and nothing else does.
        let links = frames.but_to(5555);
        for name in [&b"worker-plainname"[..], b"worker-othername"] {
            assert!(frames.show(name) && !links.show(name), "{:?}", String::from_utf8_lossy(name));
        }
        let ports = frames.udp_ports();
        let known = |port: &u16| [harness::lan::PORT, 5555, 5999].contains(port) || (7879..=7899).contains(port);
        assert!(ports.contains(&harness::lan::PORT) && ports.iter().all(known), "{ports:?}");
        assert_eq!(frames.tcp(), 0);
        println!("{} frames, {} bytes, ports {ports:?}", frames.count(), frames.bytes());
    });
}

#[test]
fn files_of_an_array_on_three_workers_are_those_of_a_local_loop() {
    on_a_lan(3, |lan| {
        let home = lan.host(1);
        let _dispatcher = home.serves();
        let mut workers = vec![home.works_for(home.address, "w1", &[])];
        workers[0].says("Joined the dispatcher");
        workers.extend([2, 3].map(|number| with_a_token(home, lan.host(number), &format!("w{number}"))));
        let desk = home.scratch().join("desk");
        fs::create_dir(&desk).expect("a folder");
        let names: Vec<String> = (0..60).map(|number| format!("{number}.log")).collect();
        for (number, name) in names.iter().enumerate() {
            fs::write(desk.join(name), format!("{name} says so\n").repeat(200 + number * 31)).expect("a log");
        }
        let args = ["run", "--in", "*.log", "--out", "{}.gz", "gzip -9 -c {} > {}.gz", ":::"];
        let mut command = home.command(args.into_iter().chain(names.iter().map(String::as_str)));
        let ran = command.current_dir(&desk).output().expect("octaskly starts");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        for name in &names {
            let there = Command::new("gzip").args(["-9", "-c", name]).current_dir(&desk).output().expect("gzip starts");
            assert!(fs::read(desk.join(format!("{name}.gz"))).expect("it came") == there.stdout, "{name}");
        }
        let tasks = home.json(["show", "1", "--tasks"]);
        let tasks = tasks.as_array().expect("tasks");
        let used: std::collections::BTreeSet<_> = tasks.iter().filter_map(|task| task["worker"].as_str()).collect();
        assert_eq!(used.len(), 3, "each has done some of it");
    });
}

/// A command on `host` that uses the home of another one, as over NFS.
fn with_the_home_of(owner: &Host, host: &Host, args: &[&str]) -> Command {
    let mut command = host.command(args);
    command.env("OCTASKLY_HOME", owner.home());
    command
}

#[test]
fn hosts_that_share_one_home_reach_its_dispatcher_and_each_is_a_worker_of_its_own() {
    on_a_lan(3, |lan| {
        let (first, second, third) = (lan.host(1), lan.host(2), lan.host(3));
        let _serving = first.serves();
        let here = first.node(with_the_home_of(first, first, &["worker"]));
        here.says("Joined the dispatcher");
        let there = second.node(with_the_home_of(first, second, &["worker"]));
        there.says(&format!("Joined the dispatcher at {}", first.at()));
        soon("both are there", || {
            state(first, "worker-1").as_deref() == Some("idle") && state(first, "worker-2").as_deref() == Some("idle")
        });
        let asked = with_the_home_of(first, third, &["run", "--label", "name=worker-2", "--", "echo", "from afar"]);
        let asked = asked_of(asked);
        assert_eq!(asked, (Some(0), "from afar\n".to_owned()));
        // A name is its folder, whose lock all hosts see.
        let mut taken = third.node(with_the_home_of(first, third, &["worker", "--name", "worker-2"]));
        assert_eq!(taken.ended(), Some(1));
        taken.says("another running node has it");
    });
}

#[test]
fn a_home_is_shared_with_a_host_that_has_a_dispatcher_of_another_user() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let _serving = first.serves();
        let _other = second.serves();
        let there = second.node(with_the_home_of(first, second, &["worker", "--name", "b"]));
        there.says(&format!("Joined the dispatcher at {}", first.at()));
        let asked = asked_of(with_the_home_of(first, second, &["run", "--", "echo", "mine"]));
        assert_eq!(asked, (Some(0), "mine\n".to_owned()));
    });
}

/// The exit code and what it printed.
fn asked_of(mut command: Command) -> (Option<i32>, String) {
    let ran = command.output().expect("it runs");
    eprint!("{}", String::from_utf8_lossy(&ran.stderr));
    (ran.status.code(), String::from_utf8(ran.stdout).expect("text"))
}
