//! Where tasks go: capacity, labels, fairness between demands.

use super::*;

#[test]
fn what_a_task_asks_for_is_never_oversubscribed() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { slots: 8, cpu: MilliCpu(4000), memory_bytes: 1000, gpus: 2, ..Capacity::default() });
    let demand = Demand { cpu: MilliCpu(1500), memory_bytes: 300, ..Demand::default() };
    scene.submit(JobSpec { demand, ..array(8) });
    assert_eq!(scene.on("a").len(), 2, "two take 3 of 4 cores");
    scene.submit(JobSpec { demand: memory(300), priority: 1, ..array(8) });
    assert_eq!(scene.on("a").len(), 3, "400 bytes were left");
    scene.submit(array(20));
    assert_eq!(scene.on("a").len(), 7, "what asks for nothing takes all but the slot kept for who waits first");
}

#[test]
fn gpus_are_given_out_by_index_and_never_twice() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { slots: 8, gpus: 3, ..Capacity::default() });
    let job = scene.submit(JobSpec { demand: Demand { gpus: 1, ..Demand::default() }, ..array(5) });
    let given = |scene: &Scene| -> Vec<u32> {
        let mut given: Vec<u32> = scene.workers["a"].holds.values().flat_map(|held| held.gpus.clone()).collect();
        given.sort_unstable();
        given
    };
    assert_eq!(given(&scene), [0, 1, 2]);
    scene.ends("a", task(job, 2), OK);
    assert_eq!(given(&scene), [0, 1, 2], "the freed one went to the next task");
}

#[test]
fn named_resources_are_reserved_like_any_other() {
    let mut scene = Scene::new();
    let resources = BTreeMap::from([("licence".to_owned(), 2)]);
    scene.worker("a", Capacity { resources: resources.clone(), ..slots(8) });
    scene.worker("b", slots(8));
    let one = Demand { resources: BTreeMap::from([("licence".to_owned(), 1)]), ..Demand::default() };
    scene.submit(JobSpec { demand: one, ..array(5) });
    assert_eq!((scene.on("a").len(), scene.on("b").len()), (2, 0));
}

#[test]
fn a_task_goes_only_to_workers_with_its_labels_the_implicit_ones_among_them() {
    let mut scene = Scene::new();
    let mut profile = scene.profile(Some("a"), slots(8));
    profile.labels.insert("zone".to_owned(), "north".to_owned());
    scene.joins("a", profile).expect("let in");
    scene.worker("b", slots(8));
    let wants = |pairs: &[(&str, &str)]| JobSpec {
        labels: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..single()
    };
    let zoned = scene.submit(wants(&[("zone", "north"), ("os", "linux")]));
    let named = scene.submit(wants(&[("name", "b")]));
    let nowhere = scene.submit(wants(&[("os", "windows")]));
    let anywhere = scene.submit(wants(&[("os", "any"), ("arch", "any"), ("name", "b")]));
    assert_eq!(scene.on("a"), [task(zoned, 0)]);
    assert_eq!(scene.on("b"), [task(named, 0), task(anywhere, 0)]);
    assert_eq!(scene.state(task(nowhere, 0)), TaskState::Ready);
}

#[test]
fn a_worker_cannot_pretend_an_implicit_label() {
    let mut scene = Scene::new();
    let mut profile = scene.profile(Some("a"), slots(8));
    profile.labels.insert("name".to_owned(), "b".to_owned());
    profile.labels.insert("os".to_owned(), "plan9".to_owned());
    scene.joins("a", profile).expect("let in");
    let labels = BTreeMap::from([("name".to_owned(), "b".to_owned())]);
    scene.submit(JobSpec { labels, ..single() });
    assert_eq!(scene.on("a"), []);
}

#[test]
fn a_task_that_asks_for_more_isolation_than_a_worker_gives_is_not_placed_there() {
    let mut scene = Scene::new();
    scene.worker("a", slots(8));
    scene.submit(JobSpec { isolation: Isolation::Strict, ..single() });
    assert_eq!(scene.on("a"), []);
    let bare = scene.submit(JobSpec { isolation: Isolation::None, ..single() });
    assert_eq!(scene.on("a"), [task(bare, 0)]);
}

