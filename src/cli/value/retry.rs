//! `--backoff 1s..60s` and `--retry-on CODES,signal,oom,timeout`.

use super::{ValueError, duration};
use crate::model::spec::{Backoff, RetryOn};

/// The first and the longest wait; one length of time stands for both.
pub(crate) fn backoff(text: &str) -> Result<Backoff, ValueError> {
    let wait = |text: &str| {
        duration(text).map_err(|error| match error {
            ValueError::NotDuration => ValueError::NotBackoff,
            other => other,
        })
    };
    let (min, max) = match text.split_once("..") {
        Some((min, max)) => (wait(min)?, wait(max)?),
        None => (wait(text)?, wait(text)?),
    };
    if min > max { Err(ValueError::Backwards) } else { Ok(Backoff { min, max }) }
}

/// Exit codes, `exit` for any of them, `signal`, `oom`, `timeout`: what is named is retried, and nothing else.
pub(crate) fn retry_on(text: &str) -> Result<RetryOn, ValueError> {
    let mut on = RetryOn { codes: Some(Vec::new()), signal: false, oom: false, timeout: false };
    for word in text.split(',').map(str::trim) {
        match word {
            "exit" => on.codes = None,
            "signal" => on.signal = true,
            "oom" => on.oom = true,
            "timeout" => on.timeout = true,
            code => match code.parse::<i32>() {
                Ok(0) => return Err(ValueError::ZeroExit),
                Ok(code) => {
                    if let Some(codes) = &mut on.codes {
                        codes.push(code);
                    }
                }
                Err(_) => return Err(ValueError::NotFailure(code.to_owned())),
            },
        }
    }
    Ok(on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::LimitSource;
    use crate::model::{Millis, Outcome};

    #[test]
    fn a_backoff_is_one_or_two_lengths_of_time() {
        assert_eq!(backoff("1s..60s"), Ok(Backoff { min: Millis(1000), max: Millis(60_000) }));
        assert_eq!(backoff("5s"), Ok(Backoff { min: Millis(5000), max: Millis(5000) }));
        assert_eq!(backoff("60s..1s"), Err(ValueError::Backwards));
        assert_eq!(backoff("1..60s"), Err(ValueError::NoUnit("1".into())));
        for text in ["", "..", "1s..", "1s...5s", "soon"] {
            assert_eq!(backoff(text), Err(ValueError::NotBackoff), "{text:?}");
        }
    }

    #[test]
    fn only_the_failures_that_are_named_are_retried() {
        let on = retry_on("75,111,signal").expect("understood");
        assert!(on.covers(&Outcome::Exited(75)) && on.covers(&Outcome::Exited(111)));
        assert!(on.covers(&Outcome::Signalled(9)));
        assert!(!on.covers(&Outcome::Exited(1)) && !on.covers(&Outcome::OutOfMemory));
        let on = retry_on("exit,timeout").expect("understood");
        assert!(on.covers(&Outcome::Exited(1)) && on.covers(&Outcome::TimedOut(Millis(1), LimitSource::Job)));
        assert!(!on.covers(&Outcome::Signalled(9)));
        assert_eq!(retry_on("0"), Err(ValueError::ZeroExit));
        assert_eq!(retry_on("sometimes"), Err(ValueError::NotFailure("sometimes".into())));
    }
}
