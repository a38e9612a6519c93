//! Those who pass messages on from stage to stage, with keys beside them, each pass in one commit: over Redis' protocol under a
//! lease, or over AMQP in `tx` with commands as messages. They go at any byte of what they say.

mod amqp;
mod resp;

use crate::stage::Stage;
use crate::wire::Wire;
use amqp::AmqpRunner;
use resp::RespRunner;

pub(crate) enum Runner {
    Resp(RespRunner),
    Amqp(AmqpRunner),
}

/// With more messages under way nothing new is published.
const BATONS_MAX: usize = 12;

impl Runner {
    pub(crate) fn new(id: usize, rng: &mut fastrand::Rng) -> Self {
        if rng.bool() { Runner::Resp(RespRunner::new(id)) } else { Runner::Amqp(AmqpRunner::new(id)) }
    }

    /// It does something.
    pub(crate) fn act(&mut self, stage: &mut Stage<'_>) {
        match self {
            Runner::Resp(runner) => runner.act(stage),
            Runner::Amqp(runner) => runner.act(stage),
        }
    }

    /// The network does something for it.
    pub(crate) fn carry(&mut self, stage: &mut Stage<'_>) {
        if let Some(wire) = self.wire() {
            wire.carry(stage.rng);
            self.hear(stage);
        }
    }

    /// Likewise, all that there is to do.
    pub(crate) fn carry_all(&mut self, stage: &mut Stage<'_>) {
        if let Some(wire) = self.wire() {
            wire.carry_all();
            self.hear(stage);
        }
    }

    fn wire(&mut self) -> Option<&mut Wire> {
        match self {
            Runner::Resp(runner) => runner.wire.as_mut(),
            Runner::Amqp(runner) => runner.wire.as_mut(),
        }
    }

    fn hear(&mut self, stage: &mut Stage<'_>) {
        match self {
            Runner::Resp(runner) => runner.hear(stage),
            Runner::Amqp(runner) => runner.hear(stage),
        }
    }

    /// It waits for nothing.
    pub(crate) fn is_content(&self) -> bool {
        match self {
            Runner::Resp(runner) => runner.is_content(),
            Runner::Amqp(runner) => runner.is_content(),
        }
    }

    /// The server is gone.
    pub(crate) fn crashed(&mut self, rng: &mut fastrand::Rng) {
        match self {
            Runner::Resp(runner) => runner.crashed(rng),
            Runner::Amqp(runner) => runner.crashed(),
        }
    }
}

/// The number in a message's body.
pub(crate) fn number(body: &[u8]) -> u32 {
    std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()).expect("a body is a number")
}