#[test]
fn tasks_are_spread_over_the_workers_with_most_room() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.worker("b", slots(2));
    scene.submit(array(4));
    assert_eq!((scene.on("a").len(), scene.on("b").len()), (3, 1));
}

#[test]
fn a_demand_that_fits_nowhere_never_blocks_another() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    for bytes in [100_000, 200_000, 300_000] {
        scene.submit(JobSpec { demand: memory(bytes), priority: 9, ..array(10) });
    }
    let small = scene.submit(array(4));
    assert_eq!(scene.on("a").len(), 4);
    assert!(scene.on("a").iter().all(|task| task.job == small));
}

#[test]
fn small_tasks_behind_a_big_one_do_not_starve_it() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { memory_bytes: 100, ..slots(8) });
    let first = scene.submit(JobSpec { demand: memory(25), ..array(4) });
    let big = scene.submit(JobSpec { demand: memory(100), ..single() });
    let small = scene.submit(JobSpec { demand: memory(25), ..array(100) });
    for index in 1..=4 {
        assert_eq!(scene.state(task(big, 0)), TaskState::Ready);
        scene.ends("a", task(first, index), OK);
        assert!(scene.on("a").iter().all(|task| task.job != small), "what comes free is kept for the big one");
    }
    assert_eq!(scene.on("a"), [task(big, 0)]);
    scene.ends("a", task(big, 0), OK);
    assert_eq!(scene.on("a").len(), 4, "then the small ones have their turn");
}

#[test]
fn what_is_kept_for_a_big_task_leaves_the_rest_to_others() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { memory_bytes: 100, ..slots(8) });
    let first = scene.submit(JobSpec { demand: memory(60), ..single() });
    let big = scene.submit(JobSpec { demand: memory(100), ..single() });
    let idle = scene.submit(array(3));
    assert_eq!(scene.on("a").iter().filter(|task| task.job == idle).count(), 3, "they ask for no memory");
    scene.ends("a", task(first, 0), OK);
    assert!(scene.on("a").contains(&task(big, 0)));
}

#[test]
fn a_more_urgent_task_takes_what_is_kept_for_a_big_one() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { memory_bytes: 100, ..slots(8) });
    scene.submit(JobSpec { demand: memory(50), ..single() });
    let big = scene.submit(JobSpec { demand: memory(100), ..single() });
    let urgent = scene.submit(JobSpec { demand: memory(50), priority: 1, ..single() });
    assert!(scene.on("a").contains(&task(urgent, 0)));
    assert_eq!(scene.state(task(big, 0)), TaskState::Ready);
}

#[test]
fn room_is_kept_elsewhere_when_the_worker_that_kept_it_goes() {
    let mut scene = Scene::new();
    for who in ["a", "b"] {
        scene.worker(who, Capacity { memory_bytes: 100, ..slots(8) });
    }
    let first = scene.submit(JobSpec { demand: memory(60), ..array(2) });
    let big = scene.submit(JobSpec { demand: memory(100), ..single() });
    let keeper = if scene.on("a").is_empty() { "b" } else { "a" };
    let other = if keeper == "a" { "b" } else { "a" };
    scene.loses_its_link(keeper);
    let small = scene.submit(JobSpec { demand: memory(30), ..array(9) });
    assert!(scene.on(other).iter().all(|task| task.job != small), "the other one keeps it now");
    let running = scene.on(other)[0];
    assert_eq!(running.job, first);
    scene.ends(other, running, OK);
    assert_eq!(scene.on(other), [task(big, 0)]);
}

#[test]
fn a_worker_that_comes_back_empty_takes_what_waits() {
    let mut scene = Scene::new();
    let job = scene.submit(JobSpec { demand: memory(50_000), ..array(2) });
    scene.worker("a", slots(1));
    scene.worker("b", slots(1));
    assert_eq!((scene.on("a"), scene.on("b")), (vec![task(job, 1)], vec![task(job, 2)]));
}

#[test]
fn a_hundred_demands_wait_without_being_in_each_others_way() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { memory_bytes: 100, ..slots(100) });
    let jobs: Vec<JobId> = (1..=100).map(|bytes| scene.submit(JobSpec { demand: memory(bytes), ..single() })).collect();
    let mut done = 0;
    while let Some(task) = scene.on("a").first().copied() {
        scene.ends("a", task, OK);
        done += 1;
    }
    assert_eq!(done, jobs.len());
}
