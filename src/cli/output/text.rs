//! Times, amounts and names as people read them.
//!
//! The one invariant: whatever a task or a user put into a name, a cell is one
//! line without control characters.

use crate::model::{MilliCpu, Millis, RawString, Timestamp};

/// An instant in RFC 3339, UTC, to the millisecond.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let micros = i64::try_from(at.0 / 1000 * 1000).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(time) => format!("{time:.3}"),
        // Beyond the year 9999 no calendar of ours reaches.
        Err(_) => format!("{}us", at.0),
    }
}

/// How long ago: `3 min 5 s ago`, `now`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at) {
        Millis(0..1_000) => "now".to_owned(),
        span => format!("{} ago", coarse(span)),
    }
}

/// A length of time with its greatest unit only, from seconds up: what fits into a column.
pub(crate) fn coarse(span: Millis) -> String {
    match span.0 / 1000 {
        0 => format!("{} ms", span.0),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// An amount of bytes in powers of 1024: `512 MiB`, `1.5 GiB`.
pub(crate) fn bytes(amount: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if amount < 1024 {
        return format!("{amount} B");
    }
    let mut scaled = amount as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0 of the smaller unit.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let text = format!("{scaled:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

/// Cores: `4`, `0.5`.
pub(crate) fn cores(thousandths: u64) -> String {
    let (whole, rest) = (thousandths / 1000, thousandths % 1000);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:03}").trim_end_matches('0').to_owned() }
}

/// Cores of a demand or capacity.
pub(crate) fn milli_cores(cpu: MilliCpu) -> String {
    cores(u64::from(cpu.0))
}

/// A count with its noun: `1 task`, `3 tasks`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Text on one line: control characters become what Rust writes for them.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// One argument as a shell would need it to be typed.
pub(crate) fn quoted(word: &RawString) -> String {
    let text = word.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%{}#^".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339_in_utc() {
        assert_eq!(rfc3339(Timestamp::from_millis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp(1_795_456_789_123_456)), "2026-11-23T17:59:49.123Z");
        assert!(!rfc3339(Timestamp(u64::MAX)).is_empty(), "no instant makes it panic");
    }

    #[test]
    fn amounts_are_short_and_in_powers_of_1024() {
        let shown: Vec<_> = [0, 1023, 1024, 512 << 20, 3 << 29, 16 << 30, (1 << 30) - 1].map(bytes).into();
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "512 MiB", "1.5 GiB", "16 GiB", "1 GiB"]);
        assert_eq!([cores(4000), cores(500), cores(1250)], ["4", "0.5", "1.25"]);
        assert_eq!([count(1, "task"), count(0, "task")], ["1 task", "0 tasks"]);
    }

    #[test]
    fn a_name_cannot_break_the_line_or_the_terminal() {
        assert_eq!(one_line("a\nb\x1b[31m\u{9b}"), "a\\nb\\u{1b}[31m\\u{9b}");
    }

    #[test]
    fn a_column_of_times_is_narrow() {
        let said = |ms| coarse(Millis(ms));
        assert_eq!([said(250), said(1_500), said(90_000), said(7_200_000)], ["250 ms", "1 s", "1 min", "2 h"]);
        assert_eq!(ago(Timestamp::from_millis(0), Timestamp::from_millis(5_000)), "5 s ago");
        assert_eq!(ago(Timestamp::from_millis(9_000), Timestamp::from_millis(5_000)), "now", "clocks may differ");
    }
}
