//! Which directory `--cwd` means: the one that it names here, by its absolute path.
//!
//! Invariant: a relative path means what `cd` would make of it in the user's shell, so symbolic links on the way keep
//! their names: those are often the same on every machine when what is behind them is not. Absent: whether the
//! directory exists, which each worker finds out for itself.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use super::Environment;
use crate::cli::error::{CliError, Place};
use crate::cli::value::ValueError;
use crate::exec::has_placeholder;
use crate::model::spec::Workdir;
use crate::model::{Items, RawString};

/// What `--cwd` means for a job that ranges over `items`.
pub(super) fn workdir(given: &OsStr, items: &Items, environment: &Environment) -> Result<Workdir, CliError> {
    let path = absolute(given, items, environment);
    let path = path.map_err(|error| CliError::value(Place::Option("--cwd"), given, error))?;
    Ok(Workdir::Existing(RawString::from(path.as_os_str())))
}

fn absolute(given: &OsStr, items: &Items, environment: &Environment) -> Result<PathBuf, ValueError> {
    let bytes = RawString::from(given);
    if bytes.is_empty() {
        return Err(ValueError::Empty);
    }
    // A shell would have replaced it, had it stood at the beginning of a word.
    if bytes.as_bytes().starts_with(b"~") {
        return Err(ValueError::TildeLeft);
    }
    if *items != Items::Single && has_placeholder(bytes.as_bytes(), items.lists()) {
        return Err(ValueError::NotFilledIn);
    }
    if Path::new(given).is_absolute() {
        // Without `.`, repeated and last slashes, so that one directory goes by one name.
        return Ok(Path::new(given).components().collect());
    }
    let mut path = current(environment).map_err(|error| ValueError::NoCurrentDirectory(error.to_string()))?;
    for component in Path::new(given).components() {
        match component {
            Component::ParentDir => _ = path.pop(),
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

/// The current directory: by the name that the shell has for it, where that is right.
fn current(environment: &Environment) -> io::Result<PathBuf> {
    let physical = std::env::current_dir()?;
    let logical = environment.get("PWD").map(PathBuf::from).filter(|path| path.is_absolute() && is_plain(path));
    let is_same = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|found| found == physical);
    Ok(logical.filter(is_same).map_or(physical, |path| path.components().collect()))
}

/// Whether a path has no `.` and `..` in it: what a shell keeps in `PWD`.
fn is_plain(path: &Path) -> bool {
    path.to_str().is_none_or(|text| text.split('/').all(|part| part != "." && part != ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(given: &str, pwd: &str) -> String {
        let environment: Environment = [("PWD", pwd)].into_iter().collect();
        absolute(OsStr::new(given), &Items::Single, &environment).expect("a path").to_string_lossy().into_owned()
    }

    #[test]
    fn a_relative_directory_is_the_one_that_cd_would_go_to() {
        // By a name that only the shell knows: a symbolic link to where this process is.
        let folder = tempfile::tempdir().expect("a directory");
        let link = folder.path().join("work");
        std::os::unix::fs::symlink(std::env::current_dir().expect("it exists"), &link).expect("a link");
        let pwd = link.to_str().expect("text");
        let within = |name: &str| format!("{}{name}", folder.path().display());
        assert_eq!(meant(".", pwd), within("/work"));
        assert_eq!(meant("./src//a/./b/", pwd), within("/work/src/a/b"));
        assert_eq!((meant("..", pwd), meant("../other", pwd)), (within(""), within("/other")));
        assert_eq!(meant("../../../../../../../../../..", pwd), "/");
    }

    #[test]
    fn a_pwd_that_names_another_directory_is_not_believed() {
        let here = std::env::current_dir().expect("it exists").to_string_lossy().into_owned();
        for pwd in ["/", "/nowhere/at/all", "src", "", &format!("{here}/../x"), &format!("{here}/.")] {
            assert_eq!(meant(".", pwd), here, "PWD={pwd}");
        }
    }

    #[test]
    fn an_absolute_directory_stays_as_it_is_but_for_what_names_nothing() {
        assert_eq!(meant("/data/../scratch/", "/"), "/data/../scratch");
        assert_eq!((meant("//data//run/.", "/"), meant("/", "/")), ("/data/run".to_owned(), "/".to_owned()));
    }

    #[test]
    fn a_directory_that_nobody_would_find_is_refused_with_what_to_write() {
        let refused = |given: &str, items: &Items| {
            absolute(OsStr::new(given), items, &Environment::default()).expect_err("refused")
        };
        assert_eq!(refused("", &Items::Single), ValueError::Empty);
        for given in ["~", "~/data", "~anna/data"] {
            assert_eq!(refused(given, &Items::Single), ValueError::TildeLeft);
        }
        let array = Items::Range { first: 1, last: 3, step: 1 };
        assert_eq!(refused("/data/{}", &array), ValueError::NotFilledIn);
        assert!(refused("/data/{}", &array).hint().is_some_and(|hint| hint.contains("cd ")));
        assert_eq!(meant("/data/{}", "/"), "/data/{}", "without an array it is a name like any other");
    }
}
