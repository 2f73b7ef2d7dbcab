use super::*;
use crate::OutputRows;
use beamflow_frame::values::{Values, ValuesMut};
use half::f16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

const MS: Duration = Duration::from_millis(1);

fn engine(script: &str) -> SimulatedEngine {
    SimulatedEngine::new(script.parse().unwrap())
}

/// Lane `lane` on the first device.
fn place(lane: usize) -> Place {
    on(0, lane)
}

fn on(device: usize, lane: usize) -> Place {
    Place {
        lane,
        device,
        rows: 1,
        cuda_graphs: true,
    }
}

/// Runs `rows` frames on `session`: the outputs, or the error.
fn run(
    engine: &SimulatedEngine,
    session: &mut dyn Session,
    rows: usize,
    pixel: impl Fn(usize) -> f32,
) -> Result<(StageTimes, Vec<Vec<f32>>), EngineError> {
    let row = engine.model().input.elements();
    let values = rows * row;
    let input: Vec<f32> = (0..values).map(pixel).collect();
    let mut outputs = vec![vec![0.0; values]; engine.model().outputs.len()];
    let times = session.run(Batch {
        rows,
        input: Values::F32(&input),
        outputs: outputs
            .iter_mut()
            .map(|o| OutputRows::whole(ValuesMut::F32(o), row))
            .collect(),
    })?;
    Ok((times, outputs))
}

fn run_one(engine: &SimulatedEngine, session: &mut dyn Session) -> Result<StageTimes, EngineError> {
    run(engine, session, 1, |_| 0.0).map(|(times, _)| times)
}

#[test]
fn every_pixel_of_every_output_is_as_expected() {
    let engine = engine("size=5x9,outputs=7");
    let mut session = engine.open_session(place(0)).unwrap();
    let pixel = |i: usize| i as f32 * 7.0 - 300.0;
    let (_, outputs) = run(&engine, session.as_mut(), 3, pixel).unwrap();
    for (k, output) in outputs.iter().enumerate() {
        for (i, value) in output.iter().enumerate() {
            assert_eq!(
                *value,
                expected(k, i % 45, pixel(i)),
                "output {k}, value {i}"
            );
        }
    }
}

#[test]
fn models_on_the_same_devices_wait_for_each_other() {
    let [one, other, alone] = [
        "on=shared,clock=virtual,compute=4ms",
        "on=shared,clock=virtual,compute=6ms,devices=2",
        "clock=virtual,compute=6ms",
    ]
    .map(engine);
    assert_eq!(one.devices(), ["shared-0"]);
    assert_eq!(other.devices(), ["shared-0", "shared-1"]);
    for engine in [&one, &other, &alone] {
        let mut session = engine.open_session(place(0)).unwrap();
        run_one(engine, session.as_mut()).unwrap();
    }
    assert_eq!(other.device_time(), 10 * MS);
    assert_eq!(alone.device_time(), 6 * MS);
    assert_eq!(one.stats().batches, 2);
}

#[test]
fn two_sessions_overlap_copies_with_computing_and_one_does_not() {
    let script = "clock=virtual,h2d=1ms,compute=2ms,d2h=1ms";
    let one = engine(script);
    let mut session = one.open_session(place(0)).unwrap();
    for _ in 0..8 {
        run_one(&one, session.as_mut()).unwrap();
    }
    assert_eq!(one.device_time(), 8 * 4 * MS);

    let two = engine(script);
    let mut sessions = [
        two.open_session(place(0)).unwrap(),
        two.open_session(place(1)).unwrap(),
    ];
    for i in 0..8 {
        run_one(&two, sessions[i % 2].as_mut()).unwrap();
    }
    // Fill, eight times the slowest stage, drain.
    assert_eq!(two.device_time(), MS + 8 * 2 * MS + MS);
    assert_eq!(two.busy(), one.busy());
    assert_eq!(two.busy().total(), 8 * 4 * MS);
}

#[test]
fn reported_times_leave_out_the_wait_for_a_unit() {
    let engine = engine("clock=virtual,h2d=1ms,compute=9ms,d2h=2ms");
    let mut sessions = [
        engine.open_session(place(0)).unwrap(),
        engine.open_session(place(1)).unwrap(),
    ];
    let stages = StageTimes {
        copy_in: MS,
        compute: 9 * MS,
        copy_out: 2 * MS,
    };
    for session in &mut sessions {
        assert_eq!(run_one(&engine, session.as_mut()).unwrap(), stages);
    }
}

