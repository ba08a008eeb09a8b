//! Several lists of items, of which a job takes every combination.
//!
//! Invariant: there is at least one axis, each has at least one list, and the lists of an axis have the same number of
//! items, at least one. The last axis varies fastest. A combination takes what its lists take, however many tasks it
//! stands for. Absent: how the lists were typed (`cli/resolve/command`).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ItemList;
use super::compact::lists;
use super::limits::MAX_LISTS;

/// Lists that go along with each other: a task takes the item at one place from all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Axis(Vec<ItemList>);

impl<'de> Deserialize<'de> for Axis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lists: Vec<ItemList> = lists(deserializer)?;
        Self::new(lists).ok_or_else(|| D::Error::custom("lists that go along with each other differ in length"))
    }
}

impl Axis {
    /// `None` unless there is a list, and all have the same number of items, at least one.
    #[must_use]
    pub fn new(lists: Vec<ItemList>) -> Option<Self> {
        let length = lists.first()?.len();
        (length > 0 && lists.iter().all(|list| list.len() == length)).then_some(Self(lists))
    }

    /// Its lists.
    #[must_use]
    pub fn lists(&self) -> &[ItemList] {
        &self.0
    }

    fn len(&self) -> u64 {
        self.0.first().map_or(0, ItemList::len) as u64
    }
}

/// Every combination of the items of its axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combination(Vec<Axis>);

impl Combination {
    /// `None` unless there is an axis, and at most [`MAX_LISTS`] lists.
    #[must_use]
    pub fn new(axes: Vec<Axis>) -> Option<Self> {
        let lists: usize = axes.iter().map(|axis| axis.0.len()).sum();
        (1..=MAX_LISTS).contains(&lists).then_some(Self(axes))
    }

    /// How many combinations there are; more than can be counted are as many as can be.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().fold(1, |count, axis| count.saturating_mul(axis.len()))
    }

    /// All lists in the order in which they were given.
    pub fn lists(&self) -> impl Iterator<Item = &ItemList> {
        self.0.iter().flat_map(|axis| &axis.0)
    }

    /// The items of the combination at `place`, from 0: one of each list.
    #[must_use]
    pub fn at(&self, place: u64) -> Option<Vec<&[u8]>> {
        if place >= self.count() {
            return None;
        }
        let mut rest = place;
        let mut places = vec![0; self.0.len()];
        for (place, axis) in places.iter_mut().zip(&self.0).rev() {
            *place = usize::try_from(rest % axis.len()).ok()?;
            rest /= axis.len();
        }
        let items = places.iter().zip(&self.0).flat_map(|(place, axis)| axis.0.iter().map(|list| list.get(*place)));
        items.collect()
    }
}

impl Serialize for Combination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Combination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let axes: Vec<Axis> = lists(deserializer)?;
        Self::new(axes).ok_or_else(|| D::Error::custom(format_args!("no lists, or more than {MAX_LISTS}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::RawString;
    use super::*;

    fn list(items: &[&str]) -> ItemList {
        items.iter().map(|item| RawString::from(*item)).collect()
    }

    fn axis(lists: &[&[&str]]) -> Axis {
        Axis::new(lists.iter().map(|items| list(items)).collect()).expect("an axis")
    }

    fn all(combination: &Combination) -> Vec<String> {
        let of = |place| combination.at(place).expect("a combination").join(&b' ');
        (0..combination.count()).map(|place| String::from_utf8(of(place)).expect("text")).collect()
    }

    #[test]
    fn the_last_list_varies_fastest() {
        let combination = Combination::new(vec![axis(&[&["a", "b"]]), axis(&[&["1", "2", "3"]])]).expect("two lists");
        assert_eq!(all(&combination), ["a 1", "a 2", "a 3", "b 1", "b 2", "b 3"]);
        assert_eq!(combination.at(6), None);
    }

    #[test]
    fn lists_that_are_linked_go_along_with_each_other() {
        let linked = axis(&[&["a", "b"], &["x", "y"]]);
        let combination = Combination::new(vec![linked, axis(&[&["1", "2"]])]).expect("three lists");
        assert_eq!(all(&combination), ["a x 1", "a x 2", "b y 1", "b y 2"]);
    }

    #[test]
    fn what_is_no_combination_is_refused_on_arrival() {
        let decoded = |lists: &Vec<Vec<Vec<&str>>>| {
            let lists: Vec<Vec<ItemList>> =
                lists.iter().map(|lists| lists.iter().map(|items| list(items)).collect()).collect();
            let mut bytes = Vec::new();
            ciborium::into_writer(&lists, &mut bytes).expect("encodes");
            ciborium::from_reader::<Combination, _>(&bytes[..])
        };
        assert_eq!(decoded(&vec![vec![vec!["a"], vec!["b"]], vec![vec!["c"]]]).expect("a combination").count(), 1);
        for wrong in [vec![], vec![vec![]], vec![vec![vec![]]], vec![vec![vec!["a"], vec!["b", "c"]]]] {
            assert!(decoded(&wrong).is_err(), "{wrong:?}");
        }
        assert!(decoded(&vec![vec![vec!["a"]]; MAX_LISTS]).is_ok());
        assert!(decoded(&vec![vec![vec!["a"]]; MAX_LISTS + 1]).is_err());
        assert!(decoded(&vec![vec![vec!["a"]; 10]; 2]).is_err(), "in however many axes");
    }

    #[test]
    fn more_combinations_than_can_be_counted_are_as_many_as_can_be() {
        let thousand: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let items: Vec<&str> = thousand.iter().map(String::as_str).collect();
        let combination = Combination::new(vec![axis(&[&items]); 8]).expect("eight lists");
        assert_eq!(combination.count(), u64::MAX);
        assert!(combination.at(u64::MAX - 1).is_some());
    }
}
