//! Tests of one PV.

use super::super::backlog::BacklogLimits;
use super::super::rules::Initial;
use super::*;
use crate::frame::{Dtype, FrameShape};

#[test]
fn a_frame_that_no_message_can_hold_is_refused() {
    let common = Common {
        server_queue: 16,
        max_frame_bytes: usize::MAX,
        watchdog: None,
        decompress: false,
        initial: Initial::Always,
        first_frame: None,
        scan_attribute: None,
        attributes: Vec::new(),
        position_x: None,
        position_y: None,
    };
    let settings = PvSettings {
        name: "a".to_owned(),
        server: None,
    };
    let pv = Pv::new(settings, &common, 0, 1);
    let backlog = Mutex::new(Backlog::new(BacklogLimits {
        frames: 10,
        bytes: usize::MAX,
        ack_timeout: None,
    }));
    for (id, bytes, is_kept) in [(1, MOST_PAYLOAD, true), (2, MOST_PAYLOAD + 1, false)] {
        let update = Update {
            unique_id: Some(id),
            time_stamp: id,
            data_time_stamp: id,
            attributes: Vec::new(),
            value_marked: true,
            first: false,
            overrun: false,
            lost_in_client: 0,
            content: Content::Image(Image {
                pixels: vec![0; bytes].into(),
                dtype: Dtype::U8,
                shape: FrameShape {
                    height: 1,
                    width: bytes,
                },
                codec: None,
            }),
        };
        let kept = pv.event(Event::Update(Box::new(update)), 1, &backlog);
        assert_eq!(kept, is_kept, "{bytes} bytes");
    }
    let tally = pv.tally();
    assert_eq!((tally.updates, tally.frames), (2, 1));
    assert_eq!(tally.skipped["too_large"], 1);
}
