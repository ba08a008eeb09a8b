//! `scripts/install.sh` with the program that was just built: what it puts
//! where, and that it takes away exactly that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn install(arguments: &[&str], prefix: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install.sh");
    let output = Command::new("bash").arg(script).args(arguments).arg("--prefix").arg(prefix).output();
    output.expect("bash is there")
}

fn with_our_binary(prefix: &Path) -> Output {
    install(&["install", "--binary", env!("CARGO_BIN_EXE_octaskly")], prefix)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything below `root`, directories too.
fn below(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("it can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

#[test]
fn an_installation_works_and_its_removal_leaves_what_was_there_before() {
    let place = tempfile::tempdir().expect("a directory");
    let prefix = place.path().join("a prefix");
    fs::create_dir_all(prefix.join("bin")).expect("a directory");
    fs::write(prefix.join("bin/another"), "mine").expect("a file");
    let before = below(place.path());

    for _again in 0..2 {
        let done = with_our_binary(&prefix);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let list = prefix.join("lib/octaskly/installed");
        let listed = fs::read_to_string(&list).expect("it is there");
        let files = listed.lines().filter(|line| !line.ends_with('/')).count();
        let said = text(&done.stdout);
        assert!(
            said.contains(&format!("The {files} files of it")) && said.contains(&*list.to_string_lossy()),
            "{said}"
        );
    }
    let version = Command::new(prefix.join("bin/octaskly")).arg("--version").output().expect("it runs");
    assert_eq!(text(&version.stdout), "octaskly 1.0.0\n");
    for file in ["share/man/man1/octaskly-run.1", "share/bash-completion/completions/octaskly"] {
        assert!(fs::metadata(prefix.join(file)).expect("it is there").len() > 0, "{file}");
    }

    let done = install(&["uninstall"], &prefix);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(below(place.path()), before);
}

#[test]
fn what_cannot_be_installed_or_removed_is_said_in_one_line() {
    let place = tempfile::tempdir().expect("a directory");
    let nothing = install(&["uninstall"], place.path());
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).starts_with("error: nothing is installed below "), "{}", text(&nothing.stderr));

    let missing = install(&["install", "--binary", "/no/such/program"], place.path());
    assert_eq!((missing.status.code(), text(&missing.stderr).lines().count()), (Some(1), 1));

    let file = place.path().join("file");
    fs::write(&file, "").expect("a file");
    assert_eq!(with_our_binary(&file).status.code(), Some(1));
    assert_eq!(below(place.path()).len(), 1, "nothing is left of the attempts");

    assert_eq!(install(&["reinstall"], place.path()).status.code(), Some(2));
}

#[test]
fn a_list_that_was_tampered_with_leads_to_no_other_file() {
    let place = tempfile::tempdir().expect("a directory");
    let (prefix, precious) = (place.path().join("prefix"), place.path().join("precious"));
    assert!(with_our_binary(&prefix).status.success());
    fs::write(&precious, "mine").expect("a file");
    let list = prefix.join("lib/octaskly/installed");
    let named = fs::read_to_string(&list).expect("it is there");
    fs::write(&list, format!("../precious\nbin/../../precious\n{named}")).expect("it can be written");
    assert!(install(&["uninstall"], &prefix).status.success());
    assert!(precious.exists());
}
