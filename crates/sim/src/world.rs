//! One seed: a server lives and crashes several times, and what its clients were told is held against what is there then. In
//! a life every step is picked by the seed: a turn of an event loop, a piece of the network, a word of a client, a sync, a slice of
//! a checkpoint. A sync and a checkpoint take their time, in which other steps come.

use crate::amqp::AmqpClient;
use crate::check::{self, Ballast};
use crate::disk::{Fate, PowerCut, SimDisk, set_meanwhile};
use crate::fortune::{Fortune, fortune};
use crate::ledger::{Crash, Ledger};
use crate::resp::RespClient;
use crate::runner::Runner;
use crate::stage::{Journal, Shared, Stage};
use leveret_server::sim::{Machine, Stopped, set_clock};
use leveret_server::{Fsync, StartError};
use leveret_wal::Storage;
use leveret_wal::faulty::FaultyDisk;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// Bytes of a segment before its first block.
const SEGMENT_HEAD: u64 = 32;
/// When the world begins: in the year 2033.
const START_MS: u64 = 2_000_000_000_000;

/// What came of a seed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) crashes: u64,
    pub(crate) steps: u64,
    pub(crate) events: u64,
    pub(crate) checkpoints: u64,
    /// Commits of the runners that have lasted.
    pub(crate) passes: u64,
    /// Of all that has happened.
    pub(crate) digest: u64,
}

/// What outlives a server.
pub(crate) struct People {
    pub(crate) rng: fastrand::Rng,
    pub(crate) resp: Vec<RespClient>,
    pub(crate) amqp: Vec<AmqpClient>,
    pub(crate) runners: Vec<Runner>,
    pub(crate) ledger: Ledger,
    pub(crate) shared: Shared,
    pub(crate) journal: Journal,
    pub(crate) outcome: Outcome,
    pub(crate) now_ms: u64,
    pub(crate) ballast: Ballast,
    /// A server has started since the last crash, and what is there was compared.
    pub(crate) is_started: bool,
    pub(crate) is_checked: bool,
}

/// How the last life has ended, and the state that it has left for certain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) crash: Crash,
    pub(crate) digest: Option<u64>,
}

/// A life is over in the midst of something.
struct TimeUp;

/// All clients.
struct Crowd<'a> {
    resp: &'a mut [RespClient],
    amqp: &'a mut [AmqpClient],
    runners: &'a mut [Runner],
}

/// One life.
pub(crate) struct World {
    pub(crate) machine: Machine,
    disk: SimDisk,
    people: Rc<RefCell<People>>,
    fortune: Fortune,
    /// What is on its way, with steps of others in between.
    checkpointing: Cell<bool>,
    syncing: Cell<bool>,
    steps: Cell<u64>,
    me: Weak<World>,
}

