//! What came before: the last items, so that one that comes again is recognised.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// The last distinct items, at most as many as it has room for.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    order: VecDeque<T>,
    items: HashSet<T>,
    room: usize,
}

impl<T: Clone + Eq + Hash> Seen<T> {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            order: VecDeque::new(),
            items: HashSet::new(),
            room,
        }
    }

    /// Whether `item` is remembered.
    #[cfg(feature = "hdf5")]
    pub(crate) fn has(&self, item: &T) -> bool {
        self.items.contains(item)
    }

    /// Notes `item`, and forgets the oldest if there is no room. False if it came before.
    pub(crate) fn insert(&mut self, item: T) -> bool {
        if !self.items.insert(item.clone()) {
            return false;
        }
        self.order.push_back(item);
        if self.order.len() > self.room
            && let Some(oldest) = self.order.pop_front()
        {
            self.items.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_items_are_remembered_and_no_more() {
        let mut seen = Seen::new(3);
        assert!([1, 2, 3].into_iter().all(|item| seen.insert(item)));
        assert!(!seen.insert(1));
        assert!(seen.insert(4));
        assert!(!seen.insert(2) && seen.insert(1));
        assert_eq!((seen.order.len(), seen.items.len()), (3, 3));
    }
}
