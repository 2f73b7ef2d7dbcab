//! The queue between a monitor's callback and its reader.
//!
//! The callback never waits: an update that does not fit is left out, and the next one that fits carries the count.
//! Connection events always fit. Those between which no update lies are merged, so that the queue holds at most two
//! of them for each update, plus two.

use std::collections::VecDeque;
use std::net::SocketAddr;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::change::Change;

/// What the callback reports.
#[derive(Debug)]
pub(super) enum Item {
    /// A connection, and its other end.
    Connected(SocketAddr),
    /// The connection is gone.
    Disconnected,
    /// An update, or why it cannot be decoded; and how many updates were left out before it.
    Update(Result<Change, String>, u64),
}

#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    pushed: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    updates: usize,
    left_out: u64,
    closed: bool,
}

impl Queue {
    /// A queue for `capacity` updates, and at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            inner: Mutex::default(),
            pushed: Notify::new(),
            capacity: capacity.max(1),
        }
    }

    /// Adds an update, or counts it as left out.
    pub(super) fn update(&self, update: Result<Change, String>) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        if inner.updates >= self.capacity {
            inner.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut inner.left_out);
        inner.updates += 1;
        inner.items.push_back(Item::Update(update, left_out));
        drop(inner);
        self.pushed.notify_one();
    }

    /// Adds a connection event.
    pub(super) fn connection(&self, peer: Option<SocketAddr>) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        let last = inner.items.len().checked_sub(1);
        let before_last = last.and_then(|last| last.checked_sub(1));
        let is = |index: Option<usize>, disconnected: bool| {
            index
                .and_then(|index| inner.items.get(index))
                .is_some_and(|item| match item {
                    Item::Connected(_) => !disconnected,
                    Item::Disconnected => disconnected,
                    Item::Update(..) => false,
                })
        };
        match peer {
            // Lost, connected, lost: lost.
            None if is(last, false) && is(before_last, true) => {
                inner.items.pop_back();
            }
            None if is(last, true) => {}
            None => inner.items.push_back(Item::Disconnected),
            Some(peer) => inner.items.push_back(Item::Connected(peer)),
        }
        drop(inner);
        self.pushed.notify_one();
    }

    /// The oldest item.
    pub(super) fn pop(&self) -> Option<Item> {
        let mut inner = self.inner.lock();
        let item = inner.items.pop_front();
        if let Some(Item::Update(..)) = item {
            inner.updates -= 1;
        }
        item
    }

    /// Waits until something has been added since the last call. For one reader.
    pub(super) async fn pushed(&self) {
        self.pushed.notified().await;
    }

    /// Empties the queue, and ignores what is added from now on: a monitor that was given up can go on for a while.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.items.clear();
        inner.updates = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> Result<Change, String> {
        Err(String::new())
    }

    fn names(queue: &Queue) -> String {
        let items = std::iter::from_fn(|| queue.pop());
        let names = items.map(|item| match item {
            Item::Connected(peer) => format!("c{} ", peer.port()),
            Item::Disconnected => "d ".to_owned(),
            Item::Update(_, left_out) => format!("u{left_out} "),
        });
        names.collect::<String>().trim_end().to_owned()
    }

    fn peer(port: u16) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn what_does_not_fit_is_counted_on_the_next_that_fits() {
        let queue = Queue::new(2);
        for _ in 0..5 {
            queue.update(update());
        }
        assert_eq!(names(&queue), "u0 u0");
        queue.update(update());
        queue.update(update());
        assert_eq!(names(&queue), "u3 u0");
    }

    #[test]
    fn connections_fit_into_a_full_queue_in_their_order() {
        let queue = Queue::new(1);
        queue.connection(peer(1));
        queue.update(update());
        queue.connection(None);
        queue.connection(peer(2));
        queue.update(update());
        assert_eq!(names(&queue), "c1 u0 d c2");
    }

    #[test]
    fn connections_without_updates_do_not_add_up() {
        let queue = Queue::new(1);
        queue.connection(peer(1));
        for port in 2..1000 {
            queue.connection(None);
            queue.connection(peer(port));
        }
        assert_eq!(names(&queue), "c1 d c999");
        queue.connection(None);
        queue.connection(None);
        assert_eq!(names(&queue), "d");
    }

    #[test]
    fn a_closed_queue_stays_empty() {
        let queue = Queue::new(2);
        queue.update(update());
        queue.close();
        queue.update(update());
        queue.connection(None);
        assert_eq!(names(&queue), "");
    }
}
