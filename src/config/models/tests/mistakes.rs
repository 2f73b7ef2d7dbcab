//! Each mistake as the line that is shown, with the place of what is wrong.

use super::*;

pub(super) fn mistake(text: &str) -> String {
    parsed(text).expect_err(text)
}

/// Compares the mistakes of the files with the expected lines; `…` stands for any rest.
pub(super) fn check(cases: &[(&str, &str)], file: impl Fn(&str) -> String) {
    let mut wrong = Vec::new();
    for (text, line) in cases {
        let shown = mistake(&file(text));
        let is_shown = match line.strip_suffix('…') {
            Some(start) => shown.starts_with(start),
            None => shown == *line,
        };
        if !is_shown {
            wrong.push(format!("{text:?}\n  shown: {shown}\n  not:   {line}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file of one model with this further field.
fn with(field: &str) -> String {
    format!("models:\n- name: m\n  path: p\n  {field}\n")
}

#[test]
fn a_mistake_in_the_whole_file() {
    check(
        &[
            (
                "",
                "1:1: the file is empty; write models with at least one model",
            ),
            (
                "# nothing\n",
                "1:1: the file is empty; write models with at least one model",
            ),
            (
                "---\n",
                "1:4: the file: nothing is given; write fields, such as 'name: low'",
            ),
            (
                "low\n",
                "1:1: the file: a single value is given; write fields, such as 'name: low'",
            ),
            (
                "- low\n",
                "1:1: the file: a list is given; write fields, such as 'name: low'",
            ),
            (
                "default: low\n",
                "1:1: models is missing; write a list of the models",
            ),
            (
                "modles: []\n",
                "1:1: modles: there is no such field; use default, models or routes",
            ),
            ("models:\n", "1:7: models: nothing is given; write a list"),
            (
                "models: low\n",
                "1:9: models: a single value is given; write a list",
            ),
            (
                "models: []\n",
                "1:9: models: the list is empty; write at least one model",
            ),
            (
                "models:\n- low\n",
                "2:3: a model: a single value is given; write fields, such as 'name: low'",
            ),
            (
                "models:\n  - name: a\n    path: p\n---\nmodels: []\n",
                "4:1: a second document begins here; write one",
            ),
            (
                "models: [{name: m, path: p}\n",
                "1:9: this is not YAML: unclosed bracket '['",
            ),
            (
                "models:\n\t- name: m\n",
                "2:2: this is not YAML: tabs disallowed within this context (block indentation)",
            ),
            (
                "models: &a\n- name: m\n",
                "2:3: anchors (&) and aliases (*) are not allowed; write the value itself",
            ),
            (
                "default: &a m\nmodels: *a\n",
                "1:13: anchors (&) and aliases (*) are not allowed; write the value itself",
            ),
            (
                "models: !!seq\n- name: m\n",
                "2:3: tags (!) are not allowed; write the value without its tag",
            ),
            (
                "[[[[[[[[[[[[]]]]]]]]]]]]\n",
                "1:10: values are nested too deeply; a models file has four levels",
            ),
            (
                "[a]: 1\n",
                "1:1: the name of a field is text; write it as one word",
            ),
            (
                "default: a\nmodels: []\ndefault: b\n",
                "3:1: default: it is also given in line 1; write it once",
            ),
        ],
        str::to_owned,
    );
}

#[test]
fn a_mistake_in_a_model() {
    check(
        &[
            (
                "bacth: 8",
                "4:3: bacth: there is no such field; use name, path, batch, priority,…",
            ),
            (
                "bsz-size: 8",
                "4:3: bsz-size: there is no such field; did you mean batch?",
            ),
            (
                "model_path: 8",
                "4:3: model_path: there is no such field; did you mean path?",
            ),
            (
                "Output_Size: full",
                "4:3: Output_Size: there is no such field; did you mean output-size?",
            ),
            ("<<: {}", "4:3: <<: there is no such field; use name,…"),
            (
                "path: q",
                "4:3: path: it is also given in line 3; write it once",
            ),
            (
                "batch: 0",
                "4:10: batch: '0' is not allowed: use auto or a whole number from 1 to 4096",
            ),
            ("batch: [8]", "4:10: batch: a list is given; write a value"),
            ("batch:", "4:8: batch: nothing is given; write a value"),
            ("batch: ~", "4:10: batch: nothing is given; write a value"),
            ("batch: ' '", "4:10: batch: the value is blank; write one"),
            (
                "batch: {a: 8}",
                "4:10: batch: fields are given; write a value",
            ),
            (
                "batch: \"'8'\"",
                "4:10: batch: '\\'8\\'' is not allowed: use 8 without quotes",
            ),
            (
                "batch: \"8\\u200b\"",
                "4:10: batch: '8\\u{200b}' is not allowed: use a value without line breaks,…",
            ),
            (
                "mask: |\n    a\n    b",
                "5:5: mask: 'a\\nb' is not allowed: use a value without line breaks,…",
            ),
            (
                "outputs: [a, [b]]",
                "4:16: outputs: a list is given; write a value",
            ),
            (
                "outputs: [a, ]\n  devices: []",
                "5:12: devices: '' is not allowed: use all, or GPU numbers, each once, such as 0,1",
            ),
            (
                "priority: urgent",
                "4:13: priority: 'urgent' is not allowed: use normal or high",
            ),
            (
                "backlog: 65537",
                "4:12: backlog: '65537' is not allowed: use a whole number from 1 to 65536",
            ),
            (
                "output-size: 64",
                "4:16: output-size: '64' is not allowed: use …",
            ),
            (
                "output-dtype: int8",
                "4:17: output-dtype: 'int8' is not allowed: use …",
            ),
            (
                "output-format: png",
                "4:18: output-format: 'png' is not allowed: use …",
            ),
            (
                "frame-dtype: int12",
                "4:16: frame-dtype: 'int12' is not allowed: use …",
            ),
            (
                "bad-pixels: min=0",
                "4:15: bad-pixels: 'min=0' is not allowed: use off, nan, or any of max,…",
            ),
            (
                "bad-pixels: [max, off]",
                "4:15: bad-pixels: 'max,off' is not allowed: use off, nan, or any of max,…",
            ),
            (
                "bad-pixel-fill: 1",
                "4:19: bad-pixel-fill: '1' is not allowed: use 0 or median",
            ),
            (
                "bad-pixel-fill: 0\n  bad-pixels: max=median",
                "4:19: bad-pixel-fill: '0' is a second fill; write it here, or behind 'max='",
            ),
            (
                "max-bad-pixels: 101%",
                "4:19: max-bad-pixels: '101%' is not allowed: use a number of pixels,…",
            ),
            (
                "decoders: 65",
                "4:13: decoders: '65' is not allowed: use auto or a whole number from 1 to 64",
            ),
            (
                "batch-timeout: 10",
                "4:18: batch-timeout: '10' is not allowed: use off or a time above 0…",
            ),
            (
                "inference-timeout: 1m",
                "4:22: inference-timeout: '1m' is not allowed: use a time in ms…",
            ),
            (
                "allow-mixed-rows: maybe",
                "4:21: allow-mixed-rows: 'maybe' is not allowed: use yes or no,…",
            ),
            (
                "device: gpu",
                "4:11: device: 'gpu' is not allowed: use cpu, onnxruntime, cuda or onnxruntime-cuda",
            ),
            (
                "devices: 0,0",
                "4:12: devices: '0,0' is not allowed: use all, or GPU numbers,…",
            ),
            (
                "balance: fair",
                "4:12: balance: 'fair' is not allowed: use queue-depth or round-robin",
            ),
            (
                "precision: int8",
                "4:14: precision: 'int8' is not allowed: use fp32, tf32 or fp16",
            ),
            ("spin: 2", "4:9: spin: '2' is not allowed: use yes or no,…"),
        ],
        with,
    );
}

#[test]
fn a_file_that_is_no_text_is_refused_where_the_text_ends() {
    let error = parse(b"default: m\n# \xc3\xa9\xff\n", &flags(&[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2:4: this is not UTF-8 text; save the file as UTF-8"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let flags = flags(&[]);
    let path = folder.path().join("models.yaml");
    let shown = |path: &Path| read(path, &flags).unwrap_err().to_string();
    assert_eq!(
        shown(&path),
        format!(
            "--models: cannot read '{}': No such file or directory (os error 2); use a file that this process may read",
            path.display()
        )
    );
    assert!(
        shown(folder.path()).contains("Is a directory"),
        "{}",
        shown(folder.path())
    );
    let file = "models: [{name: m, path: p}]\n#";
    let padded = |length: usize| format!("{file}{}", "a".repeat(length - file.len()));
    std::fs::write(&path, padded(1 << 20)).unwrap();
    assert_eq!(read(&path, &flags).unwrap().models.len(), 1);
    std::fs::write(&path, padded((1 << 20) + 1)).unwrap();
    assert!(
        shown(&path).ends_with("is larger than 1 MiB; use a YAML file that describes the models")
    );
    std::fs::write(&path, "models: low").unwrap();
    assert_eq!(
        shown(&path),
        format!(
            "{}:1:9: models: a single value is given; write a list",
            path.display()
        )
    );
}
