use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

const MS: Duration = Duration::from_millis(1);

fn engine(script: &str) -> SimulatedEngine {
    SimulatedEngine::new(script.parse().unwrap())
}

/// Runs `rows` frames on `session`: the outputs, or the error.
fn run(
    engine: &SimulatedEngine,
    session: &mut dyn Session,
    rows: usize,
    pixel: impl Fn(usize) -> f32,
) -> Result<(StageTimes, Vec<Vec<f32>>), EngineError> {
    let values = rows * engine.model().input.elements();
    let input: Vec<f32> = (0..values).map(pixel).collect();
    let mut outputs = vec![vec![0.0; values]; engine.model().outputs.len()];
    let times = session.run(Batch {
        rows,
        input: &input,
        outputs: outputs.iter_mut().map(Vec::as_mut_slice).collect(),
    })?;
    Ok((times, outputs))
}

fn run_one(engine: &SimulatedEngine, session: &mut dyn Session) -> Result<StageTimes, EngineError> {
    run(engine, session, 1, |_| 0.0).map(|(times, _)| times)
}

#[test]
fn every_pixel_of_every_output_is_as_expected() {
    let engine = engine("size=5x9,outputs=7");
    let mut session = engine.open_session(0).unwrap();
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
fn two_sessions_overlap_copies_with_computing_and_one_does_not() {
    let script = "clock=virtual,h2d=1ms,compute=2ms,d2h=1ms";
    let one = engine(script);
    let mut session = one.open_session(0).unwrap();
    for _ in 0..8 {
        run_one(&one, session.as_mut()).unwrap();
    }
    assert_eq!(one.device_time(), 8 * 4 * MS);

    let two = engine(script);
    let mut sessions = [two.open_session(0).unwrap(), two.open_session(1).unwrap()];
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
        engine.open_session(0).unwrap(),
        engine.open_session(1).unwrap(),
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
    let mut session = engine.open_session(0).unwrap();
    let start = Instant::now();
    run_one(&engine, session.as_mut()).unwrap();
    run_one(&engine, session.as_mut()).unwrap();
    assert!(start.elapsed() >= 2 * 4 * MS);
}

#[test]
fn faults_come_at_their_ordinals_counted_over_all_sessions() {
    let engine = engine("clock=virtual,error=2+5,error-every=4,panic=3");
    let mut sessions = [
        engine.open_session(0).unwrap(),
        engine.open_session(1).unwrap(),
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
    let mut session = engine.open_session(0).unwrap();
    let mut output = vec![-1.0; 4];
    let result = session.run(Batch {
        rows: 1,
        input: &[0.0; 4],
        outputs: vec![&mut output],
    });
    assert!(matches!(result, Err(EngineError::Run(_))));
    assert_eq!(output, [-1.0; 4]);
}

#[test]
fn a_lost_device_stays_lost_for_its_session_and_uses_no_more_ordinals() {
    let engine = engine("lost=1");
    let mut session = engine.open_session(0).unwrap();
    for _ in 0..3 {
        let error = run_one(&engine, session.as_mut()).unwrap_err();
        assert!(matches!(error, EngineError::DeviceLost(_)) && error.is_fatal());
    }
    assert_eq!((engine.stats().batches, engine.stats().losses), (1, 1));
    let mut fresh = engine.open_session(1).unwrap();
    assert!(run_one(&engine, fresh.as_mut()).is_ok());
}

#[test]
fn sessions_after_the_last_allowed_are_refused() {
    let engine = engine("refuse-sessions-after=2");
    assert!(engine.open_session(0).is_ok());
    assert!(engine.open_session(1).is_ok());
    let refused = engine.open_session(2).err().unwrap().to_string();
    assert_eq!(
        refused,
        "cannot open a session on lane 2: the simulated device refuses sessions after 2"
    );
    assert_eq!((engine.stats().sessions, engine.stats().refusals), (2, 1));
}

#[test]
fn a_hang_blocks_its_lane_for_its_time_and_then_gives_its_result() {
    let engine = engine("size=2,hang=1,hang-time=20ms");
    let mut session = engine.open_session(0).unwrap();
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
            let mut session = engine.open_session(lane).unwrap();
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
fn a_batch_of_the_wrong_size_is_an_error_and_never_reaches_the_device() {
    let engine = engine("size=2,batch=2,outputs=2");
    let mut session = engine.open_session(0).unwrap();
    let mut attempt = |rows, input: usize, outputs: &[usize]| {
        let input = vec![0.0; input];
        let mut outputs: Vec<_> = outputs.iter().map(|n| vec![0.0; *n]).collect();
        session
            .run(Batch {
                rows,
                input: &input,
                outputs: outputs.iter_mut().map(Vec::as_mut_slice).collect(),
            })
            .map_err(|error| error.to_string())
    };
    assert!(attempt(2, 8, &[8, 8]).is_ok());
    for (rows, input, outputs, said) in [
        (
            1,
            4,
            &[4, 4][..],
            "a batch of 1 rows, where the model's batch dimension is fixed at 2",
        ),
        (
            2,
            7,
            &[8, 8],
            "7 values for 2 rows of input[N×1×2×2], where a row has 4",
        ),
        (
            2,
            8,
            &[8, 9],
            "9 values for 2 rows of output_1[N×1×2×2], where a row has 4",
        ),
        (2, 8, &[8], "room for 1 outputs, where the model has 2"),
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
