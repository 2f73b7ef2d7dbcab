//! Models of the router: the frames of one call go to two models, one of which hangs.

use crate::inference::metrics::intake::Intake;
use crate::inference::models::deal;
use crate::inference::schedule::{Arrived, Call, Datums, Report};
use crate::inference::sync::{Mutex, choose, spawn};
use crate::schedules::{
    Checked, Collected, DATUMS, IMPATIENT, PATIENT, Subject, any_mode, check, datum,
};
use crate::scripted::Fate;
use beamflow::inference::ledger::Answer;
use shuttle::future::{block_on, yield_now};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What one of the models answers of the datums that are dealt to it.
async fn answer(
    subject: &Subject,
    datums: mpsc::Receiver<Arrived>,
    intake: &Mutex<Intake>,
) -> (Vec<Answer>, Report) {
    let answers = Collected::default();
    let call = Call::new(&subject.model.common, intake, &answers);
    subject.schedule.run(Datums::Routed(datums), &call).await;
    let report = call.finish().await;
    (answers.take(), report)
}

/// Each frame is answered once, by its model; those of the sound one have their results.
pub fn each_frame_is_answered_once_by_its_model_while_another_hangs() {
    let mode = any_mode();
    let hangs = Subject::new(mode, &[Fate::Succeed, Fate::Hang, Fate::Fail], IMPATIENT);
    let sound = Subject::new(mode, &[Fate::Succeed], PATIENT);
    let subjects = [hangs, sound];
    let (sender, datums) = mpsc::channel(2);
    spawn(async move {
        for number in 0..DATUMS {
            for model in ["x", "y"] {
                yield_now().await;
                let mut datum = datum(number);
                datum.headers.insert("x-model".to_owned(), model.to_owned());
                let _ = sender.send(datum).await;
            }
        }
    });
    let [hangs, sound] = &subjects;
    let answered = block_on(async {
        let intake = Mutex::new(Intake::new(&sound.model.common.counts));
        // Small backlogs make the router wait.
        let (to_hanging, of_hanging) = mpsc::channel(1 + choose(DATUMS));
        let (to_sound, of_sound) = mpsc::channel(1 + choose(DATUMS));
        let backlogs = vec![
            (to_hanging, Arc::clone(&hangs.model.metrics)),
            (to_sound, Arc::clone(&sound.model.metrics)),
        ];
        let routes = &sound.model.common.routes;
        let dealt = deal(routes, Datums::Coming(datums, &intake), backlogs);
        let answers = (
            answer(hangs, of_hanging, &intake),
            answer(sound, of_sound, &intake),
        );
        let (of_hanging, of_sound, ()) = futures::join!(answers.0, answers.1, dealt);
        [of_hanging, of_sound]
    });
    let [of_hanging, of_sound] = answered.map(check);
    assert_eq!(of_sound.done, DATUMS - 1);
    let Checked { done, .. } = of_hanging;
    assert!(done < DATUMS);
    subjects.into_iter().for_each(Subject::end);
}
