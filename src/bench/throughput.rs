//! How many tasks a second a cluster runs, beside how many this machine spawns.
//!
//! One array a round, from its submission to the news that its last task has
//! ended. Absent: what a single task takes (`latency`).

use super::{Bench, BenchError, Figure, Report, Round, Unit, fitting};
use crate::model::spec::{CommandLine, JobSpec};
use crate::model::{Items, SealedSpec};

/// Tasks of the round that is measured only to know how many the others may have.
const WARM_UP: u64 = 64;

impl Bench<'_> {
    /// Tasks a second: `command`, in arrays of at most `tasks`.
    ///
    /// # Errors
    /// When nobody takes tasks, the command fails, or not even one round ends in time.
    pub async fn throughput(&self, command: &CommandLine, tasks: u64) -> Result<Report, BenchError> {
        let (workers, slots) = self.workers().await?;
        let processors = std::thread::available_parallelism().map_or(1, |number| number.get() as u64);
        let loops = slots.min(processors);
        // The first tasks of a worker start its shims; that is no cost of a task.
        self.array(command, slots.min(tasks)).await?;
        let few = WARM_UP.min(tasks);
        let each = self.array(command, few).await? / few as f64;
        let each = each + self.bare_spawns(command, loops, few).await? / few as f64;
        let amount = fitting(self.share(), each, slots, tasks);
        let rounds = self.rounds(async || {
            let bare = self.bare_spawns(command, loops, amount).await?;
            let ours = self.array(command, amount).await?;
            Ok(vec![Round { measured: amount as f64 / ours, limit: amount as f64 / bare }])
        });
        let figure = |rounds| Figure {
            what: format!("tasks through {}", plural(slots, "slot")),
            limit: format!("posix_spawn and wait, {}", plural(loops, "loop")),
            unit: Unit::TasksPerSecond,
            rounds,
        };
        let figures = rounds.await?.into_iter().map(figure).collect();
        Ok(Report { workers, slots, amount, figures })
    }

    /// Seconds that an array of `tasks` takes.
    async fn array(&self, command: &CommandLine, tasks: u64) -> Result<f64, BenchError> {
        let items = Items::Range { first: 1, last: tasks, step: 1 };
        let spec = SealedSpec::seal(JobSpec { items, ..self.spec(command.clone()) });
        let begun = self.clock.now();
        self.run(&spec).await?;
        let seconds = self.seconds_since(begun);
        self.forget().await?;
        Ok(seconds)
    }
}

fn plural(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
