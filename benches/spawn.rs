//! What running a task through the executor costs, against the bare limit: a
//! loop of posix_spawn and wait of the same program, on the same machine, in
//! the same run, with as many loops as there are slots.
//!
//! Timed by hand, because what counts is processor time of this process *and*
//! of everything it started, which only the kernel knows. Rounds of both kinds
//! alternate, and the median of each is compared, so that a machine with other
//! things to do disturbs both alike.

#![expect(clippy::unwrap_used, reason = "a bench that cannot set itself up has nothing to measure")]
#![expect(clippy::disallowed_methods, reason = "a bench asks for the time")]

#[cfg(target_os = "linux")]
fn main() {
    // Under `cargo test` it only has to work.
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let (rounds, tasks) = if measuring { (7, 500) } else { (1, 8) };
    linux::compare(rounds, tasks);
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use nix::sys::resource::{Usage, UsageWho, getrusage};
    use octaskly::exec::{ExecConfig, ExecEvent, Executor, StartAttempt};
    use octaskly::model::messages::Assignment;
    use octaskly::model::spec::{CommandLine, JobSpec};
    use octaskly::model::{AttemptNo, Epoch, Fence, Outcome, SealedSpec, TaskId};

    const PROGRAM: &str = "/bin/true";

    /// What one round took.
    #[derive(Clone, Copy)]
    struct Cost {
        wall: Duration,
        cpu: Duration,
    }

    pub(super) fn compare(rounds: usize, tasks: u32) {
        println!("{tasks} runs of {PROGRAM} a round, median of {rounds} rounds, per task:");
        println!("slots   bare: wall    cpu   executor: wall    cpu   ratio: wall   cpu");
        let only = std::env::var("SLOTS").ok().and_then(|s| s.parse().ok());
        for slots in [1, 2, 4].into_iter().filter(|s| only.is_none_or(|only: u32| only == *s)) {
            let (mut bare, mut idle, mut busy) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds {
                bare.push(measured(|| run_bare(slots, tasks)));
                idle.push(measured(|| run_executor(slots, 0)));
                busy.push(measured(|| run_executor(slots, tasks)));
            }
            // Starting and ending shims is no cost of a task.
            let (bare, executor) = (median(bare, tasks), median(busy, tasks).without(median(idle, tasks)));
            println!(
                "{slots:>5}   {:>7.0} µs {:>4.0} µs   {:>11.0} µs {:>4.0} µs   {:>10.2}  {:>5.2}",
                micros(bare.wall),
                micros(bare.cpu),
                micros(executor.wall),
                micros(executor.cpu),
                micros(executor.wall) / micros(bare.wall),
                micros(executor.cpu) / micros(bare.cpu),
            );
        }
    }

    impl Cost {
        fn without(self, other: Self) -> Self {
            Self { wall: self.wall.saturating_sub(other.wall), cpu: self.cpu.saturating_sub(other.cpu) }
        }
    }

    fn measured(work: impl FnOnce()) -> Cost {
        let (begun, before) = (Instant::now(), cpu_time());
        work();
        Cost { wall: begun.elapsed(), cpu: cpu_time().saturating_sub(before) }
    }

    /// Processor time of this process and of all descendants that are reaped.
    fn cpu_time() -> Duration {
        let of = |usage: Usage| [usage.user_time(), usage.system_time()];
        let own = of(getrusage(UsageWho::RUSAGE_SELF).unwrap());
        let children = of(getrusage(UsageWho::RUSAGE_CHILDREN).unwrap());
        let micros = own.into_iter().chain(children).map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
        Duration::from_micros(u64::try_from(micros.sum::<i64>()).unwrap())
    }

    fn median(mut costs: Vec<Cost>, tasks: u32) -> Cost {
        let middle = costs.len() / 2;
        costs.sort_by_key(|cost| cost.wall);
        let wall = costs[middle].wall / tasks;
        costs.sort_by_key(|cost| cost.cpu);
        Cost { wall, cpu: costs[middle].cpu / tasks }
    }

    fn micros(span: Duration) -> f64 {
        span.as_secs_f64() * 1e6
    }

    /// The limit: nothing but spawning and waiting.
    fn run_bare(loops: u32, tasks: u32) {
        std::thread::scope(|scope| {
            for _ in 0..loops {
                scope.spawn(move || {
                    let mut command = Command::new(PROGRAM);
                    command.stdin(Stdio::null());
                    for _ in 0..tasks / loops {
                        assert!(command.spawn().unwrap().wait().unwrap().success());
                    }
                });
            }
        });
    }

    /// The same number of tasks, `slots` at a time.
    fn run_executor(slots: u32, tasks: u32) {
        let work = tempfile::tempdir().unwrap();
        let config = ExecConfig {
            shim_program: env!("CARGO_BIN_EXE_octaskly").into(),
            work_root: work.path().join("work"),
            ready_shims: slots as usize,
            presence: None,
            oom_counter: None,
        };
        let spec = SealedSpec::seal(JobSpec::single(CommandLine::Exec(vec![PROGRAM.into()])));
        let runtime = match std::env::var_os("MULTI") {
            Some(_) => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
            None => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        };
        runtime.block_on(async {
            let (executor, mut events) = Executor::start(config).unwrap();
            let start = |index: u32| {
                let fence = Fence { epoch: Epoch(1), counter: u64::from(index) + 1 };
                let task = TaskId::new(1, index.into());
                let assignment = Assignment { task, attempt: AttemptNo(1), fence, gpus: Vec::new() };
                let worker = "worker-1".parse().unwrap();
                executor.run(StartAttempt {
                    assignment,
                    spec: spec.clone(),
                    worker,
                    attached: None,
                    directory: None,
                    keep_directory: false,
                });
            };
            let total = tasks / slots * slots;
            (0..slots.min(total)).for_each(start);
            let (mut started, mut ended) = (slots.min(total), 0);
            while ended < total {
                let ExecEvent::Ended { ending, .. } = events.recv().await.unwrap() else { continue };
                assert_eq!(ending.outcome, Outcome::Exited(0));
                ended += 1;
                if started < total {
                    start(started);
                    started += 1;
                }
            }
            executor.shutdown().await;
        });
    }
}
