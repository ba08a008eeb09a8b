//! The queue: order, arrays, `%MAX`, and what is said to workers.

use super::*;

#[test]
fn a_submitted_task_runs_on_a_free_worker_and_its_success_ends_the_job() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    assert_eq!(scene.on("a"), [task(job, 0)]);
    scene.ends("a", task(job, 0), OK);
    assert_eq!(scene.state(task(job, 0)), TaskState::Succeeded);
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}
