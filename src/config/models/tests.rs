use super::fields::{FIELDS, Field, Unless};
use super::*;
use crate::cli;
use crate::config::Config;
use crate::engine::EngineOptions;
use crate::inference::model::{BACKLOG, BadPixelSettings, Limits, OrAuto, Priority};
use proptest::prelude::*;

fn flags(flags: &[&str]) -> ModelSettings {
    let reading = cli::read(flags.iter().map(Into::into), |_| None).unwrap();
    Config::try_from(reading.cli.serve).unwrap().model
}

fn parsed(text: &str) -> Result<ModelsFile, String> {
    parse(text.as_bytes(), &flags(&[])).map_err(|mistake| mistake.to_string())
}

/// Two models and a route.
const TWO: &str = "default: low
models:
  - name: low
    path: /models/low.onnx
    batch: 16
  - name: high
    path: /models/high.engine
    outputs: [phase]
    bad-pixels: max=0
    priority: high
routes:
  - header: X-Energy-keV
    values: { \"8\": low, 12.50: high }
";

#[test]
fn models_routes_and_the_default_are_read() {
    let file = parsed(TWO).unwrap();
    let [low, high] = file.models.as_slice() else {
        panic!("{file:?}");
    };
    assert_eq!(
        (low.name.as_str(), low.path.as_str()),
        ("low", "/models/low.onnx")
    );
    assert_eq!(low.batch_size, OrAuto::Exactly(16));
    assert_eq!(low.engine.rows, Some(16));
    assert_eq!((low.priority, low.backlog), (Priority::Normal, 512));
    assert_eq!(
        (high.priority, &*high.outputs),
        (Priority::High, &["phase".to_owned()][..])
    );
    assert_eq!(file.default, 0);
    let values = [("12.50".to_owned(), 1), ("8".to_owned(), 0)];
    let route = Route {
        header: "x-energy-kev".to_owned(),
        values: values.into(),
    };
    assert_eq!(file.routes, [route]);
}

#[test]
fn a_single_model_is_the_default() {
    let file = parsed("models: [{ name: only, path: 'sim:' }]").unwrap();
    assert_eq!((file.models.len(), file.default), (1, 0));
}

/// Values of each field, other than those that the flags have if they are not given.
fn values(field: &Field) -> &'static [&'static str] {
    match field.name {
        "name" => &["low", "a.b_c-1"],
        "path" => &["/models/low.onnx", "sim:compute=2ms", "C d.engine"],
        "batch" => &["16", "auto", "4096", "1"],
        "priority" => &["high", "HIGH", "normal"],
        "backlog" => &["1", "65536"],
        "outputs" => &["phase", "phase,amplitude", "phase, amplitude"],
        "output-size" => &["full", "32x16", "FULL"],
        "output-dtype" => &["int16", "float32"],
        "output-format" => &["raw", "npy"],
        "frame-dtype" => &["uint16", "float64"],
        "bad-pixels" => &["off", "nan", "negative", "max,above=60000", "above=0"],
        "bad-pixel-fill" => &["median", "0"],
        "max-bad-pixels" => &["10", "2.5%"],
        "mask" => &["/mask.npy"],
        "decoders" => &["64", "auto"],
        "batch-timeout" => &["5ms", "off"],
        "inference-timeout" => &["2min", "1s"],
        "device" => &["cuda", "onnxruntime-cuda", "CPU"],
        "devices" => &["all", "0,1", "1"],
        "balance" => &["round-robin", "queue-depth"],
        "precision" => &["fp16", "TF32"],
        "allow-mixed-rows" | "spin" | "no-cuda-graphs" => &["yes", "no", "true", "off", "1"],
        "engine-cache" | "tensorrt-path" => &["/cache"],
        other => panic!("{other} has no values in this test"),
    }
}

fn model(file: &ModelsFile) -> String {
    format!("{:?}", file.models[0])
}

/// The fields of model `m`, one in each line.
fn one(fields: &[(&str, String)]) -> String {
    let mut text = "models:\n- name: m\n  path: p\n".to_owned();
    for (name, value) in fields
        .iter()
        .filter(|(name, _)| !["name", "path"].contains(name))
    {
        text += &format!("  {name}: {value}\n");
    }
    text
}

