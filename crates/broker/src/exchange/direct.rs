//! A direct exchange: the routing key is the binding's, to the byte. (AMQP 0-9-1 3.1.3.1)

use super::{Binding, Counted, Destination, Keys, Routes};
use crate::broker::Map;

/// What each key leads to.
#[derive(Default)]
pub(super) struct Direct {
    keys: Map<Box<[u8]>, Counted>,
}

impl Routes for Direct {
    fn add(&mut self, binding: &Binding) {
        self.keys.entry(binding.key.clone()).or_default().add(binding.destination);
    }

    fn remove(&mut self, binding: &Binding) {
        if let Some(counted) = self.keys.get_mut(&binding.key) {
            counted.remove(binding.destination);
            if counted.is_empty() {
                self.keys.remove(&binding.key);
            }
        }
    }

    fn route(&mut self, keys: &Keys<'_>, into: &mut Vec<Destination>) {
        for key in keys.each() {
            if let Some(counted) = self.keys.get(key) {
                counted.list(into);
            }
        }
    }
}
