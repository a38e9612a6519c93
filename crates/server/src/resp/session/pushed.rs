//! What reaches a client unasked, in its place between the answers.

use super::RespSession;
use crate::output::Output;
use leveret_engine::Engine;

impl RespSession {
    /// Appends what others, or its own commands, have put out for it: messages keep their place between answers. What a command
    /// puts out for its own session comes behind its answer.
    #[inline]
    pub(super) fn take_pushed(&mut self, engine: &mut Engine, out: &mut Output) {
        if engine.is_dirty(self.thread) {
            self.take_pushed_now(engine, out);
        }
    }

    #[cold]
    fn take_pushed_now(&mut self, engine: &mut Engine, out: &mut Output) {
        if let Some(session) = engine.session(self.id) {
            self.thread = session.thread();
            session.take_pushed(&mut out.bytes);
        }
    }
}
