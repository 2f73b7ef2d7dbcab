//! What a command line means, and what does not go with a model.

use super::*;
use crate::engine::{BatchDimension, TensorSpec};
use crate::frame::values::Element;

fn config(flags: &[&str]) -> Config {
    let cli = crate::cli::read(flags.iter().map(Into::into), |_| None)
        .unwrap()
        .cli;
    Config::try_from(cli.serve).unwrap()
}

fn model(batch: BatchDimension, input: &[usize]) -> ModelSpec {
    let tensor = |name: &str, shape: &[usize]| TensorSpec {
        name: name.to_owned(),
        shape: shape.to_vec(),
        element: Element::F32,
    };
    ModelSpec {
        input: tensor("diffraction", input),
        outputs: ["amplitude", "phase"].map(|n| tensor(n, input)).to_vec(),
        batch,
    }
}

fn refused(flags: &[&str], batch: BatchDimension, input: &[usize]) -> String {
    config(flags)
        .suit(&model(batch, input))
        .unwrap_err()
        .to_string()
}

#[test]
fn settings_that_do_not_fit_the_model_name_flag_and_remedy() {
    let image = [1, 128, 128];
    let text = refused(&["--bsz-size", "16"], BatchDimension::Static(8), &image);
    assert!(
        text.contains("--bsz-size: '16'") && text.contains("at most 8"),
        "{text}"
    );

    let text = refused(&["--output", "phases"], BatchDimension::Dynamic, &image);
    assert!(
        text.contains("'phases'") && text.contains("'amplitude', 'phase'"),
        "{text}"
    );

    let text = refused(
        &["--output-size", "256x64"],
        BatchDimension::Dynamic,
        &image,
    );
    assert!(
        text.contains("--output-size: '256x64'") && text.contains("128"),
        "{text}"
    );

    let text = refused(&[], BatchDimension::Dynamic, &[3, 128, 128]);
    assert!(text.contains("one channel"), "{text}");
}

#[test]
fn outputs_are_sent_on_in_the_order_asked_for() {
    let suited = config(&["--output", "phase,amplitude"])
        .suit(&model(BatchDimension::Static(8), &[1, 128, 128]))
        .unwrap();
    let indices: Vec<_> = suited.outputs.iter().map(|o| o.index).collect();
    assert_eq!(indices, [1, 0]);
}

#[test]
fn a_dead_letter_has_a_tag_that_no_result_has() {
    let image = [1, 128, 128];
    let text = refused(
        &["--on-invalid", "tag:phase"],
        BatchDimension::Static(8),
        &image,
    );
    assert!(
        text.starts_with("--on-invalid: 'tag:phase' is not allowed: "),
        "{text}"
    );
    // A single output has no tag, and an output that is not sent has none either.
    for flags in [
        &["--on-invalid", "tag:phase", "--output", "phase"][..],
        &["--on-invalid", "tag:phase", "--output", "amplitude"],
        &["--on-invalid", "tag:rejected"],
    ] {
        let suited = config(flags).suit(&model(BatchDimension::Static(8), &image));
        assert!(suited.is_ok(), "{flags:?}");
    }
}

#[test]
fn one_slot_fills_while_the_allowed_number_is_in_flight() {
    let slots = |mode| config(&["--mode", mode, "--pipeline-depth", "5"]).slots();
    assert_eq!(
        [slots("sequential"), slots("concurrent"), slots("pipelined")],
        [2, 5, 6]
    );
    assert_eq!(config(&["--mode", "pipelined"]).useful_read_batch(8), 32);
}

#[test]
fn auto_takes_the_batch_the_model_is_best_at() {
    let image = [1, 128, 128];
    let profile = BatchDimension::Within {
        least: 2,
        best: 16,
        most: 64,
    };
    let size = |batch| {
        let suited = config(&["--bsz-size", "auto"]).suit(&model(batch, &image));
        suited.unwrap().batch_size
    };
    assert_eq!(size(profile), 16);
    assert_eq!(size(BatchDimension::Static(4)), 4);
    let text = refused(&["--bsz-size", "65"], profile, &image);
    assert!(
        text.contains("2 to 64") && text.contains("at most 64"),
        "{text}"
    );
}

#[test]
fn an_automatic_depth_has_slots_for_its_maximum() {
    let auto = config(&["--mode", "pipelined", "--pipeline-depth", "auto"]);
    assert_eq!(auto.slots(), 9);
    assert_eq!((auto.lanes(1, None), auto.lanes(2, None)), (3, 6));
    assert_eq!(auto.lanes(1, Some(1)), 1);
    assert_eq!(auto.useful_read_batch(8), 32);
    let fixed = config(&["--mode", "pipelined", "--pipeline-depth", "5"]);
    assert_eq!((fixed.lanes(1, None), fixed.lanes(1, Some(2))), (5, 2));
}
