//! What clients are called, whose jobs they mean, and who did what.

use super::*;
use crate::model::requests::Failure;
use crate::model::trust::Voucher;
use crate::model::views::WorkerView;
use crate::model::{Actor, Digest};

/// A client under the name that it has.
pub(super) fn actor(who: &str, called: &str) -> Actor {
    Actor { key: key(who).key_no(), name: name(called) }
}

/// Every number that a job can have.
fn all() -> Vec<Part> {
    vec![Part::Jobs(JobId(0), JobId(u64::MAX))]
}

fn requested(reason: &str) -> Cancellation {
    Cancellation::requested(Some(reason.to_owned()))
}

impl Scene {
    fn renames(&mut self, who: &'static str, from: &str, to: &str) -> Reply {
        self.answer(who, Call::RenameClient { from: name(from), to: name(to) })
    }

    /// What a client is called that comes in with this.
    fn called(&mut self, who: &str, vouched: Voucher) -> NodeName {
        let hello = self.hello(Intent::Client, 1);
        let link = self.up_with(key(who), hello, Some(vouched));
        match &self.answers[&link] {
            Answer::Welcome(welcome) => welcome.name.clone(),
            other => panic!("{who} is told {other:?}"),
        }
    }

    fn token_for(&mut self, number: u8, role: Role, called: &str, uses: u32) -> Result<Voucher, Failure> {
        let hash = Digest([number; 32]);
        let wanted = WantedToken { hash, role, name: Some(name(called)), uses, lifetime: secs(60) };
        match self.answer("admin", Call::CreateToken(wanted)) {
            Reply::Done { .. } => Ok(Voucher::Token(hash)),
            Reply::Failed(failure) => Err(failure),
            other => panic!("a token is answered by {other:?}"),
        }
    }

    /// What a worker is called that comes in with this, asking for a name or for none.
    fn worker_called(&mut self, who: &str, asks: Option<&str>, vouched: Voucher) -> Result<NodeName, Refusal> {
        let hello = self.hello(Intent::Worker(self.profile(asks, slots(1))), 1);
        let link = self.up_with(key(who), hello, Some(vouched));
        match &self.answers[&link] {
            Answer::Welcome(welcome) => Ok(welcome.name.clone()),
            Answer::Refused(refusal) => Err(refusal.clone()),
            other => panic!("{who} is told {other:?}"),
        }
    }

    /// The owner that a watcher is shown.
    fn owner(&mut self, id: JobId) -> NodeName {
        match self.answer("admin", Call::Watch(vec![id])) {
            Reply::Progress(jobs) => jobs[0].owner_name.clone(),
            other => panic!("a watch is answered by {other:?}"),
        }
    }

    fn shown_worker(&mut self, who: &str) -> WorkerView {
        let Reply::Workers(workers) = self.answer("admin", Call::Workers) else { panic!("no roster") };
        workers.into_iter().find(|worker| worker.name == name(who)).expect("it is on the roster")
    }

    /// Submits under a key of its user's.
    fn submits(&mut self, who: &'static str, idempotency_key: &str, spec: JobSpec) -> Reply {
        let submission =
            Submission { spec: SealedSpec::seal(spec), idempotency_key: idempotency_key.to_owned(), strict: false };
        self.answer(who, Call::Submit { submission, ended_dependencies: BTreeMap::new() })
    }
}

#[test]
fn clients_of_this_user_are_called_as_the_user_is_and_numbered_from_the_second_on() {
    let mut scene = Scene::with(DispatcherConfig { user: Some(name("anna")), ..without_backlog() });
    let vouched = || Voucher::Access(Role::Admin);
    assert_eq!([scene.called("x", vouched()), scene.called("y", vouched())], [name("anna-2"), name("anna-3")]);
    assert_eq!(scene.called("x", vouched()), name("anna-2"), "it keeps its name");
}

#[test]
fn the_name_of_a_token_is_its_bearers() {
    let mut scene = Scene::new();
    let token = scene.token_for(1, Role::Client, "anna", 2).expect("a token");
    assert_eq!(scene.called("x", token.clone()), name("anna"));
    assert_eq!(scene.called("y", token), name("anna-2"), "names are unique");
    scene.dispatcher_restarts();
    scene.client("admin", Role::Admin);
    assert_eq!(scene.called("x", Voucher::Access(Role::Client)), name("anna"));
    let long = "n".repeat(63);
    let token = scene.token_for(2, Role::Client, &long, 2).expect("a token");
    assert_eq!(scene.called("v", token.clone()), name(&long));
    assert_eq!(scene.called("w", token), name(&format!("{}-2", &long[..61])), "the end gives way");
}

#[test]
fn the_name_of_a_workers_token_is_for_that_worker_alone() {
    let mut scene = Scene::new();
    let token = scene.token_for(1, Role::Worker, "gpu", 1).expect("a token");
    let refusal = scene.worker_called("x", Some("cpu"), token.clone()).expect_err("it asks for another name");
    assert!(refusal.text.contains("called gpu, not cpu"), "{}", refusal.text);
    assert_eq!(scene.worker_called("x", None, token), Ok(name("gpu")));
    assert_eq!(scene.token_for(2, Role::Worker, "gpu", 1).expect_err("taken").code, FailureCode::Conflict);
    assert_eq!(scene.token_for(3, Role::Worker, "many", 2).expect_err("two of one name").code, FailureCode::Invalid);
}

