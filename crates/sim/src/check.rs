//! What is there after a start, asked for as any client would ask, and held against what was said before.

use crate::amqp::{self, Reading};
use crate::ledger::{Copy, Queue};
use crate::model;
use crate::stage::Stage;
use crate::wire::Wire;
use crate::world::{Past, People};
use leveret_resp::{Value, encode_command, parse_reply};
use leveret_server::sim::Machine;
use std::collections::BTreeMap;

/// Turns in which an answer must come.
const TURNS_MAX: usize = 2000;

/// Everything turns once.
fn turn(machine: &Machine) {
    for thread in 0..machine.threads() {
        machine.turn(thread);
    }
    machine.run_errands();
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
pub(crate) fn queues(machine: &Machine) -> BTreeMap<Queue, Vec<Copy>> {
    let mut wire = Wire::new(machine.connect(true).expect("there are sockets"));
    let answers = amqp::declare(&mut wire);
    let mut reading = Reading::default();
    let found = converse(machine, &mut wire, |wire| amqp::read(wire, &mut reading, answers));
    leave(machine, wire);
    found
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
    let jobs = ask(machine, &[["LRANGE", "jobs", "0", "-1"].map(|word| word.as_bytes().to_vec()).to_vec()]);
    let jobs: Vec<u64> = model::array(&jobs[0]).iter().map(model::number).collect();
    let found = queues(machine);
    let People { rng, resp, amqp, ledger, shared, journal, now_ms, .. } = people;
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
    stage.ledger.verify(&found, past.crash, stage.now_ms);
    for client in amqp {
        client.crashed();
        client.estate.crashed(machine.queue_len(&client.estate.name), past.crash);
    }
}
