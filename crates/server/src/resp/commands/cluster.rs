//! CLUSTER and its relatives, as of a server that is no node of a cluster: clients ask, and hear so.

use super::{Function, LOADING_STALE, container, help, session};
use crate::resp::session::Call;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, category, flag};

/// Commands that change what a node is.
const NODE: u32 = flag::ADMIN | flag::NO_ASYNC_LOADING | flag::STALE;
const VARYING: &[&str] = &["NONDETERMINISTIC_OUTPUT"];

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("cluster", Group::Cluster, 0).since("3.0.0").cost("Depends on subcommand."),
    disabled("cluster|addslots", -3, NODE)
        .since("3.0.0")
        .cost("O(N) where N is the total number of hash slot arguments")
        .says("Gives slots to this node."),
    disabled("cluster|addslotsrange", -4, NODE)
        .since("7.0.0")
        .cost("O(N) where N is the total number of the slots between the start slot and end slot arguments.")
        .says("Gives ranges of slots to this node."),
    disabled("cluster|bumpepoch", 2, NODE)
        .since("3.0.0")
        .tips(VARYING)
        .says("Raises the configuration epoch of this node."),
    disabled("cluster|cancelslotmigrations", 2, NODE | flag::ALL_DBS)
        .since("9.0.0")
        .cost("O(N), where N is the number of slot migration operations being cancelled.")
        .says("Stops slots from moving to other nodes."),
    disabled("cluster|count-failure-reports", 3, flag::ADMIN | flag::STALE)
        .since("3.0.0")
        .cost("O(N) where N is the number of failure reports")
        .tips(VARYING)
        .says("Returns how many nodes say that a node has failed."),
    disabled("cluster|countkeysinslot", 3, flag::STALE)
        .since("3.0.0")
        .says("Returns how many keys a slot has."),
    disabled("cluster|delslots", -3, NODE)
        .since("3.0.0")
        .cost("O(N) where N is the total number of hash slot arguments")
        .says("Takes slots from this node."),
    disabled("cluster|delslotsrange", -4, NODE)
        .since("7.0.0")
        .cost("O(N) where N is the total number of the slots between the start slot and end slot arguments.")
        .says("Takes ranges of slots from this node."),
    disabled("cluster|failover", -2, NODE)
        .since("3.0.0")
        .says("Makes this replica the primary."),
    disabled("cluster|flushslot", -3, flag::ADMIN | flag::ALL_DBS | flag::NO_ASYNC_LOADING | flag::WRITE)
        .since("9.0.0")
        .also(category::KEYSPACE)
        .cost("O(N) where N is the number of keys in the target slot")
        .says("Removes all keys of a slot."),
    disabled("cluster|flushslots", 2, NODE)
        .since("3.0.0")
        .says("Takes all slots from this node."),
    disabled("cluster|forget", 3, NODE)
        .since("3.0.0")
        .says("Removes a node from the table of nodes."),
    disabled("cluster|getkeysinslot", 4, flag::STALE)
        .since("3.0.0")
        .cost("O(N) where N is the number of requested keys")
        .tips(VARYING)
        .says("Returns keys of a slot."),
    disabled("cluster|getslotmigrations", 2, NODE)
        .since("9.0.0")
        .cost("O(N), where N is the number of active slot import and export jobs.")
        .says("Returns which slots are moving."),
    disabled("cluster|info", 2, LOADING_STALE)
        .since("3.0.0")
        .tips(VARYING)
        .says("Returns the state of the cluster."),
    disabled("cluster|keyslot", 3, flag::STALE)
        .since("3.0.0")
        .cost("O(N) where N is the number of bytes in the key")
        .says("Returns the slot of a key."),
    disabled("cluster|links", 2, flag::STALE)
        .since("7.0.0")
        .cost("O(N) where N is the total number of Cluster nodes")
        .tips(VARYING)
        .says("Returns the connections to other nodes."),
    disabled("cluster|meet", -4, NODE)
        .since("3.0.0")
        .says("Makes this node know another one."),
    disabled("cluster|migrateslots", -4, NODE | flag::ALL_DBS)
        .since("9.0.0")
        .cost("O(N) where N is the total number of the slots between all start slot and end slot arguments.")
        .says("Moves slots to another node."),
    disabled("cluster|myid", 2, LOADING_STALE)
        .since("3.0.0")
        .says("Returns the id of this node."),
    disabled("cluster|myshardid", 2, LOADING_STALE)
        .since("7.2.0")
        .tips(VARYING)
        .says("Returns the id of the shard of this node."),
    disabled("cluster|nodes", 2, LOADING_STALE)
        .since("3.0.0")
        .cost("O(N) where N is the total number of Cluster nodes")
        .tips(VARYING)
        .says("Returns all nodes as lines."),
    disabled("cluster|replicas", 3, flag::ADMIN | flag::STALE)
        .since("5.0.0")
        .cost("O(N) where N is the number of replicas.")
        .tips(VARYING)
        .says("Returns the replicas of a node."),
    disabled("cluster|replicate", -3, NODE)
        .since("3.0.0")
        .says("Makes this node the replica of another one."),
    disabled("cluster|reset", -2, flag::ADMIN | flag::NOSCRIPT | flag::STALE)
        .since("3.0.0")
        .cost("O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.")
        .says("Makes this node forget the cluster."),
    disabled("cluster|saveconfig", 2, NODE)
        .since("3.0.0")
        .says("Writes the table of nodes to the disk."),
    disabled("cluster|set-config-epoch", 3, NODE)
        .since("3.0.0")
        .says("Sets the configuration epoch of a new node."),
    disabled("cluster|setslot", -4, NODE | flag::MAY_REPLICATE)
        .since("3.0.0")
        .says("Says which node has a slot, or where it is moving."),
    disabled("cluster|shards", 2, LOADING_STALE)
        .since("7.0.0")
        .cost("O(N) where N is the total number of cluster nodes")
        .tips(VARYING)
        .says("Returns which shard has which slots and nodes."),
    disabled("cluster|slaves", 3, flag::ADMIN | flag::STALE)
        .since("3.0.0")
        .cost("O(N) where N is the number of replicas.")
        .tips(VARYING)
        .says("Returns the replicas of a node."),
    disabled("cluster|slot-stats", -4, LOADING_STALE)
        .since("8.0.0")
        .cost("O(N) where N is the total number of slots based on arguments. O(N*log(N)) with ORDERBY subcommand.")
        .tips(&["NONDETERMINISTIC_OUTPUT", "REQUEST_POLICY:ALL_SHARDS"])
        .says("Returns how much slots are used."),
    disabled("cluster|slots", 2, LOADING_STALE)
        .since("3.0.0")
        .cost("O(N) where N is the total number of Cluster nodes")
        .tips(VARYING)
        .says("Returns which nodes have which slots."),
    disabled("cluster|syncslots", -3, NODE | flag::MAY_REPLICATE)
        .since("9.0.0")
        .cost("Depends on subcommand.")
        .says("Is how nodes tell each other of slots that move."),
    session("cluster|help", 2, Group::Cluster, LOADING_STALE, |call| help(call, "CLUSTER"))
        .since("5.0.0")
        .says("Lists the subcommands."),
    disabled("asking", 1, flag::FAST)
        .also(category::CONNECTION)
        .since("3.0.0")
        .says("Says that a redirection was followed."),
    disabled("readonly", 1, LOADING_STALE | flag::FAST)
        .also(category::CONNECTION)
        .since("3.0.0")
        .says("Lets this connection read from a replica."),
    disabled("readwrite", 1, LOADING_STALE | flag::FAST)
        .also(category::CONNECTION)
        .since("3.0.0")
        .says("Takes READONLY back."),
];

const fn disabled(name: &'static str, arity: i16, flags: u32) -> Row<Option<Function>> {
    session(name, arity, Group::Cluster, flags, refuse)
}

fn refuse(_: &mut Call<'_, '_>) -> Result<(), Error> {
    Err(Error::new("ERR This instance has cluster support disabled"))
}
