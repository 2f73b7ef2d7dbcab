//! Tests of the reader.

use super::*;
use crate::config::Config;
use crate::frame::Dtype;
use crate::inference::policy::OnInvalid;
use crate::inference::schedule::Mode;

/// What `arguments` and `variables` say.
fn reading(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Reading, String> {
    let variable = |name: &str| {
        let mut variables = variables.iter();
        let (_, value) = variables.find(|(other, _)| *other == name)?;
        Some(OsString::from(value))
    };
    read(arguments.iter().map(OsString::from), variable).map_err(|stop| stop.to_string())
}

fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Config {
    Config::try_from(reading(arguments, variables).unwrap().cli.serve).unwrap()
}

fn mistake(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    reading(arguments, variables).unwrap_err()
}

/// Value and origin of a setting.
fn setting(reading: &Reading, flag: &str) -> (String, String) {
    let setting = reading.settings.iter().find(|s| s.flag == flag).unwrap();
    (setting.value.clone(), setting.origin.clone())
}

#[test]
fn every_value_is_trimmed() {
    let tag = OnInvalid::Tag("rejected".to_owned());
    for text in [
        "tag:rejected\n",
        " tag:rejected",
        "\ttag: rejected\r\n",
        "\u{a0}tag:rejected\u{a0}",
    ] {
        assert_eq!(config(&[], &[("ON_INVALID", text)]).on_invalid, tag);
        assert_eq!(config(&["--on-invalid", text], &[]).on_invalid, tag);
        assert_eq!(
            config(&[&format!("--on-invalid={text}")], &[]).on_invalid,
            tag
        );
    }
    let variables = [
        ("MODEL_PATH", "/m.onnx\n"),
        ("OUTPUT_NAMES", " phase,\n amplitude,\n"),
        ("SOCK_PATH", " /s\n"),
        ("BATCH_SIZE", "16\n"),
        ("MODE", "sequential\r\n"),
        ("BATCH_TIMEOUT", " 5ms "),
        ("DEVICES", " 0, 1 "),
        ("HTTP_ADDRESS", "off\n"),
    ];
    let config = config(&[], &variables);
    assert_eq!(config.model.path, "/m.onnx");
    assert_eq!(config.model.outputs, ["phase", "amplitude"]);
    assert_eq!(config.sock_path.to_str(), Some("/s"));
    assert_eq!(config.mode, Mode::Sequential);
    assert_eq!(config.http_address, None);
}

#[test]
fn what_cannot_be_seen_in_a_value_is_refused() {
    for (arguments, variables, setting) in [
        (
            &["--on-invalid", "tag:re\njected"][..],
            &[][..],
            "--on-invalid",
        ),
        (&[], &[("ON_INVALID", "tag:rejected\u{200b}")], "ON_INVALID"),
        (
            &[],
            &[("OUTPUT_NAMES", "phase,ampli\u{0}tude")],
            "OUTPUT_NAMES",
        ),
        (&["--model-path=/m\x1b.onnx"], &[], "--model-path"),
        (&[], &[("SOCK_PATH", "\u{feff}/s")], "SOCK_PATH"),
        (&["inspect", "m\n.onnx"], &[], "argument"),
    ] {
        let line = mistake(arguments, variables);
        assert!(line.starts_with(&format!("{setting}: '")), "{line}");
        assert!(
            line.contains("control characters") && !line.contains('\n'),
            "{line}"
        );
    }
    // `docker --env-file` keeps quotes.
    assert_eq!(
        mistake(&[], &[("BATCH_SIZE", "\"16\"")]),
        "BATCH_SIZE: '\\\"16\\\"' is not allowed: use 16 without quotes"
    );
    assert!(mistake(&["--output='phase'"], &[]).contains("use phase without quotes"));
}

#[test]
fn a_value_that_is_no_text_is_named_and_a_path_may_be_any() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
    let told = |arguments: Vec<OsString>, name: &str, value: &[u8]| {
        let variable = |asked: &str| (asked == name).then(|| bytes(value));
        read(arguments, variable).map_err(|stop| stop.to_string())
    };
    for (arguments, name, setting) in [
        (vec![], "BATCH_SIZE", "BATCH_SIZE"),
        (vec![], "MODEL_PATH", "MODEL_PATH"),
        (vec![bytes(b"--mode=\xff")], "", "--mode"),
        (vec!["--mode".into(), bytes(b"\xff")], "", "--mode"),
    ] {
        let line = told(arguments, name, b"\xff").unwrap_err();
        assert_eq!(
            line,
            format!("{setting}: '\u{fffd}' is not allowed: use UTF-8 text")
        );
    }
    let reading = told(vec![bytes(b"--sock-path=/\xff")], "ENGINE_CACHE", b"/\xfe").unwrap();
    let config = Config::try_from(reading.cli.serve).unwrap();
    assert_eq!(config.sock_path.as_os_str(), bytes(b"/\xff"));
    assert_eq!(config.model.engine.cache.as_os_str(), bytes(b"/\xfe"));
}

