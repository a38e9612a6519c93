//! Blocking commands. A command that found nothing waits with its arguments; when one of its keys is filled it is run
//! again, in order of arrival, each in its own commit, in the turn that filled the key. (Redis: BLPOP) Others wait until
//! what was done before them is on disk. (Redis: WAITAOF)

use crate::bridge::{self, Wait};
use crate::engine::{Engine, Position};
use crate::session::SessionId;
use leveret_broker::QueueId;
use leveret_keyspace::{Args, ArgsBuf, Block, DbIndex, Reply, Run, UnixMillis};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// What `AMQP.GET` answers that has waited in vain.
const NO_MESSAGES: &[u8] = b"*0\r\n";

/// What a blocked session waits for.
pub(crate) struct Waiting {
    db: DbIndex,
    run: Again,
    args: ArgsBuf,
    block: Block,
    /// The queue whose messages it waits for.
    queue: Option<QueueId>,
    /// It waits only until that has been read which stands first there.
    for_disk: bool,
    /// The answer after the timeout.
    timeout_reply: Vec<u8>,
}

/// What is run again.
#[derive(Clone, Copy)]
enum Again {
    Keyspace(Run),
    Bridge(bridge::Function),
}

impl Again {
    fn may_write(self) -> bool {
        match self {
            Again::Keyspace(Run::Read(_) | Run::Wait(_)) => false,
            // It takes messages.
            Again::Keyspace(Run::Write(_)) | Again::Bridge(_) => true,
        }
    }
}

impl Waiting {
    pub(crate) fn timeout_reply(&self) -> &[u8] {
        &self.timeout_reply
    }
}

/// Keys and queues.
#[derive(Default)]
struct Postponed {
    keys: BTreeSet<(DbIndex, Box<[u8]>)>,
    queues: BTreeSet<QueueId>,
}

/// Who waits for which key, and until when.
#[derive(Default)]
pub(crate) struct Waiters {
    queues: HashMap<(DbIndex, Box<[u8]>), VecDeque<SessionId>>,
    /// Who waits for messages of which queue.
    at_queues: HashMap<QueueId, VecDeque<SessionId>>,
    deadlines: BTreeSet<(UnixMillis, SessionId)>,
    /// Who is to be run again when, whatever happens until then.
    again: BTreeSet<(UnixMillis, SessionId)>,
    /// Who waits for the disk to have what.
    syncs: Vec<(Position, SessionId)>,
    /// Who waits for a checkpoint.
    saves: Vec<SessionId>,
    /// Commands of waiters that were refused since somebody asked, and with what.
    refusals: Vec<(Vec<u8>, Vec<u8>)>,
    /// What was filled during a pause for those who wait for it.
    postponed: Postponed,
    /// Somebody is being served: what that fills waits for its turn, however long the chain is.
    serving: bool,
}

impl Waiters {
    pub(crate) fn next_deadline(&self) -> Option<UnixMillis> {
        self.deadlines.first().into_iter().chain(self.again.first()).map(|(at, _)| *at).min()
    }

    /// How many sessions are blocked with a deadline, and how many keys are waited for.
    pub(crate) fn keys_count(&self) -> usize {
        self.queues.len()
    }
}

impl Engine {
    /// Blocks the session: `reply` is what it gets if nothing comes.
    pub fn wait(
        &mut self,
        id: SessionId,
        run: Run,
        db: DbIndex,
        args: Args<'_>,
        mut block: Block,
        timeout_reply: &[u8],
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for key in &block.keys {
            self.keyspace.watches.wait(db, key, block.or_lost);
            self.waiters.queues.entry((db, key.clone())).or_default().push_back(id);
        }
        if let Some(deadline) = block.deadline {
            self.waiters.deadlines.insert((deadline, id));
        }
        if let Some(at) = block.again_at {
            self.waiters.again.insert((at, id));
        }
        let args = block.again.take().unwrap_or_else(|| args.into());
        let (run, timeout_reply) = (Again::Keyspace(run), timeout_reply.to_vec());
        session.waiting = Some(Waiting { db, run, args, block, queue: None, for_disk: false, timeout_reply });
    }

    /// Blocks the session until a queue has messages for it.
    pub fn wait_at_queue(&mut self, id: SessionId, run: bridge::Function, args: Args<'_>, wait: Wait) {
        let Wait { queue, deadline, for_disk } = wait;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(deadline) = deadline {
            self.waiters.deadlines.insert((deadline, id));
        }
        session.waiting = Some(Waiting {
            db: 0,
            run: Again::Bridge(run),
            args: args.into(),
            block: Block::new(Vec::new(), "", deadline),
            queue: Some(queue),
            for_disk,
            timeout_reply: NO_MESSAGES.to_vec(),
        });
        self.waiters.at_queues.entry(queue).or_default().push_back(id);
        self.broker.await_messages(queue, true);
    }

    /// Blocks the session until everything up to now is on disk: `run` answers it then.
    pub fn wait_for_sync(
        &mut self,
        id: SessionId,
        run: Run,
        args: Args<'_>,
        deadline: Option<UnixMillis>,
        timeout_reply: &[u8],
    ) {
        let block = Block::new(Vec::new(), "", deadline);
        self.wait(id, run, 0, args, block, timeout_reply);
        self.waiters.syncs.push((self.position(), id));
    }

