//! How people name jobs and tasks: `5`, `5.3`, `1-3,7`, `last`, `all`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::compact::rows;
use super::limits::MAX_ROWS;
use super::{IntervalSet, JobId, TaskId};

/// Most comma-separated parts of one selector.
const MAX_PARTS: usize = MAX_ROWS as usize;

/// A set of jobs and tasks, by what a person typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// Every job that the asker may see; to cancel, retry and forget, every job of its own.
    All,
    /// Every job of every owner, which only an admin may mean: `all` with `--everyone`.
    Everyone,
    /// The job submitted last by the asker.
    Last,
    /// These.
    These(#[serde(deserialize_with = "rows")] Vec<Part>),
}

/// One comma-separated part of a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// `1-3` or `7`: jobs, both ends inclusive.
    Jobs(JobId, JobId),
    /// `5.3`: one task.
    Task(TaskId),
}

impl Selector {
    /// Just this job.
    #[must_use]
    pub fn job(job: JobId) -> Self {
        Self::These(vec![Part::Jobs(job, job)])
    }

    /// These jobs; neighbours as ranges.
    #[must_use]
    pub fn jobs(jobs: &[JobId]) -> Self {
        let numbers: IntervalSet = jobs.iter().map(|job| job.0).collect();
        Self::These(numbers.ranges().map(|(first, last)| Part::Jobs(JobId(first), JobId(last))).collect())
    }

    /// Just this task.
    #[must_use]
    pub fn task(task: TaskId) -> Self {
        Self::These(vec![Part::Task(task)])
    }

    /// Joins what several arguments selected.
    ///
    /// # Errors
    /// When `all` or `last` stands beside anything else.
    pub fn join(selectors: Vec<Selector>) -> Result<Self, SelectorError> {
        let mut parts = Vec::new();
        let alone = selectors.len() == 1;
        for selector in selectors {
            match selector {
                Self::These(mut more) => parts.append(&mut more),
                keyword if alone => return Ok(keyword),
                keyword => return Err(SelectorError::KeywordNotAlone(keyword.to_string())),
            }
        }
        Ok(Self::These(parts))
    }
}

/// The whole jobs that `parts` name, each once in however many ranges it is named.
///
/// Whoever looks at every job of a selector goes through these: ten thousand
/// parts may all name the same million jobs.
#[must_use]
pub fn whole_jobs(parts: &[Part]) -> IntervalSet {
    let mut whole = IntervalSet::new();
    for part in parts {
        if let Part::Jobs(first, last) = part {
            whole.insert_range(first.0, last.0);
        }
    }
    whole
}

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Neither a number, a range, a task id, `last` nor `all`.
    #[error("not a job or task: {0:?}")]
    Malformed(String),
    /// `3-1`.
    #[error("a range that ends before it starts: {0:?}")]
    Backwards(String),
    /// More parts than anybody types.
    #[error("too many parts (at most {MAX_PARTS})")]
    TooMany,
    /// `all` or `last` beside other ids.
    #[error("{0:?} goes alone")]
    KeywordNotAlone(String),
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => return Ok(Self::All),
            "last" => return Ok(Self::Last),
            _ => {}
        }
        let parts: Vec<Part> = text.split(',').take(MAX_PARTS + 1).map(part).collect::<Result<_, _>>()?;
        if parts.len() > MAX_PARTS { Err(SelectorError::TooMany) } else { Ok(Self::These(parts)) }
    }
}

fn part(text: &str) -> Result<Part, SelectorError> {
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok()).flatten().ok_or_else(|| SelectorError::Malformed(text.to_owned()))
    };
    if let Some((job, index)) = text.split_once('.') {
        return Ok(Part::Task(TaskId::new(number(job)?, number(index)?)));
    }
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err(SelectorError::Backwards(text.to_owned()));
    }
    Ok(Part::Jobs(JobId(first), JobId(last)))
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Everyone => f.write_str("all --everyone"),
            Self::Last => f.write_str("last"),
            Self::These(parts) => {
                for (i, part) in parts.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    match part {
                        Part::Jobs(first, last) if first == last => write!(f, "{comma}{first}")?,
                        Part::Jobs(first, last) => write!(f, "{comma}{first}-{last}")?,
                        Part::Task(task) => write!(f, "{comma}{task}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_back_as_they_were_typed() {
        for text in ["5", "5.3", "1-3,7", "last", "all"] {
            assert_eq!(text.parse::<Selector>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "x", "5.", "-3", "3-1", "1,,2", "+5", "5.3.1", "99999999999999999999"] {
            assert!(text.parse::<Selector>().is_err(), "{text:?} selects nothing");
        }
        assert_eq!(Selector::jobs(&[JobId(7), JobId(2), JobId(1), JobId(3)]).to_string(), "1-3,7");
    }
}