#[test]
fn a_blank_value_counts_as_not_given() {
    let default = format!("{:?}", config(&[], &[]));
    let program = command();
    for arg in program.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        for blank in ["", " ", "\n"] {
            let attached = format!("--{long}={blank}");
            let mut forms = vec![vec![attached.as_str()]];
            let flag = format!("--{long}");
            if arg.get_action().takes_values() {
                forms.push(vec![flag.as_str(), blank]);
            }
            for form in forms {
                assert_eq!(format!("{:?}", config(&form, &[])), default, "{form:?}");
            }
            if let Some(name) = variable(arg) {
                let reading = reading(&[], &[(name, blank)]).unwrap();
                assert_eq!(setting_or_none(&reading, long), None, "{name}");
                assert_eq!(format!("{:?}", config(&[], &[(name, blank)])), default);
            }
        }
    }
    // A blank argument is no argument, and a blank flag leaves the setting to its variable.
    assert!(
        reading(&["", "demo", " "], &[])
            .unwrap()
            .cli
            .command
            .is_some()
    );
    let reading = reading(&["--mode", ""], &[("MODE", "concurrent")]).unwrap();
    assert_eq!(
        setting(&reading, "mode"),
        ("concurrent".into(), "MODE".into())
    );
    assert!(
        mistake(&["size", "--fps", "", "--batch-time=4ms"], &[]).starts_with("--fps is required")
    );
}

/// The origin of a setting that was given.
fn setting_or_none(reading: &Reading, flag: &str) -> Option<String> {
    let setting = reading.settings.iter().find(|s| s.flag == flag)?;
    Some(setting.origin.clone()).filter(|origin| origin != "default")
}

#[test]
fn a_yes_no_setting_is_yes_or_no_and_nothing_else() {
    let switches = [
        ("DEBUG", "debug"),
        ("SPIN", "spin"),
        ("NO_PICTURES", "no-pictures"),
        ("NO_CUDA_GRAPHS", "no-cuda-graphs"),
    ];
    for (name, flag) in switches {
        for (text, value) in [
            ("yes", "true"),
            ("TRUE", "true"),
            ("On\n", "true"),
            ("1", "true"),
            ("no", "false"),
            ("False", "false"),
            ("off ", "false"),
            ("0", "false"),
            ("false\n", "false"),
        ] {
            let as_variable = reading(&[], &[(name, text)]).unwrap();
            assert_eq!(
                setting(&as_variable, flag),
                (value.into(), name.into()),
                "{text}"
            );
            // The flag takes precedence, whatever its variable says.
            let as_flag = reading(&[&format!("--{flag}={text}")], &[(name, "maybe")]).unwrap();
            assert_eq!(
                setting(&as_flag, flag),
                (value.into(), "flag".into()),
                "{text}"
            );
        }
        let bare = reading(&[&format!("--{flag}")], &[(name, "no")]).unwrap();
        assert_eq!(setting(&bare, flag), ("true".into(), "flag".into()));
        for text in ["none", "disabled", "2", "y", "f", "-1", "maybe"] {
            let line = mistake(&[], &[(name, text)]);
            assert_eq!(
                line,
                format!(
                    "{name}: '{text}' is not allowed: use yes or no, true or false, on or off, 1 or 0"
                )
            );
            let line = mistake(&[&format!("--{flag}={text}")], &[]);
            assert!(
                line.starts_with(&format!("--{flag}: '{text}' is not allowed")),
                "{line}"
            );
        }
    }
    assert!(
        !config(&[], &[("SPIN", "off "), ("NO_CUDA_GRAPHS", "no")])
            .model
            .engine
            .spin
    );
}

#[test]
fn upper_and_lower_case_are_equal_in_every_fixed_word() {
    let lower = [
        ("MODE", "concurrent"),
        ("DEVICE", "onnxruntime"),
        ("PRECISION", "fp16"),
        ("BALANCE", "round-robin"),
        ("FRAME_DTYPE", "uint16"),
        ("OUTPUT_SIZE", "full"),
        ("OUTPUT_DTYPE", "int16"),
        ("OUTPUT_FORMAT", "raw"),
        ("ON_INVALID", "drop"),
        ("ON_FAILURE", "abort"),
        ("HTTP_ADDRESS", "off"),
        ("LOG_FORMAT", "json"),
        ("BATCH_SIZE", "auto"),
        ("PIPELINE_DEPTH", "auto"),
        ("BATCH_TIMEOUT", "off"),
        ("INFERENCE_TIMEOUT", "5ms"),
        ("DEVICES", "all"),
        ("SPIN", "yes"),
    ];
    let upper = lower.map(|(name, value)| (name, value.to_uppercase()));
    let upper = upper
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(
        format!("{:?}", config(&[], &lower)),
        format!("{:?}", config(&[], &upper))
    );
    let sized = |max| {
        reading(
            &[
                "size",
                "--fps=9",
                "--batch-time=4MS",
                max,
                "--precision=FP16",
            ],
            &[],
        )
    };
    assert!(sized("--max-payload=8MIB").is_ok());
    // A name is kept as it is; the word in front of it is a fixed one.
    let tag = config(&["--on-invalid", "TAG:Bad", "--output", "Phase"], &[]);
    assert_eq!(tag.on_invalid, OnInvalid::Tag("Bad".to_owned()));
    assert_eq!(tag.model.outputs, ["Phase"]);
}