#[test]
fn a_real_clock_is_waited_for() {
    // Only that it is not early: how late it is depends on the machine.
    let engine = engine("h2d=1ms,compute=2ms,d2h=1ms");
    let mut session = engine.open_session(place(0)).unwrap();
    let start = Instant::now();
    run_one(&engine, session.as_mut()).unwrap();
    run_one(&engine, session.as_mut()).unwrap();
    assert!(start.elapsed() >= 2 * 4 * MS);
}

#[test]
fn faults_come_at_their_ordinals_counted_over_all_sessions() {
    let engine = engine("clock=virtual,error=2+5,error-every=4,panic=3");
    let mut sessions = [
        engine.open_session(place(0)).unwrap(),
        engine.open_session(place(1)).unwrap(),
    ];
    let mut told = Vec::new();
    for i in 0..8 {
        let session = sessions[i % 2].as_mut();
        told.push(
            match catch_unwind(AssertUnwindSafe(|| run_one(&engine, session))) {
                Ok(Ok(_)) => "fine".to_owned(),
                Ok(Err(error)) => {
                    assert!(!error.is_fatal());
                    error.to_string()
                }
                Err(panic) => panic.downcast_ref::<String>().unwrap().to_owned(),
            },
        );
    }
    let error = |n| format!("the engine failed: simulated error in batch {n}");
    let fine = || "fine".to_owned();
    let panic = "simulated panic in batch 3".to_owned();
    let expected = [
        fine(),
        error(2),
        panic,
        error(4),
        error(5),
        fine(),
        fine(),
        error(8),
    ];
    assert_eq!(told, expected);
    let stats = engine.stats();
    assert_eq!((stats.batches, stats.computed, stats.rows), (8, 3, 3));
    assert_eq!(
        (stats.errors, stats.panics, stats.open, stats.max_in_flight),
        (4, 1, 0, 1)
    );
}

#[test]
fn a_failed_batch_leaves_the_outputs_alone() {
    let engine = engine("size=2,error=1");
    let mut session = engine.open_session(place(0)).unwrap();
    let mut output = vec![-1.0; 4];
    let result = session.run(Batch {
        rows: 1,
        input: Values::F32(&[0.0; 4]),
        outputs: vec![OutputRows::whole(ValuesMut::F32(&mut output), 4)],
    });
    assert!(matches!(result, Err(EngineError::Run(_))));
    assert_eq!(output, [-1.0; 4]);
}

#[test]
fn a_lost_session_stays_lost_and_uses_no_more_ordinals() {
    let engine = engine("lost=1");
    let mut session = engine.open_session(place(0)).unwrap();
    for _ in 0..3 {
        let error = run_one(&engine, session.as_mut()).unwrap_err();
        assert!(matches!(error, EngineError::SessionLost(_)) && error.is_fatal());
    }
    assert_eq!((engine.stats().batches, engine.stats().losses), (1, 1));
    let mut fresh = engine.open_session(place(1)).unwrap();
    assert!(run_one(&engine, fresh.as_mut()).is_ok());
}

#[test]
fn sessions_after_the_last_allowed_are_refused() {
    let engine = engine("refuse-sessions-after=2");
    assert!(engine.open_session(place(0)).is_ok());
    assert!(engine.open_session(place(1)).is_ok());
    let refused = engine.open_session(place(2)).err().unwrap().to_string();
    assert_eq!(
        refused,
        "cannot open a session on lane 2: the simulated device refuses sessions after 2"
    );
    assert_eq!((engine.stats().sessions, engine.stats().refusals), (2, 1));
}

#[test]
fn a_hang_blocks_its_lane_and_then_gives_its_result() {
    let engine = engine("size=2,hang=1,hang-time=20ms");
    let mut session = engine.open_session(place(0)).unwrap();
    let start = Instant::now();
    let (_, outputs) = run(&engine, session.as_mut(), 1, |_| 3.0).unwrap();
    assert!(start.elapsed() >= 20 * MS);
    assert_eq!(outputs[0][0], expected(0, 0, 3.0));
    assert_eq!(engine.stats().hangs, 1);
}

#[test]
fn open_batches_are_counted_where_lanes_run_side_by_side() {
    // Each batch stays open for 24 hours; the threads end with the test program.
    let engine = engine("size=2,hang=1+2+3,hang-time=24h");
    let ready = Arc::new(Barrier::new(4));
    for lane in 0..3 {
        let (engine, ready) = (engine.clone(), Arc::clone(&ready));
        std::thread::spawn(move || {
            let mut session = engine.open_session(place(lane)).unwrap();
            ready.wait();
            let _ = run_one(&engine, session.as_mut());
        });
    }
    ready.wait();
    let patience = Instant::now() + Duration::from_secs(60);
    while engine.stats().open < 3 && Instant::now() < patience {
        std::thread::sleep(MS);
    }
    assert_eq!(engine.stats().max_in_flight, 3);
}

