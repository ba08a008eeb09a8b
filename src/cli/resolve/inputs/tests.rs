//! What `--in` and `--out` mean, text by text.

use super::*;
use crate::cli::error::CliError;

/// A folder with `a.log`, `b.log` and `tree/inner.txt`.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("tree")).expect("a folder");
        for name in ["a.log", "b.log", "tree/inner.txt"] {
            std::fs::write(directory.path().join(name), name).expect("writes");
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("text").to_owned()
    }
}

fn list(items: &[&str]) -> Items {
    Items::List(items.iter().map(|item| RawString::from(*item)).collect())
}

fn files_of(command: &str, items: &Items, inputs: &[&str], outputs: &[&str]) -> Result<Files, CliError> {
    let raw = |texts: &[&str]| texts.iter().map(OsString::from).collect::<Vec<_>>();
    files(&raw(inputs), &raw(outputs), (&CommandLine::Shell(command.into()), items), true)
}

fn inputs(inputs: &[&str]) -> Vec<InputSpec> {
    files_of("true", &Items::Single, inputs, &[]).expect("files").inputs
}

fn said(items: &Items, inputs: &[&str], outputs: &[&str]) -> String {
    files_of("cat {}", items, inputs, outputs).expect_err("refused").line()
}

#[test]
fn a_file_outside_is_put_under_its_last_part_or_the_name_it_is_given() {
    let desk = Desk::new();
    let found = inputs(&[&desk.path("a.log"), &format!("{}=data/in.txt", desk.path("a.log"))]);
    assert_eq!(found.iter().map(|input| input.name.to_string()).collect::<Vec<_>>(), ["a.log", "data/in.txt"]);
    let file = digest_of(b"a.log");
    let is_it = |input: &InputSpec| matches!(&input.source, InputSource::Shared(Content::File { blob, .. }) if blob.digest == file);
    assert!(found.iter().all(is_it), "{found:?}");
}

#[test]
fn a_directory_is_a_tree_and_its_files_come_along() {
    let desk = Desk::new();
    let found = files_of("true", &Items::Single, &[&desk.path("tree")], &[]).expect("files");
    assert!(matches!(found.inputs[0].source, InputSource::Shared(Content::Tree { total_bytes: 14, .. })));
    assert_eq!(found.luggage.len(), 2, "a file and the manifest");
}

#[test]
fn outputs_of_other_jobs_are_waited_for_and_the_last_one_is_marked() {
    let found = files_of("true", &Items::Single, &["5:out.csv", "5.3:out.csv=third", "last:x"], &[]).expect("files");
    assert_eq!(found.producers, BTreeSet::from([JobId(5)]));
    assert_eq!(found.of_last, [2]);
    let index = |input: &InputSpec| match &input.source {
        InputSource::Output { index, .. } => *index,
        _ => panic!("not an output: {input:?}"),
    };
    assert_eq!(found.inputs.iter().map(index).collect::<Vec<_>>(), [None, Some(TaskIndex(3)), None]);
    assert_eq!(found.inputs[1].name, "third".into());
}

#[test]
fn each_task_has_its_own_file_when_the_path_varies() {
    let desk = Desk::new();
    let template = format!("{}/{{}}", desk.0.path().display());
    let found = files_of("cat {}", &list(&["a.log", "b.log"]), &[&template], &[]).expect("files");
    let InputSource::PerTask(contents) = &found.inputs[0].source else { panic!("{:?}", found.inputs) };
    let digests: Vec<_> = contents.iter().map(|content| content.blob().digest).collect();
    assert_eq!(digests, [digest_of(b"a.log"), digest_of(b"b.log")]);
    assert_eq!(found.inputs[0].name, "{}".into());
}

#[test]
fn an_item_that_is_put_elsewhere_is_refused_where_the_command_would_look_for_it() {
    let desk = Desk::new();
    let items = list(&[&desk.path("a.log"), &desk.path("b.log")]);
    let refused = said(&items, &["{}"], &[]);
    assert!(refused.contains("is put under its last part"), "{refused}");
    let fine = files_of("cat {/}", &items, &["{}"], &[]).expect("files");
    assert_eq!(fine.inputs[0].name, "{/}".into());
    let named = files_of("cat {} < input", &items, &["{}=input"], &[]).expect("files");
    assert_eq!(named.inputs[0].name, "input".into());
}

#[test]
fn of_several_lists_a_path_takes_the_one_it_names() {
    let desk = Desk::new();
    let axis = |items: &[&str]| {
        crate::model::Axis::new(vec![items.iter().map(|item| RawString::from(*item)).collect()]).expect("an axis")
    };
    let items = crate::model::Combination::new(vec![axis(&["1", "2"]), axis(&["a.log", "b.log"])]).expect("two lists");
    let template = format!("{}/{{2}}", desk.0.path().display());
    let found = files_of("cat {2}", &Items::Combined(items), &[&template], &[]).expect("files");
    let InputSource::PerTask(contents) = &found.inputs[0].source else { panic!("{:?}", found.inputs) };
    let (a, b) = (digest_of(b"a.log"), digest_of(b"b.log"));
    assert_eq!(contents.iter().map(|content| content.blob().digest).collect::<Vec<_>>(), [a, b, a, b]);
}

#[test]
fn what_cannot_be_sent_or_brought_back_is_refused_by_name() {
    let desk = Desk::new();
    let fifo = desk.path("fifo");
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let socket = desk.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    for odd in [fifo.as_str(), socket.as_str(), "/dev/null"] {
        let line = said(&Items::Single, &[odd], &[]);
        assert!(line.contains(odd), "{line}");
    }
    for gone in ["/no/such/file", "", "/no/such/*"] {
        assert!(!said(&Items::Single, &[gone], &[]).is_empty());
    }
    for outside in ["/etc/passwd", "../x", "a/../../x", ""] {
        let line = said(&Items::Single, &[], &[outside]);
        assert!(line.contains("--out"), "{line}");
    }
    let pair = list(&["x/a", "y/a"]);
    assert!(said(&pair, &[], &["same"]).contains("every task would bring back the same file"));
    assert!(said(&pair, &[], &["{/}"]).contains("two tasks would bring back \"a\""));
}

#[test]
fn more_files_than_a_job_has_are_refused_before_one_is_read() {
    let nowhere: Vec<String> = (0..=MAX_INPUTS).map(|number| format!("/nowhere/{number}")).collect();
    let nowhere: Vec<&str> = nowhere.iter().map(String::as_str).collect();
    assert_eq!(
        said(&Items::Single, &nowhere, &[]),
        r#"invalid value "/nowhere/1024" for --in: a job has at most 1024 of them"#
    );
    assert_eq!(
        said(&Items::Single, &[], &nowhere),
        r#"invalid value "/nowhere/1024" for --out: a job has at most 1024 of them"#
    );
}