proptest! {
    /// Any fields, any of their values, written plain, quoted, or as a list.
    #[test]
    fn a_value_means_the_same_in_the_file_and_as_a_flag(
        chosen in proptest::collection::vec(any::<Option<(proptest::sample::Index, u8)>>(), FIELDS.len()),
    ) {
        let (mut fields, mut arguments) = (Vec::new(), Vec::new());
        for (field, choice) in FIELDS.iter().zip(chosen) {
            let (Some((index, form)), Unless::Flag(flag)) = (choice, field.unless) else { continue };
            let value = *index.get(values(field));
            let written = match form % 3 {
                1 if value.contains(',') => format!("[{value}]"),
                0 => format!("\"{value}\""),
                _ => value.to_owned(),
            };
            fields.push((field.name, written));
            arguments.push(format!("--{flag}={value}"));
        }
        let mut from_flags = flags(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        (from_flags.name, from_flags.path) = ("m".to_owned(), "p".to_owned());
        let from_file = parsed(&one(&fields)).unwrap();
        prop_assert_eq!(model(&from_file), format!("{from_flags:?}"));
        // What is not given has the value of the flag.
        let none = parse(one(&[]).as_bytes(), &from_flags).unwrap();
        prop_assert_eq!(model(&none), format!("{from_flags:?}"));
    }

    #[test]
    fn any_text_is_read_or_refused_in_one_line(text in r"[a-z:\-\[\]{}&*!|>'# \n0-9,]{0,200}") {
        if let Err(mistake) = parsed(&text) {
            prop_assert!(!mistake.contains(char::is_control), "{mistake:?}");
        }
    }
}

#[test]
fn each_field_takes_all_its_values_and_changes_the_settings() {
    let plain = model(&parsed(&one(&[])).unwrap());
    for field in FIELDS
        .iter()
        .filter(|field| field.unless != Unless::Required)
    {
        for value in values(field) {
            parsed(&one(&[(field.name, format!("'{value}'"))])).unwrap();
        }
        let changed = parsed(&one(&[(field.name, format!("'{}'", values(field)[0]))])).unwrap();
        assert_ne!(model(&changed), plain, "{}", field.name);
    }
}

/// A setting of a model that is added does not compile here: give it a field, and values above.
#[test]
fn each_setting_of_a_model_has_a_field() {
    let ModelSettings {
        name: _,
        path: _,
        engine:
            EngineOptions {
                device: _,
                devices: _,
                spin: _,
                cuda_graphs: _,
                precision: _,
                cache: _,
                library_path: _,
                // Set from `batch` and `outputs`, and by commands.
                rows: _,
                outputs: _,
                cache_needed: _,
            },
        balance: _,
        batch_size: _,
        frame_dtype: _,
        bad_pixels:
            BadPixelSettings {
                rule: _,
                fill: _,
                limit: _,
                mask: _,
            },
        outputs: _,
        output_size: _,
        output_dtype: _,
        output_format: _,
        decoders: _,
        limits: Limits {
            batch_timeout: _,
            inference_timeout: _,
        },
        mixing: _,
        priority: _,
        backlog: _,
    } = flags(&[]);
    assert_eq!(FIELDS.len(), 26);
}

#[test]
fn bad_pixels_take_a_rule_with_its_fill() {
    for (text, rule, fill) in [
        ("max=0", "max", "0"),
        ("max=median", "max", "median"),
        ("above=65000=median", "above=65000", "median"),
        ("above=65000", "above=65000", "0"),
        ("above=0", "above=0", "0"),
        ("above=5=0", "above=5", "0"),
        ("max,above=0", "max,above=0", "0"),
        ("[max, above=7=median]", "max,above=7", "median"),
        ("off=median", "off", "median"),
    ] {
        let file = parsed(&one(&[("bad-pixels", text.to_owned())])).unwrap();
        let same = parsed(&one(&[
            ("bad-pixels", rule.to_owned()),
            ("bad-pixel-fill", fill.to_owned()),
        ]));
        assert_eq!(model(&file), model(&same.unwrap()), "{text}");
    }
}

#[test]
fn an_empty_list_of_outputs_is_all_of_them() {
    let flags = flags(&["--output", "phase"]);
    let file = parse(one(&[("outputs", "[]".to_owned())]).as_bytes(), &flags).unwrap();
    assert!(file.models[0].outputs.is_empty());
}

#[test]
fn the_field_table_of_the_documentation_is_the_programs() {
    let cells = |field: &Field| match field.unless {
        Unless::Required => format!("| `{}` | | required | ", field.name),
        Unless::Value(value) => format!("| `{}` | | `{value}` | ", field.name),
        Unless::Flag(flag) => format!("| `{}` | `--{flag}` | the flag's | ", field.name),
    };
    let table = include_str!("../../../docs/models.md").lines();
    let rows: Vec<_> = table.filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), FIELDS.len());
    for (row, field) in rows.iter().zip(FIELDS) {
        assert!(row.starts_with(&cells(field)), "{row}\n{}", cells(field));
    }
    assert_eq!(BACKLOG.to_string(), "512");
    let example = include_str!("../../../docs/models.md");
    let example = example
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert_eq!(parsed(example).unwrap().models.len(), 2);
}

/// Mistakes that are found when the models are loaded.
mod loaded;
/// Each mistake as the line that is shown.
mod mistakes;
/// Mistakes in names.
mod names;
