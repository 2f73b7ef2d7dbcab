//! `--models`: the program refuses a file with a mistake in one line, and shows the models of one without.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// A models file in a folder of its own.
struct Written {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn written(content: impl AsRef<[u8]>) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.yaml");
    std::fs::write(&path, content).unwrap();
    Written {
        _folder: folder,
        path,
    }
}

/// Runs the program with these variables and no others.
fn run(args: &[&str], variables: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(args);
    command.envs(variables.iter().copied()).output().unwrap()
}

/// The one line of a mistake, without the program's name.
fn mistake(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty(), "{output:?}");
    text.trim_end()
        .strip_prefix("beamflow: ")
        .unwrap()
        .to_owned()
}

/// A content of the file, and how its mistake begins after the file's name.
const MISTAKES: &[(&str, &str)] = &[
    ("", "1:1: the file is empty"),
    ("low", "1:1: the file: a single value is given"),
    ("models: [", "1:9: this is not YAML: "),
    ("default: low", "1:1: models is missing"),
    ("models: []", "1:9: models: the list is empty"),
    ("models: {}", "1:9: models: fields are given; write a list"),
    ("modles: []", "1:1: modles: there is no such field"),
    ("models:\n- path: p", "2:3: name is missing"),
    ("models:\n- name: a", "2:3: path is missing"),
    (
        "models:\n- name: a/b\n  path: p",
        "2:9: name: 'a/b' is not allowed: use a name of 1 to 63",
    ),
    (
        "models:\n- name: a\n  path: p\n  batch: 0",
        "4:10: batch: '0' is not allowed: use auto or",
    ),
    (
        "models:\n- name: a\n  path: p\n  bacth: 8",
        "4:3: bacth: there is no such field; use name, path",
    ),
    (
        "models:\n- name: a\n  path: p\n  path: q",
        "4:3: path: it is also given in line 3",
    ),
    (
        "models:\n- {name: a, path: p}\n- {name: a, path: p}",
        "3:10: name: another model is called 'a'",
    ),
    (
        "models:\n- {name: a, path: p}\n- {name: b, path: p}",
        "1:1: default is missing; use a or b",
    ),
    (
        "default: c\nmodels:\n- {name: a, path: p}",
        "1:10: default: there is no model 'c'; use a",
    ),
    (
        "models: &x []",
        "1:12: anchors (&) and aliases (*) are not allowed",
    ),
];

#[test]
fn a_mistake_in_the_models_file_is_one_line_with_its_place_and_exit_code_64() {
    for (content, start) in MISTAKES {
        let file = written(content);
        let path = file.path.display();
        let (named, shown) = (file.path.to_str().unwrap(), format!("{path}:{start}"));
        let serving = mistake(&run(&["--models", named], &[]));
        assert!(serving.starts_with(&shown), "{content:?}: {serving}");
        let printed = mistake(&run(&["--print-config"], &[("MODELS", &file.path)]));
        assert_eq!(printed, serving);
    }
    let routes = "models:\n- {name: a, path: p}\nroutes:\n";
    for (route, start) in [
        (
            "- {header: x-e, values: {1: b}}",
            "4:29: values: there is no model 'b'; use a",
        ),
        (
            "- {header: x-e, values: {}}",
            "4:25: values: no value is given",
        ),
        (
            "- {header: energy, values: {1: a}}",
            "4:12: header: 'energy' is not allowed",
        ),
        (
            "- {header: x-e, values: {1: a}}\n- {header: X-E, values: {2: a}}",
            "5:12: header: there is a route for this header already",
        ),
    ] {
        let file = written(format!("{routes}{route}"));
        let line = mistake(&run(&["--models", file.path.to_str().unwrap()], &[]));
        let shown = format!("{}:{start}", file.path.display());
        assert!(line.starts_with(&shown), "{route}: {line}");
    }
    let file = written(b"# \xff");
    let line = mistake(&run(&[], &[("MODELS", &file.path)]));
    assert!(
        line.ends_with(":1:3: this is not UTF-8 text; save the file as UTF-8"),
        "{line}"
    );
}

#[test]
fn a_models_file_that_cannot_be_read_is_named_with_flag_or_variable() {
    let missing = Path::new("/nowhere/models.yaml");
    let rest = "cannot read '/nowhere/models.yaml': No such file or directory (os error 2); \
                use a file that this process may read";
    let by_flag = mistake(&run(&["--models", "/nowhere/models.yaml"], &[]));
    assert_eq!(by_flag, format!("--models: {rest}"));
    let by_variable = mistake(&run(&[], &[("MODELS", missing)]));
    assert_eq!(by_variable, format!("MODELS: {rest}"));
    let large = written("#".repeat((1 << 20) + 1));
    let line = mistake(&run(&[], &[("MODELS", &large.path)]));
    assert!(line.contains("is larger than 1 MiB"), "{line}");
}

