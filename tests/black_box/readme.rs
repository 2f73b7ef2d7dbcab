//! The README's tables of flags and `--help` agree in both directions.

use beamflow::frame::headers;
use std::collections::BTreeMap;
use std::process::Command;

/// The commands with a table of flags, and the section of the README that holds it.
const TABLES: &[(&[&str], &str)] = &[
    (&[], "Flags"),
    (&["simulate-source"], "A pipeline without a beamline"),
    #[cfg(feature = "pva")]
    (&["simulate-ioc"], "A PVA detector without a beamline"),
    (&["size"], "How many GPUs?"),
    #[cfg(feature = "pva")]
    (&["pva-source"], "Frames from a detector"),
    #[cfg(feature = "pva")]
    (&["pva-sink"], "Results for viewers"),
    #[cfg(feature = "hdf5")]
    (&["file-sink"], "Results as files"),
];

/// Flag → (environment variable, default), from the command's `--help`.
fn help(command: &[&str]) -> BTreeMap<String, (String, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args(command)
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // The text of a flag may be wrapped between any two words.
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if let Some(start) = line.find("--").filter(|n| *n <= 4 && line.starts_with('-')) {
            current = line[start..].split([' ', ',']).next().map(str::to_owned);
        }
        if let Some(flag) = &current {
            let text = texts.entry(flag.clone()).or_default();
            *text += &format!("{line} ");
        }
    }
    texts.remove("--help");
    texts.remove("--version");
    let bracket = |text: &str, label: &str| {
        let from = text.find(&format!("[{label}: "))? + label.len() + 3;
        // An address may hold brackets.
        Some(text[from..].split("] ").next()?.to_owned())
    };
    let found = |text: &str, label: &str| bracket(text, label).unwrap_or_default();
    texts
        .iter()
        .map(|(flag, text)| (flag.clone(), (found(text, "env"), found(text, "default"))))
        .collect()
}

/// The same from the table in the README's section: | `--flag` | `ENV` | `default` | description |
fn readme(section: &str) -> BTreeMap<String, (String, String)> {
    let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let mut sections = include_str!("../../README.md").split("\n## ");
    sections
        .find(|text| text.lines().next() == Some(section))
        .expect(section)
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
fn the_flags_tables_and_help_say_the_same() {
    for (command, section) in TABLES.iter().copied() {
        let (help, readme) = (help(command), readme(section));
        assert!(help.len() > 5, "cannot parse --help: {help:?}");
        assert_eq!(readme, help, "{command:?}");
    }
}

#[test]
fn the_headers_in_the_readme_are_the_programs() {
    let table = headers::ALL.map(|header| {
        let headers::Header {
            name,
            values,
            without,
        } = header;
        format!("| `{name}` | {values} | {without} |\n")
    });
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&table.concat()), "{}", table.concat());
}

/// Links in the documents, as (document, target).
fn pointed_to() -> Vec<(&'static str, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = [
        "README.md",
        "docs/beamline.md",
        "docs/migration.md",
        "docs/models.md",
        "docs/operations.md",
        "docs/reliability.md",
        "docs/troubleshooting.md",
        "models/README.md",
    ];
    documents
        .into_iter()
        .flat_map(|document| {
            let text = std::fs::read_to_string(root.join(document)).unwrap();
            let folder = root.join(document).parent().unwrap().to_owned();
            let targets = text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next());
            let files =
                targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
            let path = |target: &str| folder.join(target.split('#').next().unwrap());
            let paths: Vec<_> = files
                .map(|t| (document, path(t).display().to_string()))
                .collect();
            paths
        })
        .collect()
}

#[test]
fn every_link_in_the_documents_exists() {
    let pointed_to = pointed_to();
    assert!(pointed_to.len() > 5, "{pointed_to:?}");
    for (document, path) in pointed_to {
        assert!(std::path::Path::new(&path).exists(), "{document}: {path}");
    }
}

/// The program's source as one text, in which a string that is continued on the next line is in one piece.
fn source() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("crates")];
    let mut source = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let mut pieces = source.split("\\\n");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| text + piece.trim_start())
}

#[test]
fn messages_in_the_troubleshooting_guide_are_the_programs() {
    let (source, guide) = (source(), include_str!("../../docs/troubleshooting.md"));
    let mut checked = 0;
    // Messages are the quotes of several words in the first cell of a row, and in sentences.
    for line in guide.lines().filter(|line| line.contains('`')) {
        let cell = line
            .strip_prefix("| ")
            .map_or(line, |row| row.split(" | ").next().unwrap_or_default());
        let quotes = cell.split('`').skip(1).step_by(2);
        for quote in quotes.filter(|quote| quote.contains(' ') && !quote.starts_with(['b', '-'])) {
            for piece in quote
                .split('…')
                .map(str::trim)
                .filter(|piece| piece.len() > 3)
            {
                assert!(
                    source.contains(piece),
                    "{quote}: the program does not say '{piece}'"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 35, "{checked}");
}
