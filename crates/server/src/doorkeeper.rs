//! The doorkeeper thread does what is meant to take long about passwords, beside the event loops.

use crate::backlog::Backlog;
use crate::shared::Shared;
use leveret_engine::SessionId;
use leveret_engine::accounts::Errand;

/// What is to be done: at most one errand for each connection.
pub(crate) type Doorkeeper = Backlog<(SessionId, Errand)>;

impl Shared {
    /// The thread.
    pub(crate) fn keep_the_door(&self) {
        while let Some((id, errand)) = self.doorkeeper.next() {
            self.run_errand(id, &errand);
        }
    }

    pub(crate) fn run_errand(&self, id: SessionId, errand: &Errand) {
        let finding = errand.run(salt);
        let mut engine = self.engine.lock();
        engine.found(id, errand, finding);
        self.leave(engine);
    }
}

/// Random bytes for a new password.
pub fn salt() -> [u8; 16] {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the system had random numbers when the server started");
    salt
}
