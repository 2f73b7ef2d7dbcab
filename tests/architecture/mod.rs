//! The walls between the rooms, the folders of `src/` and `crates/`: every import of another room is one that
//! ARCHITECTURE.md allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room → the paths that it may import, as the table of ARCHITECTURE.md has them.
type Allowed = BTreeMap<String, Vec<String>>;

fn read(path: impl AsRef<Path>) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The names in backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Rows of the form: | `room` | `import` `import` |
fn allowed() -> Allowed {
    read("ARCHITECTURE.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(room, imports)| (room.to_owned(), quoted(imports).collect()))
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// A source file of the program.
struct File {
    path: String,
    /// The crate that it belongs to, or its folder in `src/`, or its own name there.
    room: String,
    /// Its code without comments and tests. Paths from the root of a crate begin with `crate::` and the room.
    code: String,
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), &mut found);
    sources(&root.join("crates"), &mut found);
    let code = |path: &PathBuf| {
        let text = read(path);
        let lines = text.lines().map(|line| match line.trim_start() {
            comment if comment.starts_with("//") => "",
            _ => line,
        });
        // Tests are the last part of a file.
        let lines = lines.take_while(|line| *line != "mod tests {");
        lines.collect::<Vec<_>>().join("\n")
    };
    let file = |path: &PathBuf| {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let room = name.split('/').nth(1).unwrap().trim_end_matches(".rs");
        let mut code = code(path);
        if name.starts_with("crates/") {
            code = code.replace("crate::", &format!("crate::{room}::"));
            code = code.replace("beamflow_", "crate::");
        }
        File {
            room: room.to_owned(),
            path: name,
            code,
        }
    };
    found.iter().map(file).collect()
}

/// The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inner = &rest[..rest.rfind('}').unwrap_or(rest.len())];
    let (mut depth, mut branches) = (0, vec![String::new()]);
    for character in inner.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(String::new());
                continue;
            }
            _ => {}
        }
        branches.last_mut().unwrap().push(character);
    }
    branches
        .iter()
        .filter(|branch| !branch.trim().is_empty())
        .flat_map(|branch| expand(branch))
        .map(|path| format!("{}{path}", prefix.trim()))
        .collect()
}

/// What a file takes from the crate's root, in `use` declarations and in paths.
fn imports(code: &str) -> BTreeSet<String> {
    let starts = code.match_indices("crate::").filter(|(at, _)| {
        !code[..*at].ends_with('$') && !code[..*at].ends_with(char::is_alphanumeric)
    });
    let mut found = BTreeSet::new();
    for (at, start) in starts {
        let tree = &code[at + start.len()..];
        let is_use = code[..at].ends_with("use ");
        let end = if is_use {
            tree.find(';').unwrap()
        } else {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            tree.find(|c| !is_path(c)).unwrap_or(tree.len())
        };
        found.extend(expand(&tree[..end]));
    }
    found
}

fn is_below(path: &str, allowed: &str) -> bool {
    path == allowed || path.starts_with(&format!("{allowed}::"))
}

#[test]
fn every_import_is_an_arrow_that_is_allowed() {
    let allowed = allowed();
    let mut crossing = 0;
    let mut forbidden = Vec::new();
    for file in files() {
        for path in imports(&file.code) {
            if is_below(&path, &file.room) || file.room == "main" {
                continue;
            }
            crossing += 1;
            let may = allowed.get(&file.room).into_iter().flatten();
            if !may.into_iter().any(|allowed| is_below(&path, allowed)) {
                forbidden.push(format!("{} imports {path}", file.path));
            }
        }
    }
    assert!(crossing > 100, "the imports were not understood");
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

#[test]
fn the_arrows_make_no_circle() {
    let mut left = allowed();
    while !left.is_empty() {
        let rooms: BTreeSet<_> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, imports| imports.iter().any(|path| rooms.contains(room_of(path))));
        assert!(left.len() < before, "a circle: {rooms:?}");
    }
}

fn room_of(path: &str) -> &str {
    path.split("::").next().unwrap()
}

#[test]
fn every_room_is_in_the_table_and_in_the_tree() {
    let rooms: BTreeSet<_> = files()
        .into_iter()
        .map(|file| file.room)
        .filter(|room| !["main", "lib"].contains(&room.as_str()))
        .collect();
    let listed: BTreeSet<_> = allowed().into_keys().collect();
    assert_eq!(listed, rooms);
    let text = read("ARCHITECTURE.md");
    for room in rooms {
        let captioned =
            ["src/{}/", "src/{}.rs", "crates/{}/"].map(|name| name.replace("{}", &room));
        assert!(captioned.iter().any(|name| text.contains(name)), "{room}");
    }
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for File { path, .. } in files() {
        let lines = read(&path).lines().count();
        assert!(lines <= 400, "{path}: {lines} lines");
    }
}

#[test]
fn a_use_tree_is_expanded() {
    let code = "use crate::a::{self, b::{c, d}, e};\n    let x = crate::f::g(1);";
    let paths = ["a::b::c", "a::b::d", "a::e", "a::self", "f::g"];
    assert!(imports(code).iter().eq(paths));
}
