//! The walls between the rooms of `src/`: who may import whom.
//!
//! The table below is the one in docs/ARCHITECTURE.md (a test compares them).
//! Every source file is read as Rust tokens, so that comments and strings do
//! not count and macro arguments do. Planted breaches prove that it bites.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Each room and the rooms it may import. `cli` may import any.
const TABLE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("engine", &["model"]),
    ("wire", &["model"]),
    ("store", &["model", "wire"]),
    ("trust", &["model", "wire"]),
    ("transport", &["model", "wire", "trust"]),
    ("discovery", &["model", "wire", "trust"]),
    ("exec", &["model", "wire"]),
    ("blob", &["model", "wire"]),
    ("telemetry", &["model"]),
    ("node", &["model", "engine", "wire", "store", "trust", "transport", "discovery", "exec", "blob", "telemetry"]),
    ("client", &["model", "wire", "trust", "transport", "discovery", "blob"]),
    ("sim", &["model", "engine", "wire"]),
    ("bench", &["model", "wire", "transport", "blob", "node", "client"]),
    (
        "cli",
        &[
            "model",
            "engine",
            "wire",
            "store",
            "trust",
            "transport",
            "discovery",
            "exec",
            "blob",
            "telemetry",
            "node",
            "client",
            "sim",
            "bench",
        ],
    ),
];

/// Crates that one room keeps to itself.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("quinn", &["transport"]),
    ("quinn_proto", &["transport"]),
    ("rustls", &["trust", "transport"]),
    ("rcgen", &["trust"]),
    ("rusqlite", &["store"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("nix", &["exec", "store", "blob", "trust", "cli", "node", "discovery"]),
    ("socket2", &["transport", "discovery"]),
    ("libc", &["exec"]),
    ("bao_tree", &["blob"]),
];

/// Names that would make the pure rooms impure.
const IMPURE: &[&str] = &[
    "tokio",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "rand",
    "getrandom",
    "thread",
    "net",
    "fs",
    "process",
    "env",
];
/// Rooms that must stay pure.
const PURE: &[&str] = &["model", "engine", "wire", "sim"];
/// What a pure room may name all the same, with the reason.
const ALLOWED_IMPURE: &[(&str, &str)] = &[
    ("model", "env"),   // a field of the job spec, not `std::env`
    ("engine", "env"),  // the same field
    ("wire", "env"),    // the same field, in the shim protocol
    ("sim", "env"),     // the same field, in workloads
    ("sim", "process"), // simulated processes, not `std::process`
    ("sim", "net"),     // the simulated network
];

/// All identifiers that follow `crate ::` or a `super ::` chain leaving the room, and all path heads.
#[derive(Default)]
struct Named {
    rooms: Vec<String>,
    idents: Vec<String>,
}

/// Reads `source`, a file `depth` modules below the crate root (a room's `mod.rs` is at 1).
fn named(source: &str, depth: usize) -> Named {
    let tokens: TokenStream = source.parse().expect("a source file is Rust");
    let mut named = Named::default();
    walk(tokens, depth, &mut named);
    named
}

fn walk(stream: TokenStream, depth: usize, named: &mut Named) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let ident = |i: usize| match tokens.get(i) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    };
    let is_path_separator = |i: usize| {
        matches!(tokens.get(i), Some(TokenTree::Punct(p)) if p.as_char() == ':')
            && matches!(tokens.get(i + 1), Some(TokenTree::Punct(p)) if p.as_char() == ':')
    };
    for i in 0..tokens.len() {
        if let Some(TokenTree::Group(group)) = tokens.get(i) {
            // An inline module adds one level for the `super`s inside it.
            let inner = i >= 2 && group.delimiter() == Delimiter::Brace && ident(i - 2).as_deref() == Some("mod");
            walk(group.stream(), depth + usize::from(inner), named);
        }
        let Some(name) = ident(i) else { continue };
        named.idents.push(name.clone());
        let mut target = match name.as_str() {
            "crate" if is_path_separator(i + 1) => i + 3,
            "super" if !(i >= 3 && ident(i - 3).as_deref() == Some("super")) => {
                let mut at = i;
                let mut supers = 1;
                while is_path_separator(at + 1) && ident(at + 3).as_deref() == Some("super") {
                    at += 3;
                    supers += 1;
                }
                if supers < depth || !is_path_separator(at + 1) {
                    continue;
                }
                at + 3
            }
            _ => continue,
        };
        match tokens.get(target) {
            Some(TokenTree::Ident(room)) => named.rooms.push(room.to_string()),
            Some(TokenTree::Group(group)) => {
                let mut first = true;
                for token in group.stream() {
                    match token {
                        TokenTree::Ident(room) if first => {
                            named.rooms.push(room.to_string());
                            first = false;
                        }
                        TokenTree::Punct(p) if p.as_char() == ',' => first = true,
                        _ => {}
                    }
                }
            }
            _ => target = 0,
        }
        let _ = target;
    }
}

