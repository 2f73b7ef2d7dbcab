//! The queue between a monitor's callback and its reader.
//!
//! The callback never waits. Updates that do not fit are left out, all but the newest: it waits outside until there is
//! room, and carries the count of those that it replaced. So the last update of a burst is never lost, unless the
//! connection ends before there is room for it. Connection events always fit. Those between which no update lies are
//! merged, so that the queue holds at most two of them for each update, plus two.

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
    /// The newest update, if it does not fit.
    overflow: Option<Result<Change, String>>,
    /// Updates that were left out since the last one in `items`.
    left_out: u64,
    closed: bool,
}

impl Inner {
    fn push(&mut self, update: Result<Change, String>) {
        let left_out = std::mem::take(&mut self.left_out);
        self.updates += 1;
        self.items.push_back(Item::Update(update, left_out));
    }

    /// Keeps `update` in place of the one that does not fit either.
    fn overflow(&mut self, update: Result<Change, String>) {
        self.overflow = Some(match self.overflow.take() {
            None => update,
            Some(older) => {
                self.left_out += 1;
                older.and_then(|older| update.map(|newer| newer.in_place_of(&older)))
            }
        });
    }
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

    /// Adds an update, or keeps it in place of the last one.
    pub(super) fn update(&self, update: Result<Change, String>) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        if inner.updates >= self.capacity {
            inner.overflow(update);
            return;
        }
        inner.push(update);
        drop(inner);
        self.pushed.notify_one();
    }

    /// Adds a connection event.
    pub(super) fn connection(&self, peer: Option<SocketAddr>) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        // It has no place between the events, and the next connection begins with what the PV holds.
        if inner.overflow.take().is_some() {
            inner.left_out += 1;
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
            if let Some(update) = inner.overflow.take() {
                inner.push(update);
            }
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
        inner.overflow = None;
        inner.updates = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use epics_pva_rs::pvdata::PvField;
    use std::sync::Arc;

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
    fn of_what_does_not_fit_the_newest_is_kept_and_counts_the_others() {
        let queue = Queue::new(2);
        for _ in 0..5 {
            queue.update(update());
        }
        assert_eq!(names(&queue), "u0 u0 u2");
        queue.update(update());
        queue.update(update());
        assert_eq!(names(&queue), "u0 u0");
    }

    #[test]
    fn an_update_replaced_by_one_without_an_image_leaves_its_marks() {
        let change = |value_marked, first| {
            Ok(Change {
                value: Arc::new(PvField::Null),
                value_marked,
                overrun: false,
                first,
            })
        };
        let queue = Queue::new(1);
        queue.update(change(true, true));
        queue.update(change(true, false));
        queue.update(change(false, false));
        let _ = queue.pop();
        let Some(Item::Update(Ok(last), 1)) = queue.pop() else {
            panic!("the newest is kept");
        };
        assert!(last.value_marked && !last.first);
        // An error is not hidden by what comes after it.
        queue.update(change(true, false));
        queue.update(update());
        queue.update(change(true, false));
        let _ = queue.pop();
        assert!(matches!(queue.pop(), Some(Item::Update(Err(_), 1))));
    }

    #[test]
    fn the_end_of_the_connection_ends_what_does_not_fit() {
        let queue = Queue::new(1);
        queue.update(update());
        queue.update(update());
        queue.connection(None);
        queue.connection(peer(1));
        assert_eq!(queue.pop().map(|_| ()), Some(()));
        queue.update(update());
        assert_eq!(names(&queue), "d c1 u1");
    }

    #[test]
    fn connections_fit_into_a_full_queue_in_their_order() {
        let queue = Queue::new(1);
        queue.connection(peer(1));
        queue.update(update());
        queue.connection(None);
        queue.connection(peer(2));
        queue.update(update());
        assert_eq!(names(&queue), "c1 u0 d c2 u0");
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
