//! What is there after a start, asked for as any client would ask, and held against what was said before.

use crate::amqp::{self, Found, Reading};
use crate::model;
use crate::relay::{self, STAGES};
use crate::stage::Stage;
use crate::wire::Wire;
use crate::world::{Past, People};
use leveret_resp::{Value, encode_command, parse_reply};
use leveret_server::sim::Machine;

/// Turns in which an answer must come.
const TURNS_MAX: usize = 2000;

/// Everything turns once.
fn turn(machine: &Machine) {
    for thread in 0..machine.threads() {
        machine.turn(thread);
    }
    machine.run_errands();
    machine.fetch();
    machine.flush();
}

/// Says something and waits until what has come is enough.
fn converse<T>(machine: &Machine, wire: &mut Wire, mut enough: impl FnMut(&mut Wire) -> Option<T>) -> T {
    for _ in 0..TURNS_MAX {
        wire.carry_all();
        if let Some(answer) = enough(wire) {
            return answer;
        }
        turn(machine);
    }
    panic!("whoever looks after a start is not answered: {:?}", String::from_utf8_lossy(&wire.input));
}

/// Asks several things at once.
fn ask(machine: &Machine, questions: &[Vec<Vec<u8>>]) -> Vec<Value> {
    let mut wire = Wire::new(machine.connect(false).expect("there are sockets"));
    for words in questions {
        let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
        encode_command(wire.out(), &words);
    }
    let mut answers = Vec::new();
    converse(machine, &mut wire, |wire| {
        while let Some((value, len)) = parse_reply(&wire.input).expect("the server speaks RESP") {
            wire.input.drain(..len);
            answers.push(value);
        }
        (answers.len() == questions.len()).then_some(())
    });
    leave(machine, wire);
    answers
}

/// Goes, and sees that the server has noticed.
fn leave(machine: &Machine, mut wire: Wire) {
    wire.shut();
    converse(machine, &mut wire, |wire| wire.is_over.then_some(()));
}

/// Makes the queues that everybody uses, where they are not there; gives what is in them.
pub(crate) fn queues(machine: &Machine) -> Found {
    let mut wire = Wire::new(machine.connect(true).expect("there are sockets"));
    let answers = amqp::declare(&mut wire);
    let mut reading = Reading::default();
    let found = converse(machine, &mut wire, |wire| amqp::read(wire, &mut reading, answers));
    leave(machine, wire);
    found
}

/// Keys that nobody touches, so that a checkpoint is large against its slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ballast {
    None,
    Wanted,
    /// The disk has it.
    There,
}

/// How many there are.
const BALLAST: usize = 600;

fn ballast(i: usize) -> [Vec<u8>; 2] {
    let mut value = format!("{i}.").into_bytes();
    value.resize(600, b'b');
    [format!("ballast:{i}").into_bytes(), value]
}

/// Makes them.
pub(crate) fn put_ballast(machine: &Machine) {
    let set = |i| [vec![b"SET".to_vec()], ballast(i).to_vec()].concat();
    let mut questions: Vec<_> = (0..BALLAST).map(set).collect();
    questions.push(["WAITAOF", "1", "0", "0"].map(|word| word.as_bytes().to_vec()).to_vec());
    ask(machine, &questions);
}

/// Are they as they were?
fn check_ballast(machine: &Machine, past: Past) {
    let questions: Vec<_> = (0..BALLAST).map(|i| vec![b"GET".to_vec(), ballast(i)[0].clone()]).collect();
    for (i, answer) in ask(machine, &questions).into_iter().enumerate() {
        let [_, value] = ballast(i);
        assert!(
            answer == Value::Bulk(value),
            "ballast {i} is not what it was after {:?}: {answer:?}",
            past.crash
        );
    }
}

/// What the keys of the runners are: a mark of each message, and the counters.
fn relayed(machine: &Machine, relay: &relay::Relay) -> (Vec<Vec<u8>>, Vec<u64>) {
    let marks = relay.numbers().map(relay::mark_of);
    let keys = (0..STAGES).map(relay::counter).chain(marks);
    let question: Vec<Vec<u8>> =
        std::iter::once("MGET".to_owned()).chain(keys).map(String::into_bytes).collect();
    let answer = ask(machine, &[question]).remove(0);
    let mut texts = model::array(&answer).iter().map(|value| match value {
        Value::Null => Vec::new(),
        Value::Bulk(text) => text.clone(),
        other => panic!("a mark is not {other:?}"),
    });
    let counters = texts
        .by_ref()
        .take(STAGES)
        .map(|text| if text.is_empty() { 0 } else { u64::from(crate::runner::number(&text)) });
    let counters = counters.collect();
    (texts.collect(), counters)
}

/// A start after a crash.
pub(crate) fn after(machine: &Machine, people: &mut People, past: Past) {
    if let Some(digest) = past.digest {
        assert_eq!(
            machine.digest(),
            digest,
            "the log gives another state than there was before {:?}",
            past.crash
        );
    }
    let mut answers: Vec<Vec<Value>> = Vec::new();
    for client in 0..people.resp.len() {
        answers.push(ask(machine, &model::questions(client)));
    }
    let count = ask(machine, &[vec![b"GET".to_vec(), b"shared".to_vec()]]).remove(0);
    let count = match count {
        Value::Null => 0,
        Value::Bulk(text) => String::from_utf8_lossy(&text).parse().expect("a counter is a number"),
        other => panic!("a counter is not {other:?}"),
    };
    if people.ballast == Ballast::There {
        check_ballast(machine, past);
    }
    let jobs = ask(machine, &[["LRANGE", "jobs", "0", "-1"].map(|word| word.as_bytes().to_vec()).to_vec()]);
    let jobs: Vec<u64> = model::array(&jobs[0]).iter().map(model::number).collect();
    let (marks, counters) = relayed(machine, &people.shared.relay);
    let found = queues(machine);
    let People { rng, resp, amqp, runners, ledger, shared, journal, now_ms, .. } = people;
    shared.crashed(count, past.crash);
    let mut stage = Stage {
        machine,
        rng,
        now_ms: *now_ms,
        ledger,
        shared,
        log: journal,
        always: true,
        may_be_full: false,
        runs_scripts: false,
        depth_max: 1,
        messages_max: 0,
        clients_count: resp.len(),
        seen: Vec::new(),
    };
    for (client, answers) in resp.iter_mut().zip(&answers) {
        client.crashed(&mut stage, answers, past.crash);
    }
    stage.note(|| format!("after {:?} there are jobs {jobs:?}", past.crash));
    stage.shared.jobs.crashed(&jobs, past.crash);
    stage.note(|| format!("after {:?} there are {found:?}", past.crash));
    stage.ledger.verify(&found.copies, past.crash, stage.now_ms);
    stage.shared.relay.crashed(&marks, &found.relayed, &counters, past.crash);
    for runner in runners {
        runner.crashed(stage.rng);
    }
    for client in amqp {
        client.crashed();
        client.estate.crashed(machine.queue(&client.estate.name), past.crash);
    }
}
