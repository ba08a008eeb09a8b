//! What a worker lacks for a task, in the words of `octaskly explain`.

use super::room::{Measure, Room};
use super::{ClassId, Placement, Requirement, Traits, WorkerKey};
use crate::model::Demand;

/// Bytes for people: `512 MiB`, `8.0 GiB`.
fn bytes(amount: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    match amount {
        0..MIB => format!("{amount} bytes"),
        MIB..GIB => format!("{} MiB", amount / MIB),
        _ => format!("{:.1} GiB", amount as f64 / GIB as f64),
    }
}

/// Thousandths of a core for people: `2`, `0.5`.
fn cores(milli: u64) -> String {
    if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { (milli as f64 / 1000.0).to_string() }
}

impl Traits {
    /// What it lacks for such a task even when idle.
    pub(super) fn lacks(&self, requirement: &Requirement) -> Vec<String> {
        let (kind, demand, capacity) = (&requirement.kind, &requirement.demand, &self.capacity);
        let mut lacks: Vec<String> =
            self.missing_labels(kind).map(|(key, value)| format!("label: {key}={value}")).collect();
        if self.isolation < kind.isolation {
            let (wants, gives) = (word(kind.isolation), word(self.isolation));
            lacks.push(format!("isolation: wants {wants}, gives {gives}"));
        }
        if capacity.slots == 0 {
            lacks.push("slots: has none".to_owned());
        }
        let mut compare = |what: &str, wanted: u64, has: u64, show: &dyn Fn(u64) -> String| {
            if has < wanted {
                lacks.push(format!("{what}: wants {}, has {}", show(wanted), show(has)));
            }
        };
        compare("cpu", u64::from(demand.cpu.0), u64::from(capacity.cpu.0), &cores);
        compare("memory", demand.memory_bytes, capacity.memory_bytes, &bytes);
        compare("gpus", u64::from(demand.gpus), u64::from(capacity.gpus), &|n| n.to_string());
        for (name, amount) in &demand.resources {
            let has = capacity.resources.get(name).copied().unwrap_or(0);
            compare(&format!("resource {name}"), *amount, has, &|n| n.to_string());
        }
        lacks
    }
}

fn word(isolation: crate::model::spec::Isolation) -> &'static str {
    use crate::model::spec::Isolation;
    match isolation {
        Isolation::None => "none",
        Isolation::Basic => "basic",
        Isolation::Strict => "strict",
    }
}

impl Room {
    /// What is not free now for such a task.
    fn lacks(&self, demand: &Demand) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.slots() == 0 {
            let all = self.capacity().slots;
            lacks.push(format!("slots: {all} of {all} taken"));
        }
        let mut compare = |what: &str, measure: &Measure, show: &dyn Fn(u64) -> String| {
            let (wanted, free) = (measure.wanted(demand), self.free(measure));
            if free < wanted {
                lacks.push(format!("{what}: wants {}, {} free", show(wanted), show(free)));
            }
        };
        compare("cpu", &Measure::Cpu, &cores);
        compare("memory", &Measure::Memory, &bytes);
        compare("gpus", &Measure::Gpus, &|n| n.to_string());
        for name in demand.resources.keys() {
            compare(&format!("resource {name}"), &Measure::Resource(name.clone()), &|n| n.to_string());
        }
        lacks
    }
}

impl Placement {
    /// What a worker lacks for the next task of a class, and whether it always
    /// will; empty when it fits now.
    pub(in super::super) fn lacks(&self, id: ClassId, worker: WorkerKey) -> (Vec<String>, bool) {
        let requirement = &self.class(id).requirement;
        let Some(seat) = self.seats.get(&worker) else { return (vec!["link: is not connected".to_owned()], false) };
        let lacks = seat.traits.lacks(requirement);
        if !lacks.is_empty() {
            return (lacks, true);
        }
        let mut lacks: Vec<String> = self.lacks_directory(id, worker).into_iter().collect();
        lacks.extend(seat.room.lacks(&requirement.demand));
        if requirement.avoid == Some(worker) {
            lacks.push("retry: failed here before, another worker is preferred".to_owned());
        } else if lacks.is_empty() && seat.open && !self.fits(id, worker) {
            lacks.push("room: reserved for a task ahead".to_owned());
        }
        (lacks, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_a_person_would_write_them() {
        assert_eq!([bytes(12), bytes(512 << 20), bytes(8 << 30)], ["12 bytes", "512 MiB", "8.0 GiB"]);
        assert_eq!([cores(2000), cores(500)], ["2", "0.5"]);
    }
}
