//! What the workers and clients of a [`Scene`] say and do.

use super::*;

impl Scene {
    pub(super) fn says(&mut self, who: &'static str, message: WorkerMessage) {
        let link = self.workers[who].link;
        self.engine.handle_message(self.now, link, Inbound::Worker(message));
        self.perform();
    }

    /// The tasks that a worker was told to run and has not reported.
    pub(super) fn on(&self, who: &'static str) -> Vec<TaskId> {
        self.workers[who].holds.keys().copied().collect()
    }

    pub(super) fn starts(&mut self, who: &'static str, task: TaskId) {
        let assignment = self.workers[who].holds[&task].clone();
        let started = StartedAttempt { id: assignment.id(), fence: assignment.fence, at: self.now };
        self.says(who, WorkerMessage::Started(vec![started]));
    }

    pub(super) fn report(&self, outcome: Outcome) -> AttemptReport {
        AttemptReport {
            outcome,
            started_at: Some(self.now),
            ended_at: self.now,
            peak_memory_bytes: 0,
            output: OutputSummary::default(),
            files: None,
        }
    }

    /// A worker reports the end of a task that it holds.
    pub(super) fn ends(&mut self, who: &'static str, task: TaskId, outcome: Outcome) {
        let assignment = self.forgets(who, task);
        self.reports(who, &assignment, outcome);
    }

    /// A worker reports the end of an attempt, whether or not it holds it.
    pub(super) fn reports(&mut self, who: &'static str, assignment: &Assignment, outcome: Outcome) {
        let report = self.report(outcome);
        let ended = EndedAttempt { id: assignment.id(), fence: assignment.fence, report };
        self.says(who, WorkerMessage::Ended(vec![ended]));
    }

    pub(super) fn gives_back(&mut self, who: &'static str, task: TaskId) {
        let assignment = self.forgets(who, task);
        let attempt = FencedAttempt { id: assignment.id(), fence: assignment.fence };
        self.says(who, WorkerMessage::Returned(vec![attempt]));
    }

    /// A worker no longer holds a task, and says nothing of it.
    pub(super) fn forgets(&mut self, who: &'static str, task: TaskId) -> Assignment {
        let played = self.workers.get_mut(who).expect("a worker of this scene");
        played.holds.remove(&task).unwrap_or_else(|| panic!("{who} does not hold {task}"))
    }

    /// Ends with success the first task that a worker holds.
    pub(super) fn works_off_one(&mut self, who: &'static str) {
        let first = self.on(who)[0];
        self.ends(who, first, OK);
    }

    /// Ends with success whatever any worker holds, until nothing is held.
    pub(super) fn works_off(&mut self) {
        while let Some((who, task)) =
            self.workers.iter().find_map(|(who, worker)| Some((*who, *worker.holds.keys().next()?)))
        {
            self.ends(who, task, OK);
        }
    }

    pub(super) fn ask(&mut self, who: &'static str, call: Call) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        let link = self.clients[who];
        self.engine.handle_message(self.now, link, Inbound::Request { request, call });
        self.perform();
        request
    }

    /// What was answered to a request, oldest first.
    pub(super) fn heard(&self, request: RequestId) -> Vec<&Reply> {
        self.replies.iter().filter(|(to, _)| *to == request).map(|(_, reply)| reply).collect()
    }

    pub(super) fn answer(&mut self, who: &'static str, call: Call) -> Reply {
        let request = self.ask(who, call);
        self.heard(request).pop().cloned().expect("an answer")
    }

    pub(super) fn submission(&mut self, spec: JobSpec) -> Submission {
        self.requests += 1;
        Submission { spec: SealedSpec::seal(spec), idempotency_key: format!("key {}", self.requests), strict: false }
    }

    pub(super) fn submit_as(&mut self, who: &'static str, spec: JobSpec) -> JobId {
        let submission = self.submission(spec);
        match self.answer(who, Call::Submit { submission, ended_dependencies: BTreeMap::new() }) {
            Reply::Submitted { job, .. } => job,
            other => panic!("not submitted: {other:?}"),
        }
    }

    pub(super) fn submit(&mut self, spec: JobSpec) -> JobId {
        self.submit_as("admin", spec)
    }

    /// How many tasks a cancel concerned.
    pub(super) fn cancel(&mut self, parts: Vec<Part>) -> u64 {
        self.changed("admin", Call::Cancel { parts, whose: Whose::Allowed, why: Cancellation::requested(None) })
            .affected
    }

    /// How many tasks are done again.
    pub(super) fn retry(&mut self, parts: Vec<Part>, failed_only: bool) -> u64 {
        let unknown = |part: &Part| match part {
            Part::Jobs(job, _) => *job,
            Part::Task(task) => task.job,
        };
        let recalled: BTreeSet<JobId> = parts.iter().map(unknown).collect();
        let recalled = recalled.into_iter().filter_map(|job| self.ledger.recall(job)).collect();
        self.changed("admin", Call::Retry { parts, whose: Whose::Allowed, failed_only, recalled }).affected
    }

    /// What a cancel, retry or forget changed.
    pub(super) fn changed(&mut self, who: &'static str, call: Call) -> Changes {
        match self.answer(who, call) {
            Reply::Changed(changes) => changes,
            other => panic!("nothing was changed: {other:?}"),
        }
    }

    pub(super) fn failure(&mut self, who: &'static str, call: Call) -> FailureCode {
        match self.answer(who, call) {
            Reply::Failed(failure) => failure.code,
            other => panic!("it did not fail: {other:?}"),
        }
    }
}
