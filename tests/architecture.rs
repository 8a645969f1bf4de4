//! The rules of the house, checked against its source.
//!
//! The order of the rooms is written in one place, `src/lib.rs`: each paragraph of `mod` lines is
//! one step, from the ground up. A room may use the rooms on lower steps; never one beside it,
//! never one above.

use std::{fs, path::Path};

/// Rooms that only compute: no runtime, no disk, no network.
const PURE: &[&str] = &["domain", "problem", "wire"];
const IMPURE: &[&str] = &["tokio::", "axum::", "redb::", "reqwest::", "std::fs", "std::net::Tcp"];

const LONGEST_FILE: usize = 500;

#[test]
fn stairs_only_lead_down() {
    let map = fs::read_to_string("src/lib.rs").expect("readable map");
    let steps: Vec<&str> = map.split("\n\n").filter(|step| step.contains("mod ")).collect();
    let step = |room: &str| {
        let declared = format!("mod {room};");
        steps.iter().position(|step| step.lines().any(|line| line.ends_with(&declared)))
    };
    check(|file| {
        let Some(here) = step(file.room) else {
            return vec![format!("{} is not on the map in lib.rs", file.room)];
        };
        let lower = |used: &str| step(used).is_none_or(|there| there < here);
        let used = file.code.match_indices("crate::");
        used.flat_map(|(at, path)| first_names(&file.code[at + path.len()..]))
            .filter(|used| used != file.room && !lower(used))
            .map(|used| format!("{} may not use {used}", file.room))
            .collect()
    });
}

#[test]
fn rooms_are_entered_by_name() {
    // `super::` out of a room would pass the stairs unseen.
    check(|file| {
        let climbs = file.code.contains("super::super");
        let leaves = file.is_door && file.code.replace("super::*", "").contains("super::");
        Vec::from_iter((climbs || leaves).then(|| "write crate::<room>:: instead of super".into()))
    });
}

#[test]
fn pure_rooms_stay_pure() {
    check(|file| {
        let found = IMPURE.iter().filter(|word| file.code.contains(**word));
        let found = found.map(|word| format!("{} may not use {word}", file.room));
        if PURE.contains(&file.room) { found.collect() } else { Vec::new() }
    });
}

#[test]
fn files_stay_readable() {
    check(|file| {
        let lines = file.text.lines().count();
        Vec::from_iter((lines > LONGEST_FILE).then(|| format!("{lines} lines")))
    });
}

#[test]
fn every_file_says_what_it_is() {
    check(|file| {
        let stated = file.text.starts_with("//! ") || file.is_tests;
        Vec::from_iter((!stated).then(|| "begins without a //! line".into()))
    });
}

struct Source<'a> {
    room: &'a str,
    text: &'a str,
    /// The text without comment lines, so that a doc link does not count as use.
    code: String,
    is_door: bool,
    is_tests: bool,
}

/// Holds every file of every room against one rule, and reports all breaches together.
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let src = Path::new("src");
    let mut breaches = Vec::new();
    visit(src, &mut |path| {
        let inside = path.strip_prefix(src).expect("walked from root").to_string_lossy();
        let room = inside.split(['/', '.']).next().unwrap_or_default();
        if room == "lib" || room == "main" {
            return;
        }
        let text = fs::read_to_string(path).expect("readable source");
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let source = Source {
            room,
            text: &text,
            code: text.lines().filter(is_code).collect::<Vec<_>>().join("\n"),
            is_door: *inside == format!("{room}/mod.rs"),
            is_tests: inside.ends_with("tests.rs"),
        };
        breaches.extend(rule(&source).into_iter().map(|breach| format!("src/{inside}: {breach}")));
    });
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

fn visit(folder: &Path, found: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            visit(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found(&path);
        }
    }
}

/// The first name of a path, or of each path in a group: `{access, traffic::{limit, route}}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |path: &str| {
        path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut depth = 0_usize;
    let mut items = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ => items.last_mut().expect("never empty").push(c),
        }
    }
    items.iter().map(|item| name(item)).collect()
}
