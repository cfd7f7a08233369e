//! What ARCHITECTURE.md says about the source tree, checked against the source tree.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::{env, fs};

use source::{Arrow, House};

/// The street, from the ground up: each of these names only what stands before it. A name is a file or a folder
/// right under `src`.
const STREET: &[&str] = &[
    "fault", "digest", "memory", "system", "bytes", "console", "random", "progress", "config",
    "metrics", "device", "nn", "data", "train", "adapt", "stages", "plan", "store", "scratch",
    "exec", "cluster", "starters", "report", "cli", "commands", "lib", "main",
];

/// The folder of the project, which cargo tells every test.
fn root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo").into()
}

fn house() -> House {
    House::read(&root().join("src"))
}

#[test]
fn no_file_imports_in_a_circle() {
    let house = house();
    let circles = circles(&house.arrows);
    let told: Vec<String> = circles.iter().map(|circle| tell(circle, &house.arrows)).collect();
    assert!(told.is_empty(), "{} circles of imports:\n\n{}", told.len(), told.join("\n"));
}

#[test]
fn nothing_imports_up_the_street() {
    let house = house();
    let place = |file: &str| {
        let top = file.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        STREET.iter().position(|it| *it == top).unwrap_or_else(|| {
            panic!("src/{top} has no place on the street: add it to STREET in tests/architecture/main.rs")
        })
    };
    let up: Vec<String> = house
        .arrows
        .iter()
        .filter(|it| place(&it.to) > place(&it.from))
        .map(Arrow::to_string)
        .collect();
    assert!(up.is_empty(), "imports that run up the street:\n{}", up.join("\n"));
}

#[test]
fn every_path_in_the_map_exists() {
    let root = root();
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let missing: Vec<&str> = in_backticks(&map)
        .filter(|name| {
            name.starts_with("src/") || name.starts_with("tests/") || name.starts_with("fuzz/")
        })
        .filter(|name| !root.join(name).exists())
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}

#[test]
fn every_folder_of_the_sources_is_in_the_map() {
    let root = root();
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let named: BTreeSet<&str> = in_backticks(&map).map(|it| it.trim_end_matches('/')).collect();
    let house = house();
    let folders = house.files.iter().filter_map(|file| file.split_once('/'));
    let missing: BTreeSet<&str> =
        folders.map(|it| it.0).filter(|it| !named.contains(format!("src/{it}").as_str())).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not say what is in {missing:?}");
}

#[test]
fn every_file_with_a_method_has_its_line() {
    let folder = root().join("src/adapt");
    let registry = fs::read_to_string(folder.join("mod.rs")).expect("src/adapt/mod.rs is there");
    let mut methods = 0;
    for entry in fs::read_dir(&folder).expect("src/adapt is there") {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let is_method =
            ["\nimpl Method for ", "\nimpl Term for "].iter().any(|it| text.contains(it));
        if ["tests", "joint"].contains(&name) || !is_method {
            continue;
        }
        methods += 1;
        let line = format!(" in {name},");
        assert!(registry.contains(&line), "{name}.rs is not registered in src/adapt/mod.rs");
    }
    assert!(methods >= 3, "{methods} methods");
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Groups of files that import each other, each file with what it reaches and is reached from.
fn circles(arrows: &[Arrow]) -> Vec<BTreeSet<&str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for arrow in arrows {
        next.entry(&arrow.from).or_default().insert(&arrow.to);
    }
    let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for from in next.keys() {
        let seen = reach.entry(from).or_default();
        let mut left = vec![*from];
        while let Some(file) = left.pop() {
            left.extend(next.get(file).into_iter().flatten().filter(|it| seen.insert(**it)));
        }
    }
    let mut circles = BTreeSet::new();
    for (file, to) in &reach {
        let back = |it: &&str| reach.get(*it).is_some_and(|from| from.contains(file));
        let circle: BTreeSet<&str> = to.iter().copied().filter(back).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn tell(circle: &BTreeSet<&str>, arrows: &[Arrow]) -> String {
    let within = |it: &&Arrow| circle.contains(it.from.as_str()) && circle.contains(it.to.as_str());
    let lines: Vec<String> = arrows.iter().filter(within).map(|it| format!("  {it}")).collect();
    format!("{} files:\n{}\n", circle.len(), lines.join("\n"))
}

#[test]
fn a_circle_is_told_with_both_files_and_what_ties_them() {
    let house = House::of([
        ("a.rs", "use crate::b::{self, Left}; pub struct Right; fn f() { b::go(Left) }"),
        ("b.rs", "pub struct Left; pub fn go(_: Left) -> Option<super::a::Right> { None }"),
        (
            "c.rs",
            "#[cfg(test)] mod tests { use crate::d::D; } // crate::d::D\nconst TEXT: &str = \"crate::d::D\";",
        ),
        ("d.rs", "pub struct D(crate::c::C);"),
    ]);
    let found = circles(&house.arrows);
    assert_eq!(found, [BTreeSet::from(["a.rs", "b.rs"])]);
    let told = tell(&found[0], &house.arrows);
    assert!(told.contains("src/a.rs -> src/b.rs: Left, go"), "{told}");
    assert!(told.contains("src/b.rs -> src/a.rs: Right"), "{told}");
}

#[test]
fn names_are_followed_to_where_they_are_defined() {
    let house = House::of([
        (
            "shop/mod.rs",
            "mod till; mod shelf; pub use till::Till; pub use shelf::*; pub const ALL: &[u8] = &[till::ONE];",
        ),
        (
            "shop/till.rs",
            "use super::ALL; pub struct Till; pub const ONE: u8 = 1; fn f() { ALL.len(); }",
        ),
        ("shop/shelf.rs", "pub struct Jam; fn g<'a>(_: &'a str) -> char { '\\'' }"),
        ("town.rs", "use crate::shop::{Jam as Jelly, Till}; fn f(_: Jelly, _: Till) {}"),
    ]);
    let told: Vec<String> = house.arrows.iter().map(Arrow::to_string).collect();
    let expected = [
        // A folder's own file may name what is in the folder: that is how registries are written.
        "src/shop/till.rs -> src/shop/mod.rs: ALL",
        "src/town.rs -> src/shop/shelf.rs: Jam",
        "src/town.rs -> src/shop/till.rs: Till",
    ];
    assert_eq!(told, expected);
    assert!(circles(&house.arrows).is_empty());
}