#[test]
fn a_models_file_and_a_model_path_exclude_each_other() {
    let path = Path::new("/m");
    for (args, variables, line) in [
        (
            &["--models", "/m", "--model-path", "sim:"][..],
            &[][..],
            "--models and --model-path exclude each other: use one of them",
        ),
        (
            &["--models", "/m"],
            &[("MODEL_PATH", path)],
            "--models and MODEL_PATH exclude each other: use one of them",
        ),
        (
            &["--model-path", "/m"],
            &[("MODELS", path)],
            "--model-path and MODELS exclude each other: use one of them",
        ),
        (
            &[],
            &[("MODELS", path), ("MODEL_PATH", path)],
            "MODEL_PATH and MODELS exclude each other: use one of them",
        ),
    ] {
        assert_eq!(mistake(&run(args, variables)), line);
    }
}

#[test]
fn results_of_any_model_in_int16_cannot_be_sent_if_they_are_not_finite() {
    let content =
        "models:\n- {name: a, path: p}\n- {name: b, path: p, output-dtype: int16}\ndefault: a";
    let file = written(content);
    let args = [
        "--models",
        file.path.to_str().unwrap(),
        "--on-nonfinite",
        "send",
    ];
    let line = mistake(&run(&args, &[]));
    assert!(
        line.ends_with(
            "models.yaml:3:36: output-dtype: 'int16' is not allowed: it has no value for NaN and infinities, and \
             --on-nonfinite is send; use float32, or drop or tag:NAME as --on-nonfinite"
        ),
        "{line}"
    );
    let by_flag = [&args[..], &["--output-dtype", "int16"]].concat();
    let line = mistake(&run(&by_flag, &[]));
    assert!(
        line.starts_with(
            "--on-nonfinite: 'send' is not allowed: int16, the output dtype of the model 'a', "
        ),
        "{line}"
    );
}

#[test]
fn print_config_shows_each_model_with_the_values_in_force() {
    let file = written(
        "default: low\nmodels:\n- name: low\n  path: /low.onnx\n  batch: 16\n- name: high\n  path: /high.engine\n  \
         outputs: [phase, amplitude]\n  bad-pixels: max=median\nroutes:\n- header: X-Energy\n  values: {8: low, 12: high}\n",
    );
    let args = [
        "--models",
        file.path.to_str().unwrap(),
        "--print-config",
        "--precision",
        "fp16",
    ];
    let output = run(&args, &[("BATCH_SIZE", Path::new("4"))]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("--model-path"), "{text}");
    let blocks: Vec<_> = text.split("\n\n").collect();
    let words = |block: usize, name: &str| -> Vec<&str> {
        let mut lines = blocks[block].lines().map(str::split_whitespace);
        let line = lines.find(|line| line.clone().next() == Some(name));
        line.map(|words| words.skip(1).collect())
            .unwrap_or_default()
    };
    let [_, low, high, route] = blocks.as_slice() else {
        panic!("{text}");
    };
    assert!(
        low.starts_with("model low (default)\n") && high.starts_with("model high\n"),
        "{text}"
    );
    assert_eq!(words(1, "batch"), ["16", "line", "5"]);
    assert_eq!(words(2, "batch"), ["4", "BATCH_SIZE"]);
    assert_eq!(words(1, "path"), ["/low.onnx", "line", "4"]);
    assert_eq!(words(2, "outputs"), ["phase,amplitude", "line", "8"]);
    // The fill behind a rule.
    assert_eq!(words(2, "bad-pixels"), ["max=median", "line", "9"]);
    assert_eq!(words(2, "bad-pixel-fill"), ["median", "line", "9"]);
    assert_eq!(words(1, "bad-pixel-fill"), ["0", "default"]);
    assert_eq!(words(1, "precision"), ["fp16", "flag"]);
    assert_eq!(words(1, "priority"), ["normal", "default"]);
    assert_eq!(words(1, "backlog"), ["512", "default"]);
    assert_eq!(words(1, "output-size"), ["64x64", "default"]);
    assert!(route.starts_with("route x-energy\n"), "{text}");
    assert_eq!((words(3, "8"), words(3, "12")), (vec!["low"], vec!["high"]));
}
