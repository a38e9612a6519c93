//! What is not needed any more and takes long to free: it is put aside, so that whoever holds the lock need not wait.

/// Things to be dropped by somebody who has the time.
#[derive(Default)]
pub struct Garbage {
    things: Vec<Box<dyn Send>>,
}

impl Garbage {
    /// Puts a thing aside; `allocations` says of how many it consists. A small one is dropped at once.
    pub fn put(&mut self, thing: impl Send + 'static, allocations: usize) {
        if allocations > AT_ONCE_MAX {
            self.things.push(Box::new(thing));
        }
    }

    /// Moves everything into `other`.
    pub fn append(&mut self, other: &mut Garbage) {
        self.things.append(&mut other.things);
    }

    /// How many things there are.
    pub fn len(&self) -> usize {
        self.things.len()
    }

    /// True when there is nothing.
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }
}

/// Freeing so many allocations takes some microseconds.
const AT_ONCE_MAX: usize = 256;
