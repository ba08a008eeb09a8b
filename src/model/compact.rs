//! How hot values travel: structs as arrays without field names, and lists that
//! are refused at their bound instead of after they filled memory.
//!
//! Invariant: the order of the fields named here is the order on the wire, so
//! it is part of the protocol. Absent: bytes; this only steers serde.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

use super::limits::{BLOBS_A_STREAM, MAX_BATCH, MAX_INPUTS, MAX_LISTS, MAX_NUMBER_RANGES, MAX_ROWS, MAX_TASKS_PER_JOB};

/// Serialises a struct as the array of its fields, in this order.
///
/// A batch of assignments or results is mostly small numbers; with field names
/// it would be mostly field names.
macro_rules! as_array {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                ($(&self.$field,)+).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let ($($field,)+) = serde::Deserialize::deserialize(deserializer)?;
                Ok(Self { $($field),+ })
            }
        }
    };
}
pub(super) use as_array;

/// For `deserialize_with`: a list of at most [`MAX_BATCH`] entries.
pub(super) fn batch<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded { bound: MAX_BATCH, entries: PhantomData })
}

/// For `deserialize_with`: a list of at most [`MAX_ROWS`] entries.
pub(super) fn rows<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded { bound: MAX_ROWS as usize, entries: PhantomData })
}

/// For `deserialize_with`: a list of at most [`MAX_TASKS_PER_JOB`] entries.
pub(super) fn tasks<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded { bound: MAX_TASKS_PER_JOB as usize, entries: PhantomData })
}

/// For `deserialize_with`: a list of at most [`MAX_INPUTS`] entries.
pub(super) fn inputs<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded { bound: MAX_INPUTS, entries: PhantomData })
}

/// A list of at most [`MAX_NUMBER_RANGES`] entries.
pub(super) fn number_ranges<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded { bound: MAX_NUMBER_RANGES, entries: PhantomData })
}

/// A list of at most [`MAX_LISTS`] entries.
pub(super) fn lists<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded { bound: MAX_LISTS, entries: PhantomData })
}

/// For `deserialize_with`: a list of at most [`BLOBS_A_STREAM`] entries.
pub(super) fn blobs<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded { bound: BLOBS_A_STREAM, entries: PhantomData })
}

struct Bounded<T> {
    bound: usize,
    entries: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {} entries", self.bound)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        // What the peer says of the length is a hint, taken up to one batch.
        let mut entries = Vec::with_capacity(list.size_hint().unwrap_or(0).min(MAX_BATCH));
        while let Some(entry) = list.next_element()? {
            if entries.len() == self.bound {
                return Err(A::Error::custom(format_args!("a list of more than {} entries", self.bound)));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::WorkerMessage;
    use super::super::{AttemptId, AttemptNo, TaskId};
    use super::*;

    #[test]
    fn an_attempt_id_travels_as_nested_arrays() {
        let id = AttemptId { task: TaskId::new(5, 3), attempt: AttemptNo(2) };
        let mut bytes = Vec::new();
        ciborium::into_writer(&id, &mut bytes).expect("encodes");
        assert_eq!(bytes, [0x82, 0x82, 5, 3, 2]);
        assert_eq!(ciborium::from_reader::<AttemptId, _>(&bytes[..]).expect("decodes"), id);
    }

    #[test]
    fn a_list_beyond_its_bound_is_refused_before_it_is_read_to_its_end() {
        let entry = (((5u64, 3u64), 2u32), (1u32, 1u64));
        let said = |count: usize| {
            let mut bytes = Vec::new();
            let map = std::collections::BTreeMap::from([("Returned", vec![entry; count])]);
            ciborium::into_writer(&map, &mut bytes).expect("encodes");
            ciborium::from_reader::<WorkerMessage, _>(&bytes[..])
        };
        assert!(said(MAX_BATCH).is_ok());
        assert!(said(MAX_BATCH + 1).is_err());
    }
}
