//! Lengths of time: `500ms`, `30s`, `10m`, `1h`, `1h30m`, `2d`.
//!
//! The one invariant: a number without a unit is seconds for the options of the
//! original help that count seconds, and refused everywhere else: nobody can
//! tell whether 7 is days or minutes.

use super::ValueError;
use crate::model::Millis;
use crate::model::spec::TimeLimit;

/// Milliseconds of each unit, longest name first where one begins with another.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The longest time that anybody means: a hundred years. Keeps sums of instants far from overflow.
const LONGEST: u64 = 100 * 366 * 86_400_000;

/// A length of time with its unit, greater than zero.
pub(crate) fn duration(text: &str) -> Result<Millis, ValueError> {
    match scaled(text, 1000) {
        // Zero is too little in any unit, which is what is said of it.
        Ok(ms) if ms > 0 => Err(ValueError::NoUnit(text.to_owned())),
        _ => seconds_or_duration(text),
    }
}

/// The same; a bare number is seconds, as in the options of the original help.
pub(crate) fn seconds_or_duration(text: &str) -> Result<Millis, ValueError> {
    let mut total: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(ValueError::NotDuration);
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(unit_at);
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, after) = behind.split_at(letters);
        let unit_ms = match unit {
            // Only alone: `1h30` could mean minutes or seconds.
            "" if after.is_empty() && rest.len() == text.len() => 1000,
            _ => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms).ok_or(ValueError::NotDuration)?,
        };
        total = total.saturating_add(scaled(number, unit_ms)?);
        rest = after;
    }
    match total {
        0 => Err(ValueError::TooSmall("1ms".to_owned())),
        ms if ms > LONGEST => Err(ValueError::TooLarge("100 years".to_owned())),
        ms => Ok(Millis(ms)),
    }
}

/// How long ended jobs are kept; `none` is for ever.
pub(crate) fn retention(text: &str) -> Result<Option<Millis>, ValueError> {
    if text == "none" { Ok(None) } else { duration(text).map(Some) }
}

/// How long what runs may go on; 0 is not at all.
pub(crate) fn stop_grace(text: &str) -> Result<Millis, ValueError> {
    if matches!(text, "0" | "0s") { Ok(Millis(0)) } else { duration(text) }
}

/// A length of time, or `none`.
pub(crate) fn time_limit(text: &str) -> Result<TimeLimit, ValueError> {
    if text == "none" { Ok(TimeLimit::Unlimited) } else { duration(text).map(TimeLimit::Limited) }
}

/// `number` units of `unit_ms` each; the number may have a fraction of up to nine digits.
fn scaled(number: &str, unit_ms: u64) -> Result<u64, ValueError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 || number.ends_with('.') {
        return Err(ValueError::NotDuration);
    }
    let whole: u64 = whole.parse().map_err(|_| ValueError::TooLarge("100 years".to_owned()))?;
    let digits = u32::try_from(fraction.len()).map_err(|_| ValueError::NotDuration)?;
    let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| ValueError::NotDuration)? };
    Ok(whole.saturating_mul(unit_ms).saturating_add(fraction * unit_ms / 10u64.pow(digits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        let ms = |text: &str| duration(text).map(|span| span.0);
        assert_eq!(ms("30s"), Ok(30_000));
        assert_eq!(ms("10m"), Ok(600_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("1.5s"), Ok(1_500));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("2d"), Ok(172_800_000));
    }

    #[test]
    fn a_bare_number_is_seconds_where_the_original_help_says_so_and_refused_elsewhere() {
        assert_eq!(seconds_or_duration("300"), Ok(Millis(300_000)));
        assert_eq!(seconds_or_duration("0.2"), Ok(Millis(200)));
        assert_eq!(seconds_or_duration("10m"), Ok(Millis(600_000)));
        for text in ["7", "0.2", "007"] {
            let refused = ValueError::NoUnit(text.to_owned());
            let hint = format!("write the unit: {text}s, {text}m, {text}h or {text}d");
            assert_eq!(refused.hint(), Some(hint));
            assert_eq!(duration(text), Err(refused.clone()));
            assert_eq!(retention(text), Err(refused.clone()));
            assert_eq!(stop_grace(text), Err(refused.clone()));
            assert_eq!(time_limit(text), Err(refused));
        }
        assert_eq!(stop_grace("0"), Ok(Millis(0)), "nothing needs no unit");
        assert_eq!(duration("0"), Err(ValueError::TooSmall("1ms".into())));
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        for text in ["", "s", "10x", "10 s", "-5s", "1h30", "1..5s", "5.s", "none", "1m 30s", "1e3"] {
            assert_eq!(duration(text), Err(ValueError::NotDuration), "{text:?}");
        }
        assert_eq!(duration("0s"), Err(ValueError::TooSmall("1ms".into())));
        assert!(matches!(duration("99999999999999999999h"), Err(ValueError::TooLarge(_))));
        assert!(matches!(duration("999999999999h"), Err(ValueError::TooLarge(_))));
    }

    #[test]
    fn a_time_limit_can_be_lifted() {
        assert_eq!(time_limit("none"), Ok(TimeLimit::Unlimited));
        assert_eq!(time_limit("10m"), Ok(TimeLimit::Limited(Millis(600_000))));
    }
}
