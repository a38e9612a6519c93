//! Delays of any length from queues alone, as Celery and NServiceBus make them: 28 levels of a topic exchange and a queue
//! whose messages expire after 2^level seconds, a routing key that begins with the bits of the delay. Where a bit is set a
//! message goes to the level's queue and dies into the next level's exchange, where it is not it goes there at once.

use super::world::{Pieces, World};
use std::collections::BTreeMap;

const LEVELS: u32 = 28;
const SEED: u64 = 28;
const MESSAGES: usize = 120;

fn must(world: &mut World, who: &str, what: &str, answer: &str) {
    let told = world.say(who, what).expect("it is understood");
    assert_eq!(told, format!("{who}< {answer}\n"), "{what}");
}

/// `*.*.1.#` and the like: a bit of the delay, behind those of the levels above.
fn pattern(level: u32, rest: &str) -> String {
    "*.".repeat((LEVELS - 1 - level) as usize) + rest
}

/// What a worker declares when it starts, in the order in which it does.
fn declare(world: &mut World, queue_type: &str) {
    let strategy = if queue_type == "quorum" { ", x-dead-letter-strategy: at-least-once" } else { "" };
    for level in (0..LEVELS).rev() {
        let next = level.checked_sub(1).map_or("delivery".to_owned(), |next| format!("level{next}"));
        let ttl_ms = 2u64.pow(level) * 1000;
        let arguments = format!(
            "{{x-queue-type: {queue_type}, x-overflow: reject-publish, x-message-ttl: {ttl_ms}, x-dead-letter-exchange: {next}{strategy}}}"
        );
        let name = format!("level{level}");
        let exchange = format!("exchange.declare exchange={name} kind=topic durable");
        must(world, "1.1", &exchange, "exchange.declare-ok");
        let queue = format!("queue.declare queue={name} durable arguments={arguments}");
        must(world, "1.1", &queue, &format!("queue.declare-ok queue={name}"));
        let key = pattern(level, "1.#");
        let bind = format!("queue.bind queue={name} exchange={name} routing_key={key}");
        must(world, "1.1", &bind, "queue.bind-ok");
    }
    must(world, "1.1", "exchange.declare exchange=delivery kind=topic durable", "exchange.declare-ok");
    for level in (0..LEVELS).rev() {
        let next = level.checked_sub(1).map_or("delivery".to_owned(), |next| format!("level{next}"));
        let key = pattern(level, "0.#");
        let bind = format!("exchange.bind destination={next} source=level{level} routing_key={key}");
        must(world, "1.1", &bind, "exchange.bind-ok");
    }
    for line in [
        "exchange.declare exchange=tasks kind=topic durable",
        "queue.declare queue=tasks durable",
        "exchange.bind destination=tasks source=delivery routing_key=#.tasks",
        "queue.bind queue=tasks exchange=tasks routing_key=#.tasks",
    ] {
        world.say("1.1", line).expect("it is understood");
    }
}

/// Publishes a message that is to come after so many seconds. NServiceBus begins at the highest level that is needed,
/// Celery at the top.
fn publish(world: &mut World, delay_s: u32, body: &str, from_top: bool) {
    let level = if from_top { LEVELS - 1 } else { delay_s.ilog2() };
    let bits: String = (0..LEVELS).rev().map(|level| format!("{}.", delay_s >> level & 1)).collect();
    let line =
        format!("basic.publish exchange=level{level} routing_key={bits}tasks delivery_mode=2 \"{body}\"");
    let told = world.say("1.1", &line).expect("it is understood");
    assert!(told.starts_with("1.1< basic.ack delivery_tag="), "{line}: {told}");
}

/// Time goes on until then, as it does for a server: what is due is done when it is due.
fn pass_until(world: &mut World, until_ms: u64) -> String {
    let mut told = String::new();
    loop {
        let next_ms = world.next_deadline().unwrap_or(until_ms).clamp(world.now_ms(), until_ms);
        let is_last = next_ms == until_ms;
        told += &world.turn(&format!("+{}ms", next_ms - world.now_ms())).expect("it is understood");
        if is_last {
            return told;
        }
    }
}

fn check(queue_type: &str, restarts: bool) {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut world = World::new(Pieces::Whole);
    declare(&mut world, queue_type);
    must(&mut world, "1.1", "confirm.select", "confirm.select-ok");
    let started_ms = world.now_ms();
    // Which bodies come when.
    let mut due: BTreeMap<u64, Vec<(String, u32)>> = BTreeMap::new();
    let edges = [1, 2, 3, 1 << 27, (1 << 28) - 1];
    for number in 0..MESSAGES {
        let delay_s = match edges.get(number) {
            Some(delay_s) => *delay_s,
            // Of every length.
            None => {
                let bits = random.u32(1..=LEVELS);
                random.u32(1..1 << bits)
            }
        };
        let body = format!("{number} after {delay_s}");
        publish(&mut world, delay_s, &body, random.bool());
        due.entry(started_ms + u64::from(delay_s) * 1000).or_default().push((body, delay_s));
    }
    let consume = |world: &mut World| {
        must(
            world,
            "1.2",
            "basic.consume queue=tasks consumer_tag=c no_ack",
            "basic.consume-ok consumer_tag=c",
        );
    };
    consume(&mut world);
    for (at_ms, messages) in due {
        assert_eq!(pass_until(&mut world, at_ms - 1), "", "too early");
        if restarts && random.u8(..4) == 0 {
            world.turn("restart").expect("it is understood");
            consume(&mut world);
        }
        let told = pass_until(&mut world, at_ms);
        for (body, delay_s) in &messages {
            let line = told.lines().find(|line| line.ends_with(&format!("\"{body}\"")));
            let line = line.unwrap_or_else(|| panic!("{body:?} is not in {told:?}"));
            let deaths = line.matches("count: 1, reason: expired").count();
            assert_eq!(deaths, delay_s.count_ones() as usize, "{line}");
        }
        assert_eq!(told.lines().count(), messages.len(), "{told}");
    }
    for level in 0..LEVELS {
        let passive = format!("queue.declare queue=level{level} passive");
        must(&mut world, "1.3", &passive, &format!("queue.declare-ok queue=level{level}"));
    }
    world.check_replay("the end");
}

#[test]
fn any_delay_of_28_bits_is_kept_by_classic_queues() {
    check("classic", false);
}

#[test]
fn and_by_quorum_queues_over_restarts() {
    check("quorum", true);
}