/// Runs a seed, a few lives long or so many minutes; what is wrong panics.
pub(crate) fn run(seed: u64, minutes: Option<u64>, is_told: bool) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(seed);
    fastrand::seed(rng.u64(..));
    let mut disk = SimDisk::new(FaultyDisk::new(rng.u64(..)), rng.u64(..));
    let lives = rng.usize(3..9);
    // Small, so that a life crosses many: what one turn hands to the kernel is there as a whole or not at all, unless a segment ends.
    let segment_bytes = [512, 2048, 16 * 1024][rng.usize(..3)];
    let ballast = if rng.u8(..6) == 0 { Ballast::Wanted } else { Ballast::None };
    // Some seeds are mostly of those who pass messages on.
    let (others, runners) = if rng.u8(..4) == 0 { (2, 4..9) } else { (5, 0..5) };
    let people = Rc::new(RefCell::new(People {
        resp: (0..rng.usize(1..others)).map(RespClient::new).collect(),
        amqp: (0..rng.usize(1..others)).map(AmqpClient::new).collect(),
        runners: (0..rng.usize(runners)).map(|id| Runner::new(id, &mut rng)).collect(),
        rng,
        ledger: Ledger::default(),
        shared: Shared::default(),
        journal: Journal::new(is_told),
        outcome: Outcome::default(),
        now_ms: START_MS,
        ballast,
        is_started: true,
        is_checked: true,
    }));
    let mut past: Option<Past> = None;
    for life in 0.. {
        let now_ms = people.borrow().now_ms;
        let is_last = minutes.map_or(life == lives, |minutes| now_ms >= START_MS + minutes * 60_000);
        let fortune = fortune(&mut people.borrow_mut().rng, segment_bytes, is_last);
        people.borrow_mut().journal.note(0, || format!("life {life}: {fortune:?}"));
        let ended = catch_unwind(AssertUnwindSafe(|| live(&disk, &people, fortune, past)));
        set_meanwhile(None);
        disk.set_fate(None, Fate::Power);
        disk.inner.free_space();
        let mut people = people.borrow_mut();
        let now = match ended {
            Ok(Ok(digest)) => Past { crash: fortune.crash, digest },
            Ok(Err(why)) => {
                assert!(fortune.fate.is_some_and(|(_, fate)| fate == Fate::Error), "no start: {why}");
                let now_ms = people.now_ms;
                people.journal.note(now_ms, || format!("no start: {why}"));
                Past { crash: Crash::Killed, digest: None }
            }
            Err(why) if why.is::<PowerCut>() => Past { crash: Crash::Power, digest: None },
            Err(why) if why.is::<TimeUp>() => Past { crash: fortune.crash, digest: None },
            Err(why) if why.is::<Stopped>() => {
                assert!(
                    fortune.fate.is_some_and(|(_, fate)| fate == Fate::Error),
                    "the server stops for nothing"
                );
                // With its machine or alone.
                let crash = if people.rng.bool() { Crash::Power } else { Crash::Killed };
                Past { crash, digest: None }
            }
            Err(why) => resume_unwind(why),
        };
        let now_ms = people.now_ms;
        people.journal.note(now_ms, || format!("crash: {now:?}"));
        if now.crash == Crash::Power {
            let seed = people.rng.u64(..);
            disk = SimDisk::new(disk.inner.crash(), seed);
        }
        people.outcome.crashes += 1;
        past = Some(match past {
            // It was over before anybody had looked.
            Some(before) if !people.is_checked => Past {
                crash: if now.crash == Crash::Power { Crash::Power } else { before.crash },
                digest: before.digest.filter(|_| now.crash != Crash::Power && !people.is_started),
            },
            Some(_) | None => now,
        });
        (people.is_started, people.is_checked) = (false, false);
        if is_last {
            break;
        }
    }
    let ended = live(&disk, &people, Fortune::quiet(segment_bytes), past);
    set_meanwhile(None);
    set_clock(None);
    if let Err(why) = ended {
        panic!("no start: {why}");
    }
    let people = people.borrow();
    Outcome {
        digest: people.journal.digest(),
        events: people.journal.events,
        passes: people.shared.relay.passes(),
        ..people.outcome
    }
}

/// From the start to the end of a server; gives the state that the disk must have then, if it is known.
fn live(
    disk: &SimDisk,
    people: &Rc<RefCell<People>>,
    fortune: Fortune,
    past: Option<Past>,
) -> Result<Option<u64>, StartError> {
    set_clock(Some(people.borrow().now_ms));
    if let Some((left, fate)) = fortune.fate {
        disk.set_fate(Some(left), fate);
    }
    if fortune.short_reads {
        disk.inner.short_reads();
    }
    let machine = Machine::start(Arc::new(disk.clone()), &fortune.setup)?;
    let world = Rc::new_cyclic(|me| World {
        machine,
        disk: disk.clone(),
        people: people.clone(),
        fortune,
        checkpointing: Cell::new(false),
        syncing: Cell::new(false),
        steps: Cell::new(0),
        me: me.clone(),
    });
    people.borrow_mut().is_started = true;
    if let Some(past) = past {
        check::after(&world.machine, &mut people.borrow_mut(), past);
    } else {
        check::queues(&world.machine);
    }
    people.borrow_mut().is_checked = true;
    let ballast = people.borrow().ballast;
    if ballast == Ballast::Wanted {
        check::put_ballast(&world.machine);
        people.borrow_mut().ballast = Ballast::There;
    }
    let me = world.me.clone();
    set_meanwhile(Some(Rc::new(move || {
        if let Some(world) = me.upgrade() {
            world.meanwhile();
        }
    })));
    if let Some(bytes) = fortune.full {
        disk.inner.full_after(bytes);
    }
    while world.steps.get() < fortune.steps {
        world.step(false);
    }
    if fortune.settles {
        world.settle();
    }
    if fortune.crash == Crash::Stopped {
        // Nobody is left to do anything meanwhile.
        set_meanwhile(None);
        world.machine.stop();
    }
    let is_known = fortune.crash != Crash::Power && !world.machine.is_full();
    Ok(is_known.then(|| world.machine.digest()))
}

