//! How long one task takes over a link that stands, and how long a question:
//! beside a bare spawn and a bare round trip.
//!
//! One after the other, each waited for; the figure of a round is the median of
//! its samples. Absent: what a whole `octaskly run` takes, which starts a
//! process and makes a link of its own.

use super::{Bench, BenchError, Figure, Report, Round, Spread, Unit, fitting};
use crate::model::SealedSpec;
use crate::model::spec::CommandLine;

/// Samples of the round that is measured only to know how many the others may have.
const WARM_UP: u64 = 5;

/// Seconds of each sample of a round.
#[derive(Default)]
struct Samples {
    spawn: Vec<f64>,
    task: Vec<f64>,
    word: Vec<f64>,
    question: Vec<f64>,
}

impl Bench<'_> {
    /// Seconds for one task and for one question: `command`, at most `tasks` times a round.
    ///
    /// # Errors
    /// When nobody takes tasks, the command fails, or not even one round ends in time.
    pub async fn latency(&self, command: &CommandLine, tasks: u64) -> Result<Report, BenchError> {
        let (workers, slots) = self.workers().await?;
        let spec = SealedSpec::seal(self.spec(command.clone()));
        let mut bare = self.bare_link().await?;
        let few = WARM_UP.min(tasks);
        let mut sample = async |count| -> Result<Samples, BenchError> {
            let mut samples = Samples::default();
            for _ in 0..count {
                samples.spawn.push(self.bare_spawns(command, 1, 1).await?);
                let begun = self.clock.now();
                self.run(&spec).await?;
                samples.task.push(self.seconds_since(begun));
                samples.word.push(bare.round_trip().await?);
                let begun = self.clock.now();
                self.client.status().await?;
                samples.question.push(self.seconds_since(begun));
            }
            self.forget().await?;
            Ok(samples)
        };
        let begun = self.clock.now();
        sample(few).await?;
        let amount = fitting(self.share(), self.seconds_since(begun) / few as f64, few, tasks);
        let rounds = self.rounds(async || {
            let samples = sample(amount).await?;
            Ok(vec![compared(samples.task, samples.spawn), compared(samples.question, samples.word)])
        });
        let names = [
            ("one task, from submitting to hearing of its end", "posix_spawn and wait"),
            ("one question to the dispatcher, answered", "bare QUIC round trip on loopback"),
        ];
        let figure = |(rounds, (what, limit)): (_, (&str, &str))| Figure {
            what: what.to_owned(),
            limit: limit.to_owned(),
            unit: Unit::Seconds,
            rounds,
        };
        let figures = rounds.await?.into_iter().zip(names).map(figure).collect();
        Ok(Report { workers, slots, amount, figures })
    }
}

fn compared(measured: Vec<f64>, limit: Vec<f64>) -> Round {
    Round { measured: Spread::of(measured).median, limit: Spread::of(limit).median }
}
