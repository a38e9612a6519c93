//! Publish/subscribe as commands of a session.

use super::{Function, LOADING_STALE, container, help, session};
use crate::resp::session::Call;
use leveret_engine::SubscriptionKind as Kind;
use leveret_engine::keyspace::command::{Group, Row, keys};
use leveret_engine::keyspace::{Error, flag};

const COMMON: u32 = LOADING_STALE | flag::NOSCRIPT | flag::PUBSUB | flag::SENTINEL;
const COMMON_SHARD: u32 = LOADING_STALE | flag::NOSCRIPT | flag::PUBSUB;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    session("subscribe", -2, Group::Pubsub, COMMON, |call| subscribe(call, Kind::Topic, "subscribe"))
        .since("2.0.0")
        .cost("O(N) where N is the number of channels to subscribe to.")
        .says("Listens to channels."),
    session("psubscribe", -2, Group::Pubsub, COMMON, |call| subscribe(call, Kind::Pattern, "psubscribe"))
        .since("2.0.0")
        .cost("O(N) where N is the number of patterns to subscribe to.")
        .says("Listens to all channels that match patterns."),
    session("unsubscribe", -1, Group::Pubsub, COMMON, |call| unsubscribe(call, Kind::Topic, "unsubscribe"))
        .since("2.0.0")
        .cost("O(N) where N is the number of channels to unsubscribe.")
        .says("Stops listening to channels."),
    session("punsubscribe", -1, Group::Pubsub, COMMON, |call| unsubscribe(call, Kind::Pattern, "punsubscribe"))
        .since("2.0.0")
        .cost("O(N) where N is the number of patterns to unsubscribe.")
        .says("Stops listening to patterns."),
    session("publish", 3, Group::Pubsub, LOADING_STALE | flag::PUBSUB | flag::FAST | flag::MAY_REPLICATE | flag::SENTINEL, publish)
        .since("2.0.0")
        .cost("O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any client).")
        .says("Sends a message to everybody who listens to a channel."),
    session("ssubscribe", -2, Group::Pubsub, COMMON_SHARD, |call| subscribe(call, Kind::Shard, "ssubscribe"))
        .keys(&[keys(&["NOT_KEY"], 1, -1, 1)])
        .since("7.0.0")
        .cost("O(N) where N is the number of shard channels to subscribe to.")
        .says("Listens to channels of a shard."),
    session("sunsubscribe", -1, Group::Pubsub, COMMON_SHARD, |call| unsubscribe(call, Kind::Shard, "sunsubscribe"))
        .keys(&[keys(&["NOT_KEY"], 1, -1, 1)])
        .since("7.0.0")
        .cost("O(N) where N is the number of shard channels to unsubscribe.")
        .says("Stops listening to channels of a shard."),
    session("spublish", 3, Group::Pubsub, LOADING_STALE | flag::PUBSUB | flag::FAST | flag::MAY_REPLICATE, spublish)
        .keys(&[keys(&["NOT_KEY"], 1, 0, 1)])
        .since("7.0.0")
        .cost("O(N) where N is the number of clients subscribed to the receiving shard channel.")
        .says("Sends a message to everybody who listens to a channel of a shard."),
    container("pubsub", Group::Pubsub, 0).since("2.8.0").cost("Depends on subcommand."),
    session("pubsub|channels", -2, Group::Pubsub, LOADING_STALE | flag::PUBSUB, channels)
        .since("2.8.0")
        .cost("O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)")
        .says("Returns the channels that somebody listens to."),
    session("pubsub|numsub", -2, Group::Pubsub, LOADING_STALE | flag::PUBSUB, numsub)
        .since("2.8.0")
        .cost("O(N) for the NUMSUB subcommand, where N is the number of requested channels")
        .says("Returns how many clients listen to each channel."),
    session("pubsub|numpat", 2, Group::Pubsub, LOADING_STALE | flag::PUBSUB, numpat)
        .since("2.8.0")
        .says("Returns how many patterns somebody listens to."),
    session("pubsub|shardchannels", -2, Group::Pubsub, LOADING_STALE | flag::PUBSUB, shardchannels)
        .since("7.0.0")
        .cost("O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short shard channels).")
        .says("Returns the channels of a shard that somebody listens to."),
    session("pubsub|shardnumsub", -2, Group::Pubsub, LOADING_STALE | flag::PUBSUB, shardnumsub)
        .since("7.0.0")
        .cost("O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels")
        .says("Returns how many clients listen to each channel of a shard."),
    session("pubsub|help", 2, Group::Pubsub, LOADING_STALE, |call| help(call, "PUBSUB"))
        .apart()
        .since("6.2.0")
        .says("Lists the subcommands."),
];

fn channels(call: &mut Call<'_, '_>) -> Result<(), Error> {
    listened_to(call, Kind::Topic, "pubsub|channels")
}

fn shardchannels(call: &mut Call<'_, '_>) -> Result<(), Error> {
    listened_to(call, Kind::Shard, "pubsub|shardchannels")
}

fn listened_to(call: &mut Call<'_, '_>, kind: Kind, name: &'static str) -> Result<(), Error> {
    if call.args.len() > 3 {
        return Err(Error::WrongArity(name.into()));
    }
    let channels = call.engine.topics(kind, call.args.get(2));
    call.reply.array(channels.len());
    channels.iter().for_each(|channel| call.reply.bulk(channel));
    Ok(())
}

fn numsub(call: &mut Call<'_, '_>) -> Result<(), Error> {
    counts(call, Kind::Topic);
    Ok(())
}

fn shardnumsub(call: &mut Call<'_, '_>) -> Result<(), Error> {
    counts(call, Kind::Shard);
    Ok(())
}

fn counts(call: &mut Call<'_, '_>, kind: Kind) {
    call.reply.array(2 * (call.args.len() - 2));
    for channel in call.args.iter().skip(2) {
        call.reply.bulk(channel);
        call.reply.integer(call.engine.listeners_count(kind, channel) as i64);
    }
}

fn numpat(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.integer(call.engine.names_count(Kind::Pattern) as i64);
    Ok(())
}

fn confirm(call: &mut Call<'_, '_>, word: &str, name: Option<&[u8]>, count: usize) {
    call.reply.push(3);
    call.reply.bulk(word.as_bytes());
    match name {
        Some(name) => call.reply.bulk(name),
        None => call.reply.null(),
    }
    call.reply.integer(count as i64);
}

fn subscribe(call: &mut Call<'_, '_>, kind: Kind, word: &str) -> Result<(), Error> {
    for name in call.args.iter().skip(1) {
        let count = call.engine.subscribe(call.session.id, kind, name);
        confirm(call, word, Some(name), count);
    }
    Ok(())
}

fn unsubscribe(call: &mut Call<'_, '_>, kind: Kind, word: &str) -> Result<(), Error> {
    let names: Vec<Box<[u8]>> = match call.args.len() {
        1 => call.engine.subscriptions(call.session.id, kind),
        _ => call.args.iter().skip(1).map(Into::into).collect(),
    };
    if names.is_empty() {
        let count = call.engine.session(call.session.id).map_or(0, |s| s.subscriptions_count(kind));
        confirm(call, word, None, count);
    }
    for name in &names {
        let count = call.engine.unsubscribe(call.session.id, kind, name);
        confirm(call, word, Some(name), count);
    }
    Ok(())
}

fn publish(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let count = call.engine.publish_channel(&call.args[1], &call.args[2]);
    call.reply.integer(count as i64);
    Ok(())
}

fn spublish(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let count = call.engine.publish_shard(&call.args[1], &call.args[2]);
    call.reply.integer(count as i64);
    Ok(())
}
