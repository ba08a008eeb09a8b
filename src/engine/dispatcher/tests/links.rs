//! What a [`Scene`] does with links: clients and workers come, go, fall silent and come back.

use super::*;

impl Scene {
    pub(super) fn link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(self.links)
    }

    pub(super) fn hello(&self, intent: Intent, instance: u64) -> Hello {
        Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: "1.0.0".to_owned(),
            instance: InstanceId(instance),
            intent,
            credential: Credential::None,
        }
    }

    pub(super) fn up(&mut self, node: NodeId, hello: Hello, vouched: Option<Role>) -> LinkId {
        self.up_with(node, hello, vouched.map(Voucher::Access))
    }

    pub(super) fn up_with(&mut self, node: NodeId, hello: Hello, vouched: Option<Voucher>) -> LinkId {
        let link = self.link();
        self.engine.handle_link(self.now, link, LinkChange::Up { node, hello, vouched });
        self.perform();
        link
    }

    pub(super) fn down(&mut self, link: LinkId) {
        self.engine.handle_link(self.now, link, LinkChange::Down);
        self.perform();
    }

    /// A client connects.
    pub(super) fn client(&mut self, who: &'static str, role: Role) {
        let hello = self.hello(Intent::Client, 1);
        let link = self.up(key(who), hello, Some(role));
        assert!(matches!(self.answers.get(&link), Some(Answer::Welcome(_))), "{who} is let in");
        self.clients.insert(who, link);
    }

    pub(super) fn profile(&self, asked: Option<&str>, capacity: Capacity) -> WorkerProfile {
        WorkerProfile {
            name: asked.map(name),
            capacity,
            labels: BTreeMap::new(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            isolation: Isolation::Basic,
            place: None,
        }
    }

    /// A worker connects and holds nothing.
    pub(super) fn worker(&mut self, who: &'static str, capacity: Capacity) {
        let profile = self.profile(Some(who), capacity);
        self.joins(who, profile).expect("the worker is let in");
    }

    /// A worker connects with a profile of its own.
    pub(super) fn joins(&mut self, who: &'static str, profile: WorkerProfile) -> Result<NodeName, Refusal> {
        self.connects(who, profile, 1, Some(Role::Worker))
            .inspect(|_| self.says(who, WorkerMessage::Holding(Vec::new())))
    }

    /// A worker connects and does not yet say what it holds.
    pub(super) fn connects(
        &mut self,
        who: &'static str,
        profile: WorkerProfile,
        instance: u64,
        vouched: Option<Role>,
    ) -> Result<NodeName, Refusal> {
        let hello = self.hello(Intent::Worker(profile.clone()), instance);
        let link = self.up(key(who), hello, vouched);
        match self.answers.get(&link).cloned() {
            Some(other @ (Answer::Waiting(_) | Answer::Peer(_))) => panic!("{who} is told {other:?}"),
            Some(Answer::Welcome(welcome)) => {
                let holds = self.workers.remove(who).filter(|old| old.instance == instance).map(|old| old.holds);
                let played = Played {
                    link,
                    instance,
                    profile,
                    beats: true,
                    holds: holds.unwrap_or_default(),
                    told_to_end: Vec::new(),
                    learnt: Vec::new(),
                    thanked: Vec::new(),
                    retracted: Vec::new(),
                    granted: Vec::new(),
                    asked: Vec::new(),
                    closed: None,
                };
                self.workers.insert(who, played);
                Ok(welcome.name)
            }
            Some(Answer::Refused(refusal)) => Err(refusal),
            None => panic!("{who} got no answer"),
        }
    }

    /// The same instance of a worker connects again and says what it holds.
    pub(super) fn reconnects(&mut self, who: &'static str) {
        let played = &self.workers[who];
        let (profile, instance) = (played.profile.clone(), played.instance);
        self.connects(who, profile, instance, None).expect("a known worker is let in");
        self.says_what_it_holds(who);
    }

    pub(super) fn says_what_it_holds(&mut self, who: &'static str) {
        let held = |assignment: &Assignment| HeldAttempt {
            id: assignment.id(),
            fence: assignment.fence,
            started_at: None,
            gpus: assignment.gpus.clone(),
            ended: false,
        };
        let held = self.workers[who].holds.values().map(held).collect();
        self.says(who, WorkerMessage::Holding(held));
    }

    /// A new instance of a worker connects and holds nothing.
    pub(super) fn restarts(&mut self, who: &'static str) {
        let played = &self.workers[who];
        let (profile, instance) = (played.profile.clone(), played.instance + 1);
        self.connects(who, profile, instance, None).expect("a known worker is let in");
        self.says(who, WorkerMessage::Holding(Vec::new()));
    }

    /// A worker's link breaks; it keeps what it holds.
    pub(super) fn loses_its_link(&mut self, who: &'static str) {
        let played = self.workers.get_mut(who).expect("a worker of this scene");
        played.beats = false;
        let link = played.link;
        self.engine.handle_link(self.now, link, LinkChange::Down);
        self.perform();
    }

    /// A worker says nothing any more, though its link stands.
    pub(super) fn falls_silent(&mut self, who: &'static str) {
        self.workers.get_mut(who).expect("a worker of this scene").beats = false;
    }

    /// A guard reports the end of a worker's present instance.
    pub(super) fn guard_reports(&mut self, who: &'static str) {
        let instance = self.workers[who].instance;
        let hello = self.hello(Intent::Guard, instance);
        let link = self.up(key(who), hello, None);
        self.engine.handle_message(self.now, link, Inbound::Guard);
        self.perform();
    }
}
