//! A fanout exchange: every binding gets every message, whatever its key. (AMQP 0-9-1 3.1.3.2)

use super::{Binding, Counted, Destination, Keys, Routes};

/// Where all bindings lead.
#[derive(Default)]
pub(super) struct Fanout {
    all: Counted,
}

impl Routes for Fanout {
    fn add(&mut self, binding: &Binding) {
        self.all.add(binding.destination);
    }

    fn remove(&mut self, binding: &Binding) {
        self.all.remove(binding.destination);
    }

    fn route(&mut self, _: &Keys<'_>, into: &mut Vec<Destination>) {
        self.all.list(into);
    }
}