#[test]
fn a_message_names_the_variable_or_the_flag_of_the_value() {
    for (name, flag, text) in [
        ("BATCH_SIZE", "bsz-size", "x"),
        ("MODE", "mode", "production"),
        ("DEVICE", "device", "cuda:0"),
        ("OUTPUT_SIZE", "output-size", "64"),
        ("FRAME_DTYPE", "frame-dtype", ">u2"),
    ] {
        let line = mistake(&[], &[(name, text)]);
        assert!(
            line.starts_with(&format!("{name}: '{text}' is not allowed: use ")),
            "{line}"
        );
        let line = mistake(&[&format!("--{flag}"), text], &[(name, text)]);
        assert!(
            line.starts_with(&format!("--{flag}: '{text}' is not allowed: use ")),
            "{line}"
        );
    }
    // Settings at odds with each other are told after the reading.
    let reading = reading(&["--sock-path=/a"], &[("SERVER_INFO_PATH", "/a")]).unwrap();
    let odds = Config::try_from(reading.cli.serve).unwrap_err().to_string();
    let line = crate::cli::settings::by_origin(&odds, &reading.settings);
    assert!(line.starts_with("SERVER_INFO_PATH: '/a'"), "{line}");
}

#[test]
fn only_serving_reads_the_variables_for_serving() {
    let foreign: Vec<_> = command()
        .get_arguments()
        .filter_map(variable)
        .map(|name| (name.to_owned(), "none of ours: \n".to_owned()))
        .collect();
    let foreign: Vec<_> = foreign
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    for arguments in [
        &["demo"][..],
        &["inspect", "m.onnx"],
        &["bench"],
        &["send"],
        &["size", "--fps=9", "--batch-time=4ms"],
        &["build-engine", "m.onnx", "-o", "m.engine"],
        &["bench-engine", "m.onnx"],
    ] {
        let places: Vec<_> = foreign
            .iter()
            .copied()
            .filter(|(name, _)| !PLACES.contains(name))
            .collect();
        let told = format!("{:?}", reading(arguments, &places).unwrap().cli);
        assert_eq!(told, format!("{:?}", reading(arguments, &[]).unwrap().cli));
    }
    // A place on the machine is the same for all.
    let place = [("TENSORRT_PATH", "/opt/trt"), ("ENGINE_CACHE", "/cache")];
    let told = format!(
        "{:?}",
        reading(&["inspect", "m.onnx"], &place).unwrap().cli.command
    );
    assert!(
        told.contains("/opt/trt") && told.contains("/cache"),
        "{told}"
    );
    // The source has its own variables, and those of the log.
    let told = reading(
        &["simulate-source"],
        &[("SOURCE_FPS", "7"), ("DEBUG", "1"), ("MODE", "x")],
    )
    .unwrap();
    let told = format!("{:?}", told.cli.command);
    assert!(
        told.contains("fps: 7.0") && told.contains("debug: true"),
        "{told}"
    );
    assert!(
        mistake(&["simulate-source"], &[("SOURCE_FPS", "fast")]).starts_with("SOURCE_FPS: 'fast'")
    );
}

#[test]
fn help_lists_the_variables_that_the_command_reads() {
    let wrong = [("MODE", "production"), ("TENSORRT_PATH", "/x")];
    let help = mistake(&["--help"], &wrong);
    assert!(
        help.contains("[env: MODE]") && help.contains("[env: TENSORRT_PATH]"),
        "{help}"
    );
    let help = mistake(&["inspect", "--help"], &wrong);
    assert!(
        !help.contains("[env: DEVICE") && help.contains("[env: TENSORRT_PATH]"),
        "{help}"
    );
    let help = mistake(&["help", "simulate-source"], &wrong);
    assert!(help.contains("[env: SOURCE_FPS]"), "{help}");
}

#[test]
fn a_dtype_is_read_from_its_spellings() {
    for text in ["uint16", "UINT16", "u16", "<u2"] {
        assert_eq!(
            config(&[], &[("FRAME_DTYPE", text)]).model.frame_dtype,
            Dtype::U16
        );
    }
}
