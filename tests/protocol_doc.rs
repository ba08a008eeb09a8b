//! docs/PROTOCOL.md says the numbers that the source has.
//!
//! Every row of its table of limits names a constant; its value is read from
//! the source, worked out, and compared with what the page says, unit and all.
//! So are the close codes. Absent: any judgement of the prose.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use octaskly::transport::CloseCode;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All constants of `src/`, by name, as they are written; tests inside of files do not count.
fn constants() -> BTreeMap<String, String> {
    let mut constants = BTreeMap::new();
    for path in sources(&root().join("src")) {
        let text = fs::read_to_string(&path).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().replace('\n', " ");
        for piece in text.split("const ").skip(1) {
            let Some((name, rest)) = piece.split_once(':') else { continue };
            let Some((value, _)) = rest.split_once(" = ").and_then(|(_, value)| value.split_once(';')) else {
                continue;
            };
            if name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') && name.len() > 1 {
                constants.entry(name.to_owned()).or_insert_with(|| value.trim().to_owned());
            }
        }
    }
    constants
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Works out sums and products of numbers and other constants. Times come out in milliseconds, because whatever
/// wraps them says so.
fn value(expression: &str, constants: &BTreeMap<String, String>) -> u64 {
    let expression = expression.trim();
    if let Some(seconds) =
        ["Duration::from_secs(", "Millis::from_secs("].iter().find_map(|it| expression.strip_prefix(it))
    {
        return 1000 * value(seconds.trim_end_matches(')'), constants);
    }
    if let Some(millis) = ["Duration::from_millis(", "Millis("].iter().find_map(|it| expression.strip_prefix(it)) {
        return value(millis.trim_end_matches(')'), constants);
    }
    if let Some((sum, factor)) = expression.strip_prefix('(').and_then(|it| it.split_once(')'))
        && let Some(factor) = factor.trim().strip_prefix('*')
    {
        return value(sum, constants) * value(factor, constants);
    }
    if let Some((left, right)) = expression.split_once('+') {
        return value(left, constants) + value(right, constants);
    }
    if let Some((left, right)) = expression.split_once('*') {
        return value(left, constants) * value(right, constants);
    }
    let bare = expression.trim_end_matches(".0").replace('_', "");
    let digits: String = bare.chars().take_while(char::is_ascii_digit).collect();
    if let Ok(number) = digits.parse() {
        return number;
    }
    let name = expression.trim_end_matches(".0").rsplit("::").next().unwrap_or_default();
    let named = constants.get(name).unwrap_or_else(|| panic!("nothing is known of {expression:?}"));
    value(named, constants)
}

/// What the page says, in bytes, milliseconds or pieces.
fn said(text: &str) -> u64 {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "s" => 1000,
        other => panic!("{other:?} is no unit that this test knows"),
    };
    factor * number.parse::<u64>().unwrap_or_else(|_| panic!("{number:?} is no number"))
}

/// The rows of the table below the heading `## …`, cell by cell.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).expect("the section");
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/PROTOCOL.md")).expect("the page")
}

#[test]
fn every_limit_on_the_page_is_the_one_in_the_source() {
    let constants = constants();
    let rows = rows(&page(), "Limits");
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in rows {
        let [what, limit, name] = &row[..] else { panic!("{row:?} has other columns") };
        let name = name.trim_matches('`');
        let source = constants.get(name).unwrap_or_else(|| panic!("there is no constant {name} ({what})"));
        assert_eq!(said(limit), value(source, &constants), "{what}: {name} = {source}");
    }
}

#[test]
fn every_close_code_is_on_the_page_with_its_number() {
    let rows = rows(&page(), "Close codes");
    for (number, row) in (0..).zip(&rows) {
        let named = format!("`{:?}`", CloseCode::from_number(number));
        assert_eq!((&row[0], &row[1]), (&number.to_string(), &named));
    }
    let next = u32::try_from(rows.len()).expect("few");
    assert_eq!(CloseCode::from_number(next), CloseCode::Other(next), "one is missing on the page");
}
