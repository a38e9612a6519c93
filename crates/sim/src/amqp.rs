//! An AMQP client: publishes with confirms on one channel and in transactions on the other, gets, consumes and settles on both.
//! What each answer promises goes into the ledger. A connection executes in order, so an answer speaks of all that was said
//! before; what it promises for the disk, too, as the log has one order.

mod channel;
mod estate;
mod talk;

pub(crate) use talk::{Found, Reading, declare, read};

use crate::ledger::{Certainty, Copy, Step};
use crate::stage::Stage;
use crate::wire::Wire;
use channel::Channel;
use estate::Estate;
use leveret_amqp::{Frame, FrameKind, Method, PROTOCOL_HEADER};
use std::collections::VecDeque;

#[derive(Debug, PartialEq)]
enum Phase {
    Away,
    /// It has said its last word and waits for the server to close the connection.
    Fading,
    Running,
}

/// Something that was said and is not certain yet.
enum Said {
    Published(Copy),
    Settled(Copy),
    /// With the queue of its own.
    Own,
}

/// What an answer is waited for: its name, and what follows from it.
pub(crate) struct Awaited {
    name: &'static str,
    step: u64,
    certainty: Certainty,
}

pub(crate) struct AmqpClient {
    phase: Phase,
    /// While there is no connection.
    pub(crate) estate: Estate,
    link: Option<Link>,
}

/// One connection.
pub(crate) struct Link {
    wire: Wire,
    /// Its number in the ledger.
    serial: u32,
    /// How many steps it has made.
    step: u64,
    said: VecDeque<(u64, Said)>,
    /// Answers on channel 0.
    awaited: VecDeque<&'static str>,
    channels: [Channel; 2],
    estate: Estate,
}

/// `connection.start-ok` and so on, up to an open connection.
pub(crate) fn shake_hands(out: &mut Vec<u8>) {
    out.extend_from_slice(&PROTOCOL_HEADER);
    let start = leveret_amqp::ConnectionStartOk {
        mechanism: b"PLAIN",
        response: b"\0guest\0guest",
        locale: b"en_US",
        ..Default::default()
    };
    Method::from(start).encode(0, out);
    Method::from(leveret_amqp::ConnectionTuneOk { frame_max: 8192, ..Default::default() }).encode(0, out);
    Method::from(leveret_amqp::ConnectionOpen { virtual_host: b"/", ..Default::default() }).encode(0, out);
}

/// The answers to that.
pub(crate) const SHAKEN: [&str; 3] = ["connection.start", "connection.tune", "connection.open-ok"];

impl AmqpClient {
    pub(crate) fn new(number: usize) -> Self {
        Self { phase: Phase::Away, estate: Estate::new(number), link: None }
    }

    /// The network does something for it.
    pub(crate) fn carry(&mut self, stage: &mut Stage<'_>) {
        if let Some(link) = &mut self.link {
            link.wire.carry(stage.rng);
            self.hear(stage);
        }
    }

    /// Likewise, all that there is to do.
    pub(crate) fn carry_all(&mut self, stage: &mut Stage<'_>) {
        if let Some(link) = &mut self.link {
            link.wire.carry_all();
            self.hear(stage);
        }
    }

    /// It waits for nothing.
    pub(crate) fn is_content(&self) -> bool {
        match (&self.phase, &self.link) {
            (Phase::Running, Some(link)) => {
                link.awaited.is_empty() && link.channels.iter().all(Channel::is_content)
            }
            (Phase::Fading, _) => false,
            (Phase::Away | Phase::Running, _) => true,
        }
    }

    /// It does something.
    pub(crate) fn act(&mut self, stage: &mut Stage<'_>) {
        match (&self.phase, &mut self.link) {
            (Phase::Away, _) => {
                self.link = Some(Link::new(stage, std::mem::take(&mut self.estate)));
                self.phase = Phase::Running;
            }
            (Phase::Running, Some(link)) => {
                if stage.rng.u16(..400) == 0 {
                    link.leave(stage);
                    self.estate = std::mem::take(&mut link.estate);
                    self.estate.left();
                    self.phase = Phase::Fading;
                } else {
                    let which = stage.rng.usize(..2);
                    link.act(stage, which);
                }
            }
            (Phase::Running | Phase::Fading, _) => {}
        }
    }

