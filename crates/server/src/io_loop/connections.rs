//! The connections of a thread by token. One of them can be away: it executes, and the others are served meanwhile.

use crate::connection::Connection;
use slab::Slab;

#[derive(Default)]
pub(super) struct Connections(Slab<Option<Box<Connection>>>);

impl Connections {
    /// Unless it is away.
    #[inline]
    pub(super) fn get_mut(&mut self, token: usize) -> Option<&mut Connection> {
        self.0.get_mut(token)?.as_deref_mut()
    }

    /// The token of the next one that is inserted.
    pub(super) fn next_token(&self) -> usize {
        self.0.vacant_key()
    }

    pub(super) fn insert(&mut self, connection: Connection) {
        self.0.insert(Some(Box::new(connection)));
    }

    /// Unless it is away.
    pub(super) fn remove(&mut self, token: usize) -> Option<Box<Connection>> {
        self.0.get(token)?.as_ref()?;
        self.0.try_remove(token).flatten()
    }

    /// Lets one go away; its token stays its own.
    #[inline]
    pub(super) fn take(&mut self, token: usize) -> Option<Box<Connection>> {
        self.0.get_mut(token)?.take()
    }

    /// It is back.
    #[inline]
    pub(super) fn put_back(&mut self, token: usize, connection: Box<Connection>) {
        if let Some(place) = self.0.get_mut(token) {
            *place = Some(connection);
        }
    }

    pub(super) fn tokens(&self) -> Vec<usize> {
        self.0.iter().map(|(token, _)| token).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Connection)> {
        self.0.iter().filter_map(|(token, connection)| Some((token, connection.as_deref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Connection)> {
        self.0.iter_mut().filter_map(|(token, connection)| Some((token, connection.as_deref_mut()?)))
    }
}
