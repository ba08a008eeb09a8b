//! How fast bytes get to a task and back, beside bare QUIC on loopback.
//!
//! One [`Way`] is one row: to measure another one is to add it there. Absent:
//! what a network between the machines allows; `iperf3` measures that.

use super::files::{Parcel, Shape};
use super::{Bench, BenchError, Figure, Report, Round, Unit, fitting};
use crate::model::limits::{DATA_FRAME, MAX_LOG_BYTES};
use crate::model::selector::Selector;
use crate::model::spec::{CommandLine, JobSpec, OutputMode, StdinSource};
use crate::model::{JobId, SealedSpec, TaskId};
use crate::wire::DataFrame;

/// Bytes of the round that is measured only to know how many the others may have.
const WARM_UP: u64 = 4 * 1024 * 1024;
/// A round has a frame at least.
const LEAST: u64 = DATA_FRAME as u64;

/// What all of it is compared with.
const LIMIT: &str = "one bare QUIC stream on loopback";

/// A way that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the client through a running task and back, as `run` does it.
    Attached,
    /// From a task into the dispatcher's keeping, as `submit` does it.
    Kept,
    /// From there to the client, as `logs` does it.
    ReadBack,
    /// Files of this machine to the dispatcher, as `--in` does it: read, named by their contents, sent.
    Up(Shape),
    /// A task's outputs to this machine, as `get` does it: verified and put into place.
    Down(Shape),
}

impl Way {
    const ALL: [Self; 7] = [
        Self::Attached,
        Self::Kept,
        Self::ReadBack,
        Self::Up(Shape::OneLarge),
        Self::Down(Shape::OneLarge),
        Self::Up(Shape::ManySmall),
        Self::Down(Shape::ManySmall),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Attached => "stdin through `cat` to stdout, attached",
            Self::Kept => "stdout of a task, kept by the dispatcher",
            Self::ReadBack => "the same, read back by `logs`",
            Self::Up(Shape::OneLarge) => "one file of all that, as an input",
            Self::Down(Shape::OneLarge) => "the same, as an output",
            Self::Up(Shape::ManySmall) => "files of 16 KiB, as inputs",
            Self::Down(Shape::ManySmall) => "the same, as outputs",
        }
    }

    /// How much of a round's bytes goes this way: output beyond a bound is not kept whole.
    fn share_of(self, bytes: u64) -> u64 {
        match self {
            Self::Attached | Self::Kept | Self::ReadBack => bytes.min(MAX_LOG_BYTES),
            Self::Up(shape) | Self::Down(shape) => shape.bytes(bytes),
        }
    }
}

impl Bench<'_> {
    /// Bytes a second on every way there is, at most `size` of them a round.
    ///
    /// # Errors
    /// When nobody takes tasks, bytes get lost, or not even one round ends in time.
    pub async fn transfer(&self, size: u64) -> Result<Report, BenchError> {
        let (workers, slots) = self.workers().await?;
        let mut bare = self.bare_link().await?;
        let mut every_way = async |bytes: u64| -> Result<Vec<Round>, BenchError> {
            let limit = bytes as f64 / bare.carry(bytes).await?;
            let rates = self.in_time(self.every_way(bytes)).await?;
            Ok(rates.into_iter().map(|measured| Round { measured, limit }).collect())
        };
        let (few, begun) = (WARM_UP.min(size), self.clock.now());
        every_way(few).await?;
        let amount = fitting(self.share(), self.seconds_since(begun) / few as f64, LEAST, size);
        let rounds = self.rounds(async || every_way(amount).await).await?;
        let figure = |(rounds, way): (_, Way)| Figure {
            what: way.name().to_owned(),
            limit: LIMIT.to_owned(),
            unit: Unit::BytesPerSecond,
            rounds,
        };
        let figures = rounds.into_iter().zip(Way::ALL).map(figure).collect();
        Ok(Report { workers, slots, amount, figures })
    }

    /// Bytes a second on each way in their order, when a round has `bytes` bytes.
    async fn every_way(&self, bytes: u64) -> Result<Vec<f64>, BenchError> {
        let mut rates = Vec::with_capacity(Way::ALL.len());
        let (mut kept, mut parcel) = (None, None);
        for way in Way::ALL {
            let bytes = way.share_of(bytes);
            // What only makes something to be moved takes no time.
            match (way, &parcel) {
                (Way::Up(shape), _) => parcel = Some(Parcel::pack(shape, bytes).await?),
                (Way::Down(_), Some(parcel)) => self.make_output(parcel).await?,
                _ => {}
            }
            let begun = self.clock.now();
            match (way, &mut parcel) {
                (Way::Attached, _) => self.through_cat(bytes).await?,
                (Way::Kept, _) => kept = Some(self.keep(bytes).await?),
                (Way::ReadBack, _) => self.read_back(kept, bytes).await?,
                (Way::Up(_), Some(parcel)) => self.send_up(parcel).await?,
                (Way::Down(_), Some(parcel)) => self.bring_down(parcel).await?,
                (Way::Up(_) | Way::Down(_), None) => {}
            }
            rates.push(bytes as f64 / self.seconds_since(begun));
        }
        self.forget().await?;
        Ok(rates)
    }

    async fn through_cat(&self, bytes: u64) -> Result<(), BenchError> {
        let command = CommandLine::Exec(vec!["cat".into()]);
        let (stdin, output) = (StdinSource::Attached, OutputMode::Attached);
        let job = self.submit(&SealedSpec::seal(JobSpec { stdin, output, ..self.spec(command) })).await?;
        let received = self.exchange(TaskId::new(job.0, 0), bytes).await?;
        self.ended(job).await?;
        all_of_it(bytes, received)
    }

    async fn keep(&self, bytes: u64) -> Result<JobId, BenchError> {
        let words = ["head", "-c", &bytes.to_string(), "/dev/zero"].map(Into::into);
        self.run(&SealedSpec::seal(self.spec(CommandLine::Exec(words.into())))).await
    }

    async fn read_back(&self, job: Option<JobId>, bytes: u64) -> Result<(), BenchError> {
        let Some(job) = job else { return Ok(()) };
        let mut stream = self.client.logs(Selector::job(job), false, None).await?;
        let mut received = 0;
        while let Some(frame) = stream.next().await? {
            if let DataFrame::Output { bytes, .. } = frame {
                received += bytes.len() as u64;
            }
        }
        all_of_it(bytes, received)
    }
}

/// A figure over bytes that did not arrive would be none.
fn all_of_it(sent: u64, received: u64) -> Result<(), BenchError> {
    if sent == received { Ok(()) } else { Err(BenchError::BytesLost { sent, received }) }
}
