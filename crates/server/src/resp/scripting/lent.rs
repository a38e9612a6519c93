//! Who runs a script, lent to the functions of `redis.*`, which live as long as the interpreter and so cannot borrow. The trap:
//! what is lent must come back before it ends, whatever happens in between.

use super::caller::Caller;
use parking_lot::Mutex;
use std::ptr::NonNull;

/// The caller while something runs; nothing while it is in use already.
#[derive(Default)]
pub(super) struct Lent(Mutex<Option<NonNull<Caller<'static>>>>);

// SAFETY: the pointer is there only while `lend` runs, and is used by the thread that runs it: only that thread has the
// interpreter, whose functions are the only ones that ask for it.
unsafe impl Send for Lent {}
// SAFETY: likewise.
unsafe impl Sync for Lent {}

/// Takes back what was lent.
struct TakenBack<'a>(&'a Lent);

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

impl Lent {
    /// Lends the caller to what runs.
    pub(super) fn lend<T>(&self, caller: &mut Caller<'_>, run: impl FnOnce() -> T) -> T {
        *self.0.lock() = Some(NonNull::from(caller).cast());
        let _back = TakenBack(self);
        run()
    }

    /// Uses the caller, if there is one and nobody uses it.
    pub(super) fn with<T>(&self, act: impl for<'c> FnOnce(&mut Caller<'c>) -> T) -> Option<T> {
        let mut taken = self.0.lock().take()?;
        // SAFETY: it was made from an exclusive reference that outlives `lend`, which is what runs now; it was taken out, so nobody
        // else makes a second reference; `act` is given no lifetime with which to keep it.
        let result = act(unsafe { taken.as_mut() });
        *self.0.lock() = Some(taken);
        Some(result)
    }
}
