//! What a turn lends to what it executes: everything that threads share, and a way to serve the other clients when that takes long.

use crate::shared::Shared;
use leveret_engine::Engine;
use std::ops::Deref;

/// Lent for one visit to the engine.
pub(crate) struct Around<'a> {
    shared: &'a Shared,
    meanwhile: &'a dyn Fn(&mut Engine),
}

impl<'a> Around<'a> {
    pub(crate) fn new(shared: &'a Shared, meanwhile: &'a dyn Fn(&mut Engine)) -> Self {
        Self { shared, meanwhile }
    }

    /// Serves the other clients of this thread, as far as they can be while the engine is in use.
    pub(crate) fn serve_others(&self, engine: &mut Engine) {
        (self.meanwhile)(engine);
    }
}

impl Deref for Around<'_> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}
