//! Which folder may name which: ARCHITECTURE.md promises these directions, and this test keeps the promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// For each top-level module of the library, the other top-level modules that its code may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("vector", &[]),
    ("cholesky", &["vector"]),
    ("data", &[]),
    ("logistic", &[]),
    ("loss", &["data", "logistic"]),
    ("ode", &["cholesky", "vector"]),
    ("net", &["logistic", "vector"]),
    ("flow", &["cholesky", "data", "loss", "net", "ode", "vector"]),
    ("ntk", &["cholesky", "flow", "net", "ode", "vector"]),
    ("observe", &["flow", "loss", "net", "ntk", "ode", "vector"]),
    ("scenario", &["data", "loss", "net"]),
    ("descent", &["data", "flow", "net", "ntk", "observe", "ode", "scenario", "simulate", "vector"]),
    ("record", &["descent", "net", "ntk", "observe", "ode", "scenario", "simulate", "theory"]),
    ("report", &["record"]),
    (
        "theory",
        &["data", "descent", "flow", "logistic", "net", "ntk", "observe", "ode", "scenario", "simulate", "vector"],
    ),
    ("sweep", &["record", "scenario", "simulate"]),
    ("simulate", &["data", "flow", "loss", "net", "ntk", "observe", "ode", "scenario", "vector"]),
];

/// Modules of the binary: they use the library from outside, as `gradflow::…`.
const BINARY: &[&str] = &["cli", "main"];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The top-level module a file of `src` belongs to.
fn module_of(path: &Path, src: &Path) -> String {
    let first = path.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Code of a line without comments; documentation may refer to anything.
fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

/// Top-level modules that `code` names by a path after `root` (`crate::` or `gradflow::`), nested imports included.
fn named(code: &str, root: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        let is_path_start = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if !is_path_start {
            continue;
        }
        let rest = code[at + root.len()..].trim_start();
        match rest.strip_prefix('{') {
            None => names.extend(first_word(rest)),
            Some(list) => {
                let (mut depth, mut item) = (0, String::new());
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.extend(first_word(&std::mem::take(&mut item))),
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                names.extend(first_word(&item));
            }
        }
    }
    names
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// Module → (named module → a file that names it).
fn uses(root: &str) -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20, "only {} source files were found in {}", files.len(), src.display());
    let mut all: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code: String = text.lines().map(|line| format!("{}\n", code_of(line))).collect();
        let by = all.entry(module_of(&file, &src)).or_default();
        for name in named(&code, root) {
            by.entry(name).or_insert_with(|| file.clone());
        }
    }
    all
}

#[test]
fn folders_name_only_what_the_architecture_allows() {
    let mut wrong = Vec::new();
    for (module, names) in uses("crate::") {
        if module == "lib" || BINARY.contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_NAME.iter().find(|(m, _)| *m == module) else {
            wrong.push(format!("{module} has no line in MAY_NAME and in ARCHITECTURE.md"));
            continue;
        };
        for (name, file) in names {
            if name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{module} names {name} (in {}); it may name {allowed:?}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_library_never_names_the_command_line() {
    for root in ["crate::", "gradflow::"] {
        for (module, names) in uses(root) {
            let is_binary = BINARY.contains(&module.as_str());
            for (name, file) in names {
                let is_wrong = !is_binary && (BINARY.contains(&name.as_str()) || root == "gradflow::");
                assert!(!is_wrong, "{module} names {root}{name} in {}", file.display());
            }
        }
    }
}

#[test]
fn directions_contain_no_cycle() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_NAME.iter().copied().collect();
    let mut done: Vec<&str> = Vec::new();
    while done.len() < allowed.len() {
        let next = allowed.iter().find(|(m, names)| !done.contains(m) && names.iter().all(|n| done.contains(n)));
        let Some((module, _)) = next else { panic!("a cycle among the modules other than {done:?}") };
        done.push(module);
    }
}

#[test]
fn the_scan_sees_single_nested_and_inline_paths() {
    let code = "use crate::data::Data;\nuse crate::{net::{Batch, Held}, vector::dot};\nlet x = crate::ode::Mode::new(p);\npub(crate) fn f() {}";
    let found: Vec<String> = named(code, "crate::").into_iter().collect();
    assert_eq!(found, ["data", "net", "ode", "vector"]);
    assert_eq!(code_of("let a = 1; // crate::cli"), "let a = 1; ");
}
