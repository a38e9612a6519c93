//! Which I/O thread serves a connection. Redis clients with several connections count on an order that one thread gives
//! for free: what was sent on one connection before something on another is executed before it. (Celery subscribes on
//! one connection and looks at the result on another, without waiting for the first.) So connections of RESP from one
//! address share a thread; AMQP, which never promised that, goes where there is room.

use crate::io_loop::Mailbox;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// One thread for all RESP connections of an address.
    Address,
    /// The thread with the fewest connections, for each.
    Connection,
}

/// The threads of the addresses that are connected.
#[derive(Default)]
pub(crate) struct Placement {
    addresses: Mutex<HashMap<IpAddr, Place>>,
}

struct Place {
    thread: usize,
    connections: usize,
}

/// Where a connection comes from: all of this machine's are one, Unix sockets included.
pub(crate) fn origin(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        Some(address) if !address.is_loopback() => address,
        Some(_) | None => Ipv4Addr::LOCALHOST.into(),
    }
}

/// The thread with the fewest connections.
pub(crate) fn emptiest(mailboxes: &[Mailbox]) -> usize {
    let fewest = mailboxes.iter().enumerate().min_by_key(|(_, m)| m.connections.load(Ordering::Relaxed));
    fewest.map_or(0, |(thread, _)| thread)
}

impl Placement {
    /// The thread of an address, which has one connection more from now on.
    pub(crate) fn enter(&self, origin: IpAddr, mailboxes: &[Mailbox]) -> usize {
        let mut addresses = self.addresses.lock();
        let place =
            addresses.entry(origin).or_insert_with(|| Place { thread: emptiest(mailboxes), connections: 0 });
        place.connections += 1;
        place.thread
    }

    /// The address has one connection less.
    pub(crate) fn leave(&self, origin: IpAddr) {
        let mut addresses = self.addresses.lock();
        if let Some(place) = addresses.get_mut(&origin) {
            place.connections -= 1;
            if place.connections == 0 {
                addresses.remove(&origin);
            }
        }
    }
}