    /// Blocks the session until the checkpoint that was asked for is made. (Redis: SAVE)
    pub fn wait_for_checkpoint(&mut self, id: SessionId, args: Args<'_>) {
        let run = Run::Read(|_, _, reply| {
            reply.ok();
            Ok(())
        });
        self.wait(id, run, 0, args, Block::new(Vec::new(), "", None), b"-ERR\r\n");
        self.waiters.saves.push(id);
    }

    /// It is made, or could not be made.
    pub fn saved(&mut self, is_made: bool) {
        for id in std::mem::take(&mut self.waiters.saves) {
            if is_made {
                self.serve(id);
            } else if let Some(waiting) = self.stop_waiting(id) {
                self.answer(id, &waiting.timeout_reply);
            }
        }
    }

    /// How many sessions wait for the disk.
    pub fn sync_waiters_count(&self) -> usize {
        self.waiters.syncs.len()
    }

    /// The disk has everything up to `position`.
    pub fn synced(&mut self, position: Position) {
        let served: Vec<_> = self.waiters.syncs.extract_if(.., |(at, _)| *at <= position).collect();
        for (_, id) in served {
            self.serve(id);
        }
    }

    /// Keys that sessions wait for.
    pub fn awaited_keys_count(&self) -> usize {
        self.waiters.keys_count()
    }

    /// Likewise, those whose waiters want to hear when they are gone.
    pub fn loss_awaited_keys_count(&self) -> usize {
        self.keyspace.watches.loss_awaited_count()
    }

    /// The names of waiters' commands that were refused since this was asked last, and the refusals.
    #[inline]
    pub fn take_refusals(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        std::mem::take(&mut self.waiters.refusals)
    }

    pub(crate) fn stop_waiting(&mut self, id: SessionId) -> Option<Waiting> {
        let waiting = self.sessions.get_mut(&id)?.waiting.take()?;
        for key in &waiting.block.keys {
            self.keyspace.watches.stop_waiting(waiting.db, key, waiting.block.or_lost);
            let place = (waiting.db, key.clone());
            if let Some(queue) = self.waiters.queues.get_mut(&place) {
                if let Some(i) = queue.iter().position(|&other| other == id) {
                    queue.remove(i);
                }
                if queue.is_empty() {
                    self.waiters.queues.remove(&place);
                }
            }
        }
        if let Some(deadline) = waiting.block.deadline {
            self.waiters.deadlines.remove(&(deadline, id));
        }
        if let Some(at) = waiting.block.again_at {
            self.waiters.again.remove(&(at, id));
        }
        if let Some(queue) = waiting.queue
            && let Some(waiters) = self.waiters.at_queues.get_mut(&queue)
        {
            waiters.retain(|other| *other != id);
            if waiters.is_empty() {
                self.waiters.at_queues.remove(&queue);
                self.broker.await_messages(queue, false);
            }
        }
        self.waiters.syncs.retain(|(_, other)| *other != id);
        self.waiters.saves.retain(|other| *other != id);
        Some(waiting)
    }

