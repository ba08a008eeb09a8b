//! `KEY=VALUE` pairs: labels and named resources.

use std::collections::BTreeMap;

use super::{ValueError, count};

/// Labels that every worker has by itself; a worker's `--label` cannot set them.
pub(crate) const IMPLICIT_LABELS: [&str; 3] = ["name", "os", "arch"];

/// Longest key and value of a label or resource: they travel in a worker's hello.
const LONGEST: u64 = 63;

/// One label: `zone=a`. The value may be empty.
pub(crate) fn label(text: &str) -> Result<(String, String), ValueError> {
    let (key, value) = text.split_once('=').ok_or(ValueError::NotPair("KEY=VALUE"))?;
    check_key(key)?;
    if value.len() as u64 > LONGEST {
        return Err(ValueError::TooLarge(format!("{LONGEST} bytes long")));
    }
    if value.contains(',') || value.chars().any(char::is_control) {
        return Err(ValueError::NotPair("KEY=VALUE with a plain value"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// One named resource and how much of it: `licence=2`.
pub(crate) fn amount(text: &str) -> Result<(String, u64), ValueError> {
    let (key, number) = text.split_once('=').ok_or(ValueError::NotPair("KEY=NUMBER"))?;
    check_key(key)?;
    // Half of the range, so that a sum over a worker's tasks cannot overflow.
    Ok((key.to_owned(), count(number, 1, u64::MAX / 2)?))
}

/// Labels as a set. A worker's own (`implicit_refused`) may not claim what every worker has.
pub(crate) fn labels<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    implicit_refused: bool,
) -> Result<BTreeMap<String, String>, ValueError> {
    let mut set = BTreeMap::new();
    for text in texts {
        let (key, value) = label(text)?;
        if implicit_refused && IMPLICIT_LABELS.contains(&key.as_str()) {
            return Err(ValueError::ImplicitLabel(key));
        }
        insert_once(&mut set, key, value)?;
    }
    Ok(set)
}

/// Resources as a set.
pub(crate) fn amounts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<BTreeMap<String, u64>, ValueError> {
    let mut set = BTreeMap::new();
    for text in texts {
        let (key, number) = amount(text)?;
        insert_once(&mut set, key, number)?;
    }
    Ok(set)
}

fn insert_once<V>(set: &mut BTreeMap<String, V>, key: String, value: V) -> Result<(), ValueError> {
    if set.contains_key(&key) {
        return Err(ValueError::Twice(key));
    }
    set.insert(key, value);
    Ok(())
}

fn check_key(key: &str) -> Result<(), ValueError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    if !key.is_empty() && key.len() as u64 <= LONGEST && key.bytes().all(plain) {
        Ok(())
    } else {
        Err(ValueError::BadKey(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_resources_are_keys_with_values() {
        assert_eq!(label("zone=a"), Ok(("zone".into(), "a".into())));
        assert_eq!(label("path=a=b"), Ok(("path".into(), "a=b".into())));
        assert_eq!(amount("licence=2"), Ok(("licence".into(), 2)));
        assert_eq!(amount("licence"), Err(ValueError::NotPair("KEY=NUMBER")));
        assert_eq!(amount("licence=0"), Err(ValueError::TooSmall("1".into())));
        assert_eq!(amount("licence=x"), Err(ValueError::NotWhole));
        assert_eq!(label("=a"), Err(ValueError::BadKey(String::new())));
        assert_eq!(label("a b=c"), Err(ValueError::BadKey("a b".into())));
    }

    #[test]
    fn a_key_stands_once_and_a_worker_cannot_claim_an_implicit_label() {
        assert_eq!(labels(["a=1", "a=2"], false), Err(ValueError::Twice("a".into())));
        assert_eq!(labels(["os=linux"], true), Err(ValueError::ImplicitLabel("os".into())));
        assert!(labels(["os=any", "zone=a"], false).is_ok_and(|set| set.len() == 2));
    }
}
