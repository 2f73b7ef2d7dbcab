use super::*;
use proptest::prelude::*;

fn message(text: &str) -> String {
    text.parse::<Script>().unwrap_err().to_string()
}

#[test]
fn an_empty_script_is_all_defaults() {
    assert_eq!("".parse::<Script>().unwrap(), Script::default());
    assert_eq!(" ".parse::<Script>().unwrap(), Script::default());
    assert_eq!(Script::default().to_string(), "");
}

#[test]
fn every_key_is_understood() {
    let text = "size=48x32,input=f16,outputs=2,batch=8,devices=2,on=gpu,memory=64,h2d=300us,compute=2ms,d2h=0.3ms,jitter=0.1,seed=7,clock=virtual,\
                error=3+7,error-every=100,panic=4,hang=5,hang-time=1.5s,lost=6,device-lost=8,\
                hang-session=9,refuse-sessions-after=0";
    let script: Script = text.parse().unwrap();
    let expected = Script {
        size: (48, 32),
        input: Element::F16,
        outputs: 2,
        batch: BatchDimension::Static(8),
        devices: 2,
        on: Some("gpu".to_owned()),
        memory: Some(64),
        h2d: Duration::from_micros(300),
        compute: Duration::from_millis(2),
        d2h: Duration::from_micros(300),
        jitter: 0.1,
        seed: 7,
        clock: Clock::Virtual,
        faults: Faults {
            error: [3, 7].into(),
            error_every: Some(100),
            panic: [4].into(),
            hang: [5].into(),
            hang_time: Duration::from_millis(1500),
            lost: [6].into(),
            device_lost: [8].into(),
            hang_session: [9].into(),
            refuse_sessions_after: Some(0),
        },
    };
    assert_eq!(script, expected);
    for key in KEYS {
        assert!(script.get(key).is_some(), "{key} is not written");
    }
}

#[test]
fn a_mistake_names_the_key_the_value_and_what_is_allowed() {
    let cases = [
        ("compute", r#"sim: "compute" is not key=value"#),
        ("compute=1ms,", r#"sim: "" is not key=value"#),
        (
            "speed=1",
            r#"sim: there is no key "speed"; the keys are size, input, outputs, "#,
        ),
        ("seed=1,seed=1", "sim: seed is given twice"),
        (
            "size=0",
            r#"sim: size: '0' is not allowed: use HxW or N, each from 1 to 8192"#,
        ),
        (
            "size=64x",
            r#"sim: size: '64x' is not allowed: use HxW or N"#,
        ),
        (
            "outputs=8",
            r#"sim: outputs: '8' is not allowed: use a whole number from 1 to 7"#,
        ),
        (
            "batch=0",
            r#"sim: batch: '0' is not allowed: use dynamic, a whole number from 1"#,
        ),
        (
            "compute=2",
            r#"sim: compute: '2' is not allowed: use a time up to 24h such as 2ms"#,
        ),
        ("h2d=-1ms", r#"sim: h2d: '-1ms' is not allowed: use a time"#),
        (
            "d2h=25h",
            r#"sim: d2h: '25h' is not allowed: use a time up to 24h"#,
        ),
        (
            "d2h=1.2.3ms",
            r#"sim: d2h: '1.2.3ms' is not allowed: use a time"#,
        ),
        (
            "on=GPU 0",
            r#"sim: on: 'GPU 0' is not allowed: use a name of up to 32"#,
        ),
        (
            "jitter=1.5",
            r#"sim: jitter: '1.5' is not allowed: use a number from 0 to 1"#,
        ),
        (
            "jitter=nan",
            r#"sim: jitter: 'nan' is not allowed: use a number from 0 to 1"#,
        ),
        (
            "clock=atomic",
            r#"sim: clock: 'atomic' is not allowed: use real or virtual"#,
        ),
        (
            "error=0",
            r#"sim: error: '0' is not allowed: use ordinals of batches from 1"#,
        ),
        (
            "panic=3+",
            r#"sim: panic: '3+' is not allowed: use ordinals of batches from 1"#,
        ),
        (
            "error-every=0",
            r#"sim: error-every: '0' is not allowed: use a whole number from 1"#,
        ),
    ];
    for (text, start) in cases {
        let said = message(text);
        assert!(said.starts_with(start), "{text}: {said}");
    }
}

proptest! {
    #[test]
    fn a_script_written_out_parses_to_itself(
        size in (1_usize..=8192, 1_usize..=8192),
        outputs in 1_usize..=7,
        batch in proptest::option::of(1_usize..=65_536),
        profile in proptest::option::of((1_usize..=8, 8_usize..=16, 16_usize..=65_536)),
        (devices, memory) in (1_usize..=16, proptest::option::of(1_usize..=1 << 20)),
        half in any::<bool>(),
        times in proptest::array::uniform4(0_u64..=86_400_000_000_000),
        jitter in 0.0_f64..=1.0,
        seed in any::<u64>(),
        is_virtual in any::<bool>(),
        lists in proptest::array::uniform6(proptest::collection::btree_set(1_u64.., 0..4)),
        error_every in proptest::option::of(1_u64..),
        refuse_sessions_after in proptest::option::of(any::<u64>()),
    ) {
        let [h2d, compute, d2h, hang_time] = times.map(Duration::from_nanos);
        let [error, panic, hang, lost, device_lost, hang_session] = lists;
        let script = Script {
            size,
            outputs,
            input: if half { Element::F16 } else { Element::F32 },
            batch: match (batch, profile) {
                (_, Some((least, best, most))) => BatchDimension::Within { least, best, most },
                (Some(rows), None) => BatchDimension::Static(rows),
                (None, None) => BatchDimension::Dynamic,
            },
            devices,
            on: (devices == 2).then(|| "gpu".to_owned()),
            memory,
            h2d,
            compute,
            d2h,
            jitter,
            seed,
            clock: if is_virtual { Clock::Virtual } else { Clock::Real },
            faults: Faults { error, error_every, panic, hang, hang_time, lost, device_lost, hang_session, refuse_sessions_after },
        };
        prop_assert_eq!(script.to_string().parse::<Script>().unwrap(), script);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "([a-z0-9-]{0,8}[=,+.µ]?){0,8}|.*") {
        let _ = text.parse::<Script>();
    }
}
