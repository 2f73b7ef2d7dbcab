//! Mistakes that are found when the models are loaded, as the lines that are shown.

use super::*;

/// The mistake of serving a file with these flags, in which `FILE` stands for the file.
fn refused(text: &str, flags: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let all = [flags, &["--models", path]].concat();
    let reading = cli::read(all.iter().map(Into::into), |_| None).unwrap();
    let line = match Config::try_from(reading.cli.serve) {
        Ok(config) => match config.fit() {
            Ok(_) => panic!("{text}"),
            Err(error) => {
                assert!(error.is_usage(), "{error}");
                error.to_string()
            }
        },
        Err(error) => error.to_string(),
    };
    line.replace(path, "FILE")
}

/// A model without a mistake, and one of 4 × 4 pixels with two outputs and these fields.
fn two(fields: &str) -> String {
    let good = "{name: good, path: 'sim:size=4x4', output-size: full, output-dtype: float32}";
    format!("default: good\nmodels:\n- {good}\n- name: wide\n{fields}\n")
}

const PATH: &str = "  path: sim:size=4x4,outputs=2,batch=8\n";

#[test]
fn a_mistake_in_a_given_field_has_its_place_in_the_file() {
    for (field, start) in [
        (
            "output-size: 10x10",
            "output-size: '10x10' is not allowed: output 'output_0': ",
        ),
        (
            "outputs: [output_0, phase]",
            "outputs: 'phase' is not allowed: this model's outputs are 'output_0', 'output_1'",
        ),
        (
            "outputs: [output_0, output_0]",
            "outputs: 'output_0,output_0' is not allowed: it selects 'output_0' twice",
        ),
        (
            "batch: 16",
            "batch: '16' is not allowed: this model's batch is fixed at 8; use at most 8",
        ),
        (
            "mask: /no/such.npy",
            "mask: '/no/such.npy' is not allowed: ",
        ),
        (
            "output-dtype: int16",
            "output-dtype: 'int16' is not allowed: it has no value for NaN and infinities",
        ),
    ] {
        let flags = ["--output-size", "full", "--on-nonfinite", "send"];
        let column = field.find(": ").unwrap() + 5;
        let line = refused(&two(&format!("{PATH}  {field}")), &flags);
        let shown = format!("FILE:6:{column}: {start}");
        assert!(line.starts_with(&shown), "{line}\nnot: {shown}");
    }
    for (path, start) in [
        (
            "  path: sim:size=no",
            "path: 'sim:size=no' is not allowed: ",
        ),
        (
            "  path: sim:size=4100x4100\n  output-size: full",
            "output-size: 'full' is not allowed: the results of a frame are ",
        ),
    ] {
        let line = refused(&two(path), &[]);
        let (place, mistake) = line.split_once(": ").unwrap();
        let of_path = if mistake.starts_with("path") {
            "FILE:5:9"
        } else {
            "FILE:6:16"
        };
        assert_eq!(place, of_path, "{line}");
        assert!(mistake.starts_with(start), "{line}");
    }
}

#[test]
fn a_mistake_in_a_field_that_is_not_given_names_the_flag_and_the_model() {
    for (flags, start) in [
        (
            &["--output-size", "10x10"][..],
            "model 'wide': --output-size: '10x10' is not allowed: ",
        ),
        (
            &["--output-size", "full", "--bsz-size", "16"],
            "model 'wide': --bsz-size: '16' is not allowed: ",
        ),
        (
            &["--output-size", "full", "--on-invalid", "tag:output_1"],
            "model 'wide': --on-invalid: 'tag:output_1' is not allowed: ",
        ),
        (
            &["--on-nonfinite", "send", "--output-dtype", "int16"],
            "--on-nonfinite: 'send' is not allowed: int16, the output dtype of the model 'wide', ",
        ),
    ] {
        let line = refused(&two(PATH), flags);
        assert!(line.starts_with(start), "{line}\nnot: {start}");
    }
}

#[test]
fn a_single_model_of_a_file_has_places_as_several_have() {
    let only = |fields: &str| format!("models:\n- name: only\n{PATH}{fields}\n");
    let line = refused(&only("  output-size: 10x10"), &[]);
    assert!(
        line.starts_with("FILE:4:16: output-size: '10x10' is not allowed: "),
        "{line}"
    );
    let line = refused(&only(""), &["--output-size", "10x10"]);
    assert!(
        line.starts_with("--output-size: '10x10' is not allowed: "),
        "{line}"
    );
}