    pub(crate) fn answer(&mut self, id: SessionId, bytes: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.pushed.extend_from_slice(bytes);
            session.mark_dirty(id, &mut self.dirty);
        }
    }

    pub(crate) fn time_out_waiters(&mut self) {
        while let Some(&(deadline, id)) = self.waiters.deadlines.first() {
            if deadline > self.now_ms() {
                break;
            }
            match self.stop_waiting(id) {
                Some(waiting) => self.answer(id, &waiting.timeout_reply),
                None => drop(self.waiters.deadlines.remove(&(deadline, id))),
            }
        }
        while let Some(&(at, id)) = self.waiters.again.first()
            && at <= self.now_ms()
        {
            self.run_again_at(id, Some(at), None);
            self.serve(id);
        }
    }

    /// Another time, or none, at which a session is run again.
    fn run_again_at(&mut self, id: SessionId, before: Option<UnixMillis>, at: Option<UnixMillis>) {
        if let Some(before) = before {
            self.waiters.again.remove(&(before, id));
        }
        if let Some(at) = at {
            self.waiters.again.insert((at, id));
        }
        let session = self.sessions.get_mut(&id);
        if let Some(waiting) = session.and_then(|session| session.waiting.as_mut()) {
            waiting.block.again_at = at;
        }
    }

    /// Serves the waiters of all keys that were filled. Serving may fill further keys (LMOVE-like commands).
    pub(crate) fn serve_waiters(&mut self) {
        if std::mem::replace(&mut self.waiters.serving, true) {
            return;
        }
        while !self.keyspace.watches.ready.is_empty() || !self.broker.filled.is_empty() {
            for place in std::mem::take(&mut self.keyspace.watches.ready) {
                self.serve_key(&place);
            }
            for queue in std::mem::take(&mut self.broker.filled) {
                self.serve_queue(queue);
            }
        }
        self.waiters.serving = false;
    }

    /// True when a pause is for a waiter: what was filled for it is looked at again when that ends. Who waits for nothing that is filled is
    /// none of those. (Redis: CLIENT PAUSE)
    fn is_postponed(&mut self, id: SessionId) -> bool {
        let session = self.sessions.get(&id);
        let Some(waiting) = session.and_then(|session| session.waiting.as_ref()) else { return false };
        let is_filled = waiting.queue.is_some() || !waiting.block.keys.is_empty();
        if !is_filled || !self.holds_back(waiting.run.may_write()) {
            return false;
        }
        let Postponed { keys, queues } = &mut self.waiters.postponed;
        keys.extend(waiting.block.keys.iter().map(|key| (waiting.db, key.clone())));
        queues.extend(waiting.queue);
        true
    }

    /// The pause is over.
    pub(crate) fn serve_postponed(&mut self) {
        let Postponed { keys, queues } = std::mem::take(&mut self.waiters.postponed);
        self.keyspace.watches.ready.extend(keys);
        self.broker.filled.extend(queues);
        // Else whoever has opened the commit goes on with that.
        if self.is_between_commits() {
            self.serve_waiters();
        }
    }

    /// Serves those who wait at a queue, in order of arrival, as long as there is something for the first of them. Whoever waits
    /// for the disk only is answered behind those, too.
    fn serve_queue(&mut self, queue: QueueId) {
        while let Some(&id) = self.waiters.at_queues.get(&queue).and_then(VecDeque::front)
            && self.serve(id)
        {}
        let Some(waiters) = self.waiters.at_queues.get(&queue) else { return };
        let is_for_disk = |id: &SessionId| {
            let session = self.sessions.get(id);
            session.and_then(|session| session.waiting.as_ref()).is_some_and(|waiting| waiting.for_disk)
        };
        let for_disk: Vec<SessionId> = waiters.iter().skip(1).copied().filter(is_for_disk).collect();
        for id in for_disk {
            self.serve(id);
        }
    }

    fn serve_key(&mut self, place: &(DbIndex, Box<[u8]>)) {
        let (db, key) = place;
        let mut next = 0;
        while let Some(&id) = self.waiters.queues.get(place).and_then(|queue| queue.get(next)) {
            let is_live = self.keyspace.is_live(*db, key, self.now_ms());
            if !is_live && !self.keyspace.watches.is_loss_awaited(*db, key) {
                break;
            }
            if !self.concerns(id, is_live) || !self.serve(id) {
                next += 1;
            }
        }
    }

    /// A key that has gone concerns only who wants to hear of that.
    fn concerns(&self, id: SessionId, is_live: bool) -> bool {
        let waiting = self.sessions.get(&id).and_then(|session| session.waiting.as_ref());
        is_live || waiting.is_some_and(|waiting| waiting.block.or_lost)
    }

    /// Runs a waiting command again; false when it goes on waiting.
    fn serve(&mut self, id: SessionId) -> bool {
        if self.is_paused() && self.is_postponed(id) {
            return false;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let (version, said) = (session.version, session.pushed.len());
        // Out of the session while it runs, and back if it was in vain.
        let Some(waiting) = session.waiting.take() else { return false };
        // One key of the right type: then a refusal is about something else, and an answer. (Redis: BLMOVE)
        let may_refuse = match &*waiting.block.keys {
            [key] if !waiting.block.or_lost => {
                self.keyspace.type_of(waiting.db, key, self.now_ms()) == Some(waiting.block.of_type)
            }
            _ => waiting.block.or_lost,
        };
        let (mut bytes, before) = (Vec::new(), self.position());
        let mut reply = Reply::new(&mut bytes, version);
        let (block, served, unlogged) = match waiting.run {
            Again::Keyspace(run) => {
                let block = self.run(run, waiting.db, waiting.args.as_args(), &mut reply);
                // What has come may be of another type; then it is none of the waiter's business. (Redis: BLPOP)
                let served = block.is_none() && (may_refuse || !reply.since(0).starts_with(b"-WRONGTYPE"));
                (block, served, false)
            }
            Again::Bridge(run) => {
                // It has the rights of its user still.
                let actor = self.actor.replace(id);
                let served = self.run_bridge(run, waiting.args.as_args(), &mut reply).is_none();
                self.actor = actor;
                (None, served, self.position() == before)
            }
        };
        let again_at = waiting.block.again_at;
        if let Some(session) = self.sessions.get_mut(&id) {
            (session.waiting, session.unlogged) = (Some(waiting), served && unlogged);
        }
        if let Some(block) = block {
            self.run_again_at(id, again_at, block.again_at);
        }
        if served {
            let waiting = self.stop_waiting(id);
            // What its own command has caused comes behind its answer.
            let session = self.sessions.get_mut(&id);
            let caused = session.map(|session| session.pushed.split_off(said.min(session.pushed.len())));
            self.answer(id, &bytes);
            if bytes.starts_with(b"-")
                && let Some(name) = waiting.and_then(|waiting| Some(waiting.args.as_args().get(0)?.to_vec()))
            {
                self.waiters.refusals.push((name, bytes));
            }
            self.answer(id, &caused.unwrap_or_default());
        }
        served
    }
}