/// Everything wrong with one file of `room`.
fn breaches(room: &str, file: &str, source: &str, depth: usize) -> Vec<String> {
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{file}: the room `{room}` is not in the table")];
    };
    let named = named(source, depth);
    let mut found = Vec::new();
    for target in &named.rooms {
        let is_room = TABLE.iter().any(|(name, _)| name == target);
        if is_room && target != room && !allowed.contains(&target.as_str()) {
            found.push(format!("{file}: `{room}` may not import `{target}`"));
        }
    }
    for (owned, owners) in OWNED_CRATES {
        if !owners.contains(&room) && named.idents.iter().any(|ident| ident == owned) {
            found.push(format!("{file}: only {owners:?} may name the crate `{owned}`"));
        }
    }
    if PURE.contains(&room) {
        for ident in IMPURE {
            let allowed = ALLOWED_IMPURE.contains(&(room, ident));
            if !allowed && named.idents.iter().any(|name| name == ident) {
                found.push(format!("{file}: `{ident}` has no place in the pure room `{room}`"));
            }
        }
    }
    found
}

fn source_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            source_files(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn no_room_imports_more_than_the_table_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    let mut found = Vec::new();
    let mut seen = BTreeMap::new();
    for path in files {
        let relative = path.strip_prefix(&src).expect("below src");
        let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let [room, inner @ ..] = parts.as_slice() else { continue };
        if inner.is_empty() {
            assert!(["lib.rs", "main.rs"].contains(&room.as_str()), "{room} stands beside the rooms");
            continue;
        }
        let is_mod = inner.last().is_some_and(|name| name == "mod.rs");
        let depth = 1 + inner.len() - usize::from(is_mod);
        let source = std::fs::read_to_string(&path).expect("a source file is readable");
        assert!(source.starts_with("//!"), "{} does not say what it is", relative.display());
        found.extend(breaches(room, &relative.display().to_string(), &source, depth));
        *seen.entry(room.clone()).or_insert(0) += 1;
    }
    assert!(found.is_empty(), "breaches of the import table:\n{}", found.join("\n"));
    assert!(seen.len() == TABLE.len(), "every room of the table exists: {seen:?}");
}

#[test]
fn a_planted_breach_is_found_in_every_form() {
    let planted = |room: &str, source: &str, depth: usize| breaches(room, "planted.rs", source, depth).len();
    assert_eq!(planted("engine", "use crate::store::Store;", 2), 1);
    assert_eq!(planted("engine", "use crate::{model::JobId, store};", 2), 1);
    assert_eq!(planted("engine", "use super::super::store::Store;", 2), 1);
    assert_eq!(planted("engine", "fn f() { info!(x = crate::node::now()); }", 2), 1);
    assert_eq!(planted("engine", "mod tests { use super::super::super::node::x; }", 2), 1);
    assert_eq!(planted("engine", "fn f() { std::time::Instant::now(); }", 2), 1);
    assert_eq!(planted("node", "use quinn::Connection;", 2), 1);
    assert_eq!(planted("engine", "use super::super::model::JobId; use super::queue::Queue;", 2), 0);
    assert_eq!(planted("engine", "// use crate::store::Store;\nconst S: &str = \"crate::store\";", 2), 0);
}

#[test]
fn the_architecture_document_shows_this_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let document = std::fs::read_to_string(path).expect("docs/ARCHITECTURE.md is readable");
    for (room, allowed) in TABLE {
        let imports = match *room {
            "cli" => "any".to_owned(),
            _ if allowed.is_empty() => "–".to_owned(),
            _ => allowed.join(", "),
        };
        let row = document.lines().find(|line| line.starts_with(&format!("| `{room}/` |")));
        let row = row.unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no row for `{room}/`"));
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or("").trim();
        assert_eq!(last, imports, "docs/ARCHITECTURE.md says something else about `{room}/`");
    }
}
