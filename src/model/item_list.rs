//! The items of a list, close together in memory.
//!
//! Invariant: `ends` ascends and its last is the length of `bytes`. A million
//! short items take what they say and four bytes each, where a string for each
//! would take ten times that; on the wire they are a plain list of byte strings.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::RawString;
use super::limits::{MAX_FRAME, MAX_TASKS_PER_JOB};

const _: () = assert!(MAX_FRAME < u32::MAX, "the bytes of any list that fits into a frame can be counted");

/// Byte strings in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemList {
    /// All of them, one behind the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<u32>,
}

impl ItemList {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// The one at `place`, from 0.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&[u8]> {
        let end = *self.ends.get(place)?;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start as usize..end as usize)
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|place| self.get(place).unwrap_or_default())
    }

    /// Adds one; says no when the bytes of all of them could not be counted any more.
    fn push(&mut self, item: &[u8]) -> bool {
        let Ok(end) = u32::try_from(self.bytes.len() + item.len()) else { return false };
        self.bytes.extend_from_slice(item);
        self.ends.push(end);
        true
    }

    fn shrunk(mut self) -> Self {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        self
    }
}

impl FromIterator<RawString> for ItemList {
    /// Whoever makes a list has bounded it by what a job may have, which is far less than can be counted.
    fn from_iter<T: IntoIterator<Item = RawString>>(items: T) -> Self {
        let mut list = Self::default();
        for item in items {
            let counted = list.push(item.as_bytes());
            assert!(counted, "a list of more than four gigabytes");
        }
        list.shrunk()
    }
}

impl From<Vec<RawString>> for ItemList {
    fn from(items: Vec<RawString>) -> Self {
        items.into_iter().collect()
    }
}

impl Serialize for ItemList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for item in self.iter() {
            list.serialize_element(serde_bytes::Bytes::new(item))?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for ItemList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items)
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = ItemList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_TASKS_PER_JOB} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ItemList, A::Error> {
        let mut list = ItemList::default();
        while let Some(item) = items.next_element::<RawString>()? {
            if list.len() as u64 == MAX_TASKS_PER_JOB || !list.push(item.as_bytes()) {
                return Err(A::Error::custom(format_args!("a list of more than {MAX_TASKS_PER_JOB} items")));
            }
        }
        Ok(list.shrunk())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_travels_as_byte_strings_and_keeps_every_byte_of_each() {
        let items: Vec<RawString> = vec!["a b".into(), "".into(), vec![0xff, b'\n'].into()];
        let list = ItemList::from(items.clone());
        assert_eq!((list.len(), list.byte_count()), (3, 5));
        assert_eq!(list.iter().collect::<Vec<_>>(), items.iter().map(RawString::as_bytes).collect::<Vec<_>>());
        assert_eq!((list.get(1), list.get(3)), (Some(&b""[..]), None));
        let encoded = |value: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            value(&mut bytes);
            bytes
        };
        let ours = encoded(&|bytes| ciborium::into_writer(&list, bytes).expect("encodes"));
        assert_eq!(ours, encoded(&|bytes| ciborium::into_writer(&items, bytes).expect("encodes")));
        assert_eq!(ciborium::from_reader::<ItemList, _>(&ours[..]).expect("decodes"), list);
        assert_eq!(ItemList::default().iter().len(), 0);
    }
}