#[test]
fn a_batch_of_the_wrong_size_never_reaches_the_device() {
    let engine = engine("size=2,batch=2,outputs=2");
    let mut session = engine.open_session(place(0)).unwrap();
    let mut attempt = |rows, input: usize, outputs: &[usize]| {
        let input = vec![0.0; input];
        let mut outputs: Vec<_> = outputs.iter().map(|n| vec![0.0; *n]).collect();
        session
            .run(Batch {
                rows,
                input: Values::F32(&input),
                outputs: outputs
                    .iter_mut()
                    .map(|o| OutputRows::whole(ValuesMut::F32(o), 4))
                    .collect(),
            })
            .map_err(|error| error.to_string())
    };
    assert!(attempt(2, 8, &[8, 8]).is_ok());
    for (rows, input, outputs, said) in [
        (
            1,
            4,
            &[4, 4][..],
            "a batch of 1 rows, but the model's batch dimension is fixed at 2",
        ),
        (
            2,
            7,
            &[8, 8],
            "7 f32 values for 2 rows of input[N×1×2×2], but a row has 4 of f32",
        ),
        (
            2,
            8,
            &[8, 9],
            "9 f32 values for 2 rows of output_1[N×1×2×2], but a row has 4 of f32",
        ),
        (2, 8, &[8], "room for 1 outputs, but the model has 2"),
    ] {
        assert_eq!(
            attempt(rows, input, outputs).unwrap_err(),
            format!("the engine failed: {said}")
        );
    }
    assert_eq!(engine.stats().batches, 1);
}

#[test]
fn the_description_says_that_it_is_no_model() {
    let engine = engine("size=32,compute=2ms,error=3");
    assert_eq!(
        engine.description(),
        "SIMULATED device, not a model: 32x32 frames, 1 output(s), batch dynamic; copy in 0ns, compute 2ms, \
         copy out 0ns a batch (size=32x32,compute=2ms,error=3)"
    );
}

#[test]
fn devices_work_side_by_side_and_share_one_count_of_batches() {
    let engine = engine("clock=virtual,compute=10ms,devices=2,error=2");
    let mut first = engine.open_session(on(0, 0)).unwrap();
    let mut second = engine.open_session(on(1, 1)).unwrap();
    assert_eq!(engine.devices(), ["sim-0", "sim-1"]);
    assert!(run_one(&engine, first.as_mut()).is_ok());
    assert!(run_one(&engine, second.as_mut()).is_err());
    // Each batch took its own device's ten milliseconds: nobody waited.
    assert_eq!(engine.device_time(), 10 * MS);
}

#[test]
fn a_lost_device_answers_nobody_and_the_other_goes_on() {
    let engine = engine("clock=virtual,devices=2,device-lost=1");
    let mut first = engine.open_session(on(0, 0)).unwrap();
    let mut second = engine.open_session(on(0, 1)).unwrap();
    let mut other = engine.open_session(on(1, 2)).unwrap();
    for session in [&mut first, &mut second] {
        let error = run_one(&engine, session.as_mut()).unwrap_err();
        assert!(matches!(error, EngineError::DeviceLost(_)), "{error}");
    }
    assert!(engine.open_session(on(0, 3)).is_err());
    assert!(run_one(&engine, other.as_mut()).is_ok());
    assert!(engine.open_session(on(1, 4)).is_ok());
}

#[test]
fn a_half_precision_input_is_computed_in_single_precision() {
    let engine = engine("size=2,input=f16");
    assert_eq!(engine.model().input.element, Element::F16);
    let input = [1.0, 2.5, -3.0, 2048.0].map(f16::from_f32);
    let mut output = [0.0; 4];
    let batch = Batch {
        rows: 1,
        input: Values::F16(&input),
        outputs: vec![OutputRows::whole(ValuesMut::F32(&mut output), 4)],
    };
    engine.open_session(place(0)).unwrap().run(batch).unwrap();
    for (position, pixel) in input.iter().enumerate() {
        assert_eq!(output[position], expected(0, position, pixel.to_f32()));
    }
}

#[test]
fn memory_is_given_per_device_and_session() {
    assert_eq!(engine("size=512").memory(1).unwrap(), None);
    let engine = engine("size=512,memory=3,devices=2");
    let memory = engine.memory(1).unwrap().unwrap();
    assert_eq!(memory.len(), 2);
    // Input and output of 512 × 512 values of four bytes are 2 MiB.
    assert_eq!(memory[1].lanes(), 1);
}
