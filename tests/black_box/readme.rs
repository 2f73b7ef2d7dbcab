//! The README tells the truth about the flags: compared with `--help`, both ways.

use std::collections::BTreeMap;
use std::process::Command;

/// Flag → (environment variable, default), as `--help` has them.
fn help() -> BTreeMap<String, (String, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut flags: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if let Some(start) = line.find("--").filter(|n| *n <= 4 && line.starts_with('-')) {
            let flag = line[start..].split([' ', ',']).next().unwrap().to_owned();
            flags.insert(flag.clone(), Default::default());
            current = Some(flag);
        }
        let Some(entry) = current.as_ref().and_then(|flag| flags.get_mut(flag)) else {
            continue;
        };
        let bracket = |label: &str| {
            let from = line.find(&format!("[{label}: "))? + label.len() + 3;
            Some(line[from..].split(']').next()?.to_owned())
        };
        if let Some(name) = bracket("env") {
            entry.0 = name;
        }
        if let Some(default) = bracket("default") {
            entry.1 = default;
        }
    }
    flags.remove("--help");
    flags.remove("--version");
    flags
}

/// The same from the README's table: | `--flag` | `ENV` | `default` | what it does |
fn readme() -> BTreeMap<String, (String, String)> {
    let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
    include_str!("../../README.md")
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .map(|line| {
            let cells: Vec<_> = line.split(" | ").collect();
            let flag = cells[0].trim_start_matches("| ");
            (bare(flag), (bare(cells[1]), bare(cells[2])))
        })
        .collect()
}

#[test]
fn the_flags_table_and_help_say_the_same() {
    let (help, readme) = (help(), readme());
    assert!(help.len() > 15, "--help was not understood: {help:?}");
    assert_eq!(readme, help);
}