#[test]
fn a_rename_shows_at_once_on_jobs_that_were_submitted_before() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", single());
    assert_eq!(scene.owner(id), name("client-2"));
    assert_eq!(scene.renames("admin", "client-2", "eve"), Reply::Done { affected: 1 });
    assert_eq!(scene.owner(id), name("eve"));
    scene.dispatcher_restarts();
    scene.client("admin", Role::Admin);
    assert_eq!(scene.owner(id), name("eve"));
    assert_eq!(scene.renames("admin", "eve", "eve"), Reply::Done { affected: 0 });
}

#[test]
fn only_an_admin_renames_and_only_to_a_name_that_is_free() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let code = |reply: Reply| match reply {
        Reply::Failed(failure) => failure.code,
        other => panic!("it was done: {other:?}"),
    };
    assert_eq!(code(scene.renames("eve", "client-2", "eve")), FailureCode::Forbidden);
    assert_eq!(code(scene.renames("admin", "client-2", "client-1")), FailureCode::Conflict);
    assert_eq!(code(scene.renames("admin", "nobody", "eve")), FailureCode::NotFound);
    assert_eq!(code(scene.renames("admin", "client-2", "me")), FailureCode::Invalid);
    let profile = scene.profile(Some("eve"), slots(1));
    assert_eq!(scene.joins("w", profile), Ok("eve".parse().expect("a name")));
    assert_eq!(
        scene.renames("admin", "client-2", "eve"),
        Reply::Done { affected: 1 },
        "workers have names of their own"
    );
}

#[test]
fn a_job_keeps_the_last_name_of_an_owner_that_was_revoked() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", single());
    scene.revoke("client-2", None);
    assert_eq!(scene.owner(id), name("client-2"));
    scene.dispatcher_restarts();
    scene.client("admin", Role::Admin);
    assert_eq!(scene.owner(id), name("client-2"));
}

#[test]
fn all_means_the_askers_own_jobs_also_when_an_admin_asks() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let (own, theirs) = (scene.submit(single()), scene.submit_as("eve", array(2)));
    let cancel = |whose| Call::Cancel { parts: all(), whose, why: Cancellation::requested(None) };
    let changes = scene.changed("admin", cancel(Whose::Own));
    assert_eq!((changes.affected, changes.jobs, &changes.owners[..]), (1, 1, &[(name("client-1"), 1)][..]));
    assert_eq!((scene.ended(own), scene.ended(theirs)), (Some(TaskState::Cancelled), None));
    let retry = |whose| Call::Retry { parts: all(), whose, failed_only: false, recalled: Vec::new() };
    scene.changed("admin", cancel(Whose::Everyone));
    assert_eq!(scene.changed("admin", retry(Whose::Own)).affected, 1);
    assert_eq!(scene.ended(theirs), Some(TaskState::Cancelled));
    let forget = |whose| Call::Forget { jobs: vec![(theirs, key("eve"))], whose };
    assert_eq!(scene.failure("admin", forget(Whose::Own)), FailureCode::Forbidden);
    assert_eq!(scene.changed("admin", forget(Whose::Everyone)).owners, [(name("client-2"), 1)]);
}

#[test]
fn everyones_jobs_are_changed_by_admins_alone() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let own = scene.submit_as("eve", single());
    let whose = Whose::Everyone;
    for call in [
        Call::Cancel { parts: all(), whose, why: Cancellation::requested(None) },
        Call::Retry { parts: Vec::new(), whose, failed_only: false, recalled: Vec::new() },
        Call::Forget { jobs: Vec::new(), whose },
    ] {
        assert_eq!(scene.failure("eve", call), FailureCode::Forbidden);
    }
    assert_eq!(scene.ended(own), None);
}

#[test]
fn a_cancellation_says_who_asked_for_it_whatever_clients_and_workers_say() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", array(2));
    let why = Cancellation::Requested { by: Some(actor("admin", "client-1")), reason: Some("mine".to_owned()) };
    scene.changed("eve", Call::Cancel { parts: job(id), whose: Whose::Allowed, why: why.clone() });
    scene.ends("a", task(id, 1), Outcome::Cancelled(why));
    let by = Cancellation::Requested { by: Some(actor("eve", "client-2")), reason: Some("mine".to_owned()) };
    assert_eq!(scene.outcome(task(id, 1)), Some(Outcome::Cancelled(by.clone())), "what ran");
    assert_eq!(scene.outcome(task(id, 2)), Some(Outcome::Cancelled(by)), "what waited");
    let told = |notice: &Notice| matches!(notice, Notice::JobsChanged { by, .. } if *by == name("client-2"));
    assert_eq!(scene.noticed(told), 1, "the log says so once");
}