    /// The server is gone, and everything that it was said is in the ledger, but for its own queue.
    pub(crate) fn crashed(&mut self) {
        if let (Phase::Running, Some(link)) = (&self.phase, &mut self.link) {
            self.estate = std::mem::take(&mut link.estate);
        }
        (self.phase, self.link) = (Phase::Away, None);
    }

    fn hear(&mut self, stage: &mut Stage<'_>) {
        let Some(link) = &mut self.link else { return };
        if self.phase == Phase::Fading {
            link.wire.input.clear();
            if link.wire.is_over {
                (self.phase, self.link) = (Phase::Away, None);
            }
            return;
        }
        link.hear(stage);
        assert!(!link.wire.is_over, "the server has closed connection {}", link.serial);
    }
}

impl Link {
    fn new(stage: &mut Stage<'_>, estate: Estate) -> Self {
        let wire = Wire::new(stage.machine.connect(true).expect("there are sockets"));
        let serial = stage.ledger.connect();
        stage.note(|| format!("connection {serial} begins"));
        let channels = [Channel::new(1, false, serial), Channel::new(2, true, serial)];
        let said = VecDeque::new();
        let mut link = Self { wire, serial, step: 0, said, awaited: SHAKEN.into(), channels, estate };
        shake_hands(link.wire.out());
        for channel in &mut link.channels {
            channel.open(&mut link.step, link.wire.out());
        }
        link
    }

    /// With or without a word.
    fn leave(&mut self, stage: &mut Stage<'_>) {
        let with_a_word = stage.rng.bool();
        stage.note(|| {
            format!("connection {} ends {}", self.serial, if with_a_word { "well" } else { "badly" })
        });
        if with_a_word {
            let close =
                leveret_amqp::ConnectionClose { reply_code: 200, reply_text: b"bye", ..Default::default() };
            Method::from(close).encode(0, self.wire.out());
        } else {
            self.wire.shut();
        }
        stage.ledger.alive.remove(&self.serial);
    }

    fn act(&mut self, stage: &mut Stage<'_>, which: usize) {
        let Self { wire, serial, step, said, channels, estate, .. } = self;
        let by = (*serial, *step + 1);
        let acted = channels[which].act(stage, estate, by, wire.out());
        if let Some(what) = acted {
            *step += 1;
            said.extend(what.into_iter().map(|what| (*step, what)));
        }
    }

    fn hear(&mut self, stage: &mut Stage<'_>) {
        let input = std::mem::take(&mut self.wire.input);
        let mut at = 0;
        while let Some((frame, len)) = leveret_amqp::parse(&input[at..], 0).expect("the server speaks AMQP") {
            at += len;
            self.frame(stage, &frame);
        }
        self.wire.input = input;
        self.wire.input.drain(..at);
    }

    fn frame(&mut self, stage: &mut Stage<'_>, frame: &Frame<'_>) {
        let Some(index) = usize::from(frame.channel).checked_sub(1) else {
            if frame.kind != FrameKind::Method {
                return;
            }
            let method = Method::decode(frame.payload).expect("the server sends methods that exist");
            match method {
                Method::ConnectionBlocked(_) | Method::ConnectionUnblocked(_) => return,
                _ => {}
            }
            let awaited = self.awaited.pop_front();
            assert_eq!(awaited, Some(method.name()), "connection {} hears {method:?}", self.serial);
            return;
        };
        let channel = self.channels.get_mut(index).expect("the server uses channels that were opened");
        let mut heard = (&mut self.step, &self.estate, self.wire.out());
        let learned = channel.frame(stage, self.serial, frame, &mut heard);
        if let Some((step, certainty)) = learned {
            self.learn(stage, step, certainty);
        }
    }

    /// Everything up to a step was done.
    fn learn(&mut self, stage: &mut Stage<'_>, step: u64, certainty: Certainty) {
        let certainty = stage.spared_by_full(certainty);
        if certainty == Certainty::Said {
            return;
        }
        let by: Step = (self.serial, step);
        for (step, said) in self.said.iter().take_while(|(at, _)| *at <= step) {
            match said {
                Said::Published(copy) => stage.ledger.published(*copy, certainty),
                Said::Own => self.estate.learn(*step, certainty),
                Said::Settled(copy) => stage.ledger.settled(*copy, (self.serial, *step), certainty),
            }
        }
        if certainty == Certainty::Synced {
            while self.said.front().is_some_and(|(at, _)| *at <= step) {
                self.said.pop_front();
            }
            stage.ledger.forget_groups(by);
        }
    }
}