impl World {
    /// Steps of others while a sync takes its time.
    fn meanwhile(&self) {
        if self.syncing.replace(true) {
            return;
        }
        let count = self.people.borrow_mut().rng.u8(..4);
        for _ in 0..count {
            self.step(true);
        }
        self.syncing.set(false);
    }

    /// One step of anybody; `is_within` another.
    fn step(&self, is_within: bool) {
        self.steps.set(self.steps.get() + 1);
        if is_within && self.steps.get() >= self.fortune.steps && self.fortune.crash != Crash::Stopped {
            resume_unwind(Box::new(TimeUp));
        }
        let (what, thread) = {
            let people = &mut *self.people.borrow_mut();
            people.outcome.steps += 1;
            people.now_ms += match people.rng.u8(..20) {
                0..=13 => 0,
                14..=18 => people.rng.u64(1..4),
                _ => people.rng.u64(5..200),
            };
            set_clock(Some(people.now_ms));
            (people.rng.u8(..100), people.rng.usize(..self.machine.threads()))
        };
        match what {
            0..=29 => drop(self.machine.turn(thread)),
            30..=54 => self.act(),
            55..=84 => self.carry(),
            // Whoever syncs has that lock for himself.
            85..=93 if !self.syncing.get() => self.machine.flush(),
            94..=96 if !self.syncing.get() => self.machine.prepare(),
            97 => self.machine.run_errands(),
            99 => self.machine.fetch(),
            98 if !self.syncing.get() => self.checkpoint(),
            _ => {}
        }
    }

    fn act(&self) {
        self.with_one(RespClient::act, AmqpClient::act, Runner::act);
    }

    fn carry(&self) {
        self.with_one(RespClient::carry, AmqpClient::carry, Runner::carry);
    }