#[test]
fn no_client_cancels_for_a_reason_that_is_the_dispatchers() {
    let mut scene = Scene::new();
    let id = scene.submit(single());
    for why in [Cancellation::ClientGone, Cancellation::MaxFails, Cancellation::Superseded] {
        let call = Call::Cancel { parts: job(id), whose: Whose::Allowed, why };
        assert_eq!(scene.failure("admin", call), FailureCode::Invalid);
    }
    assert_eq!(scene.ended(id), None);
}

#[test]
fn a_cancellation_under_way_keeps_its_author_over_a_restart() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.changed("admin", Call::Cancel { parts: job(id), whose: Whose::Allowed, why: requested("wrong input") });
    scene.dispatcher_restarts();
    scene.pass(secs(61));
    let by = Some(actor("admin", "client-1"));
    let why = Cancellation::Requested { by, reason: Some("wrong input".to_owned()) };
    assert_eq!(scene.outcome(task(id, 0)), Some(Outcome::Cancelled(why)));
}

#[test]
fn a_retried_and_a_forgotten_job_are_on_record_with_who_asked() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", single());
    scene.cancel(job(id));
    assert_eq!(scene.retry(job(id), false), 1);
    let retried = scene.ledger.recall(id).and_then(|job| job.retried).expect("it is on record");
    assert_eq!((retried.by, retried.at), (actor("admin", "client-1"), scene.now));
    assert_eq!(scene.retry(job(id), false), 0, "nothing is left to do again");
    scene.cancel(job(id));
    scene.changed("eve", Call::Forget { jobs: vec![(id, key("eve"))], whose: Whose::Own });
    let forgotten = scene.records.iter().find_map(|record| match record {
        Record::JobForgotten { by, .. } => by.clone(),
        _ => None,
    });
    assert_eq!(forgotten, Some(actor("eve", "client-2")));
}

#[test]
fn a_drained_and_a_resumed_worker_are_shown_with_who_asked() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.answer("admin", Call::Drain { name: name("a"), draining: true });
    scene.renames("admin", "client-1", "root");
    let by = |worker: &WorkerView| worker.drain_act.clone().map(|act| act.by.name);
    let drained = scene.shown_worker("a");
    assert_eq!((by(&drained), drained.is_drained), (Some(name("root")), true), "under the name that it has now");
    let id = scene.submit(single());
    let Reply::Explained(explained) = scene.answer("admin", Call::Explain(job(id))) else { panic!("not explained") };
    assert_eq!(
        (explained[0].owner.as_str(), &explained[0].workers[0].lacks[..]),
        ("root", &["state: draining, drained by root".to_owned()][..])
    );
    scene.dispatcher_restarts();
    scene.client("admin", Role::Admin);
    scene.worker("a", slots(1));
    assert_eq!(by(&scene.shown_worker("a")), Some(name("root")));
    scene.client("eve", Role::Admin);
    scene.answer("eve", Call::Drain { name: name("a"), draining: false });
    let resumed = scene.shown_worker("a");
    assert_eq!((by(&resumed), resumed.is_drained), (Some(name("client-1")), false));
}

#[test]
fn a_used_idempotency_key_with_another_job_is_refused_by_the_job_that_has_it() {
    let mut scene = Scene::new();
    let Reply::Submitted { job, .. } = scene.submits("admin", "nightly", single()) else { panic!("not taken") };
    assert!(matches!(scene.submits("admin", "nightly", single()), Reply::Submitted { job: again, .. } if again == job));
    let refused = |reply| match reply {
        Reply::Failed(failure) => (failure.code, failure.text),
        other => panic!("it was taken: {other:?}"),
    };
    let (code, text) =
        refused(scene.submits("admin", "nightly", JobSpec::single(CommandLine::Shell("rm -r x".into()))));
    assert_eq!(code, FailureCode::Conflict);
    assert!(text.contains(&format!("job {job}")) && text.contains("another command"), "{text}");
    let (_, text) = refused(scene.submits("admin", "nightly", JobSpec { priority: 1, ..single() }));
    assert!(text.contains("other options"), "{text}");
    scene.dispatcher_restarts();
    scene.client("admin", Role::Admin);
    let (code, _) = refused(scene.submits("admin", "nightly", array(2)));
    assert_eq!(code, FailureCode::Conflict, "also after a restart");
}

#[test]
fn an_idempotency_key_belongs_to_its_owner() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let submitted = |reply| match reply {
        Reply::Submitted { job, .. } => job,
        other => panic!("not taken: {other:?}"),
    };
    let first = submitted(scene.submits("admin", "nightly", single()));
    let second = submitted(scene.submits("eve", "nightly", array(2)));
    assert_ne!(first, second);
    assert_eq!(submitted(scene.submits("eve", "nightly", array(2))), second);
    scene.cancel(job(first));
    scene.changed("admin", Call::Forget { jobs: vec![(first, key("admin"))], whose: Whose::Own });
    assert!(submitted(scene.submits("admin", "nightly", array(3))) > second, "the key of a forgotten job is free");
}