    /// Somebody, of whatever kind.
    fn with_one(
        &self,
        resp: fn(&mut RespClient, &mut Stage<'_>),
        amqp: fn(&mut AmqpClient, &mut Stage<'_>),
        runner: fn(&mut Runner, &mut Stage<'_>),
    ) {
        self.with_stage(|crowd, stage| {
            let counts = [crowd.amqp.len(), crowd.resp.len(), crowd.runners.len()];
            let who = stage.rng.usize(..counts.iter().sum::<usize>());
            if let Some(client) = crowd.amqp.get_mut(who) {
                amqp(client, stage);
            } else if let Some(client) = crowd.resp.get_mut(who - counts[0]) {
                resp(client, stage);
            } else {
                runner(&mut crowd.runners[who - counts[0] - counts[1]], stage);
            }
        });
    }

    fn with_stage(&self, run: impl FnOnce(&mut Crowd<'_>, &mut Stage<'_>)) {
        let people = &mut *self.people.borrow_mut();
        let People { rng, resp, amqp, runners, ledger, shared, journal, now_ms, .. } = people;
        let mut stage = Stage {
            machine: &self.machine,
            rng,
            now_ms: *now_ms,
            ledger,
            shared,
            log: journal,
            always: self.fortune.setup.fsync == Fsync::Always,
            may_be_full: self.fortune.full.is_some(),
            runs_scripts: self.fortune.runs_scripts,
            depth_max: self.fortune.depth_max,
            messages_max: 60,
            clients_count: resp.len(),
            seen: Vec::new(),
        };
        run(&mut Crowd { resp, amqp, runners }, &mut stage);
        let certainty = stage.certainty();
        for (client, number) in std::mem::take(&mut stage.seen) {
            resp[client].was_seen(number, certainty);
        }
    }

    fn checkpoint(&self) {
        if self.checkpointing.replace(true) {
            return;
        }
        self.note("a checkpoint begins");
        self.disk.take_checkpoint_write();
        let is_alone = Cell::new(true);
        let look = || {
            let bytes = self.disk.take_checkpoint_write();
            let slice = self.fortune.setup.slice_bytes;
            assert!(
                !is_alone.get() || bytes <= slice + UNIT_MAX,
                "a slice of a checkpoint has {bytes} bytes and should have about {slice}"
            );
        };
        let position = self.machine.checkpoint(|| {
            look();
            let count = self.people.borrow_mut().rng.u8(..6);
            is_alone.set(count == 0);
            for _ in 0..count {
                self.step(true);
            }
        });
        // The last one; what its sync has let happen is in no slice.
        look();
        self.checkpointing.set(false);
        self.note(if position.is_some() { "a checkpoint is made" } else { "a checkpoint has failed" });
        if position.is_some() {
            self.people.borrow_mut().outcome.checkpoints += 1;
            self.check_space();
        }
    }

    /// What a new checkpoint makes unnecessary is gone.
    fn check_space(&self) {
        let names = self.disk.list().expect("a disk in memory can be listed");
        let segments = names.iter().filter(|name| name.ends_with(".segment") && self.has_records(name));
        let segments = segments.count() as u64;
        let checkpoints = names.iter().filter(|name| name.ends_with(".checkpoint")).count();
        // A segment of which at least half is named is kept as it is.
        let logged = self.machine.logged_bytes() + self.machine.kept_bytes();
        // Heads of blocks count in a small segment, and what a record leaves empty that waits for the next one.
        let segments_max = 3 + logged / (self.fortune.setup.segment_bytes / 2);
        assert!(
            segments <= segments_max && checkpoints == 1,
            "{segments} segments and {checkpoints} checkpoints are there after one was made, with {logged} bytes since or kept: {names:?}"
        );
    }

    /// A power cut may have left the heads of segments and taken all their records; they go with a checkpoint of a later position.
    fn has_records(&self, name: &str) -> bool {
        let file = self.disk.open(name).expect("a file in memory can be opened");
        let mut first = [0];
        file.read_at(&mut first, SEGMENT_HEAD).map_or(true, |len| len == 1 && first != [0])
    }

    fn note(&self, what: &str) {
        let people = &mut *self.people.borrow_mut();
        let now_ms = people.now_ms;
        people.journal.note(now_ms, || what.to_owned());
    }

    /// Nobody says anything new; everybody is answered.
    fn settle(&self) {
        self.note("all wait");
        self.disk.inner.free_space();
        let mut waiting = Vec::new();
        for _ in 0..400 {
            waiting.clear();
            self.with_stage(|crowd, stage| {
                for (i, client) in crowd.resp.iter_mut().enumerate() {
                    client.carry_all(stage);
                    waiting.extend((!client.is_content()).then(|| format!("client {i}")));
                }
                for (i, client) in crowd.amqp.iter_mut().enumerate() {
                    client.carry_all(stage);
                    waiting.extend((!client.is_content()).then(|| format!("AMQP client {i}")));
                }
                for (i, runner) in crowd.runners.iter_mut().enumerate() {
                    runner.carry_all(stage);
                    waiting.extend((!runner.is_content()).then(|| format!("runner {i}")));
                }
            });
            if waiting.is_empty() {
                return;
            }
            for thread in 0..self.machine.threads() {
                self.machine.turn(thread);
            }
            self.machine.run_errands();
            self.machine.fetch();
            self.machine.flush();
            let now_ms = {
                let people = &mut *self.people.borrow_mut();
                people.now_ms += 50;
                people.now_ms
            };
            set_clock(Some(now_ms));
        }
        panic!("not answered for 20 seconds: {waiting:?}");
    }
}

/// What is handed over without a look at how much it was: of the broker a message, of the keyspace 64 small entries, or a collection
/// of at most 64 KiB, or large elements whose hashes begin alike.
const UNIT_MAX: usize = 160 * 1024;
