//! What a channel that is gone held goes back to its places: a slice at once, the rest with the next ticks, so that a
//! million messages hold nobody up. Until then they count as held, which is what the log says of them, too.

use super::Txn;
use crate::QueueId;
use crate::broker::Seqs;

/// Entries that go back in one operation.
const SLICE: usize = 10_000;

/// Entries of one queue that are on their way back, the first of them last.
pub(crate) struct Returning {
    queue: QueueId,
    seqs: Vec<u64>,
}

impl Txn<'_> {
    /// Gives back what a channel held of a queue.
    pub(super) fn give_back(&mut self, queue: QueueId, seqs: Seqs) {
        let mut seqs: Vec<u64> = seqs.into_iter().collect();
        // In order, so that whoever gets them next gets the first ones first.
        seqs.reverse();
        let mut left = SLICE;
        let mut returning = Returning { queue, seqs };
        self.give_back_some(&mut returning, &mut left);
        if !returning.seqs.is_empty() {
            self.broker.returning.push_back(returning);
        }
    }

    fn give_back_some(&mut self, returning: &mut Returning, left: &mut usize) {
        while *left > 0
            && let Some(seq) = returning.seqs.pop()
        {
            let Some(queue) = self.broker.queues.get_mut(&returning.queue) else {
                returning.seqs.clear();
                return;
            };
            if let Some(held) = queue.release(seq) {
                self.put_back(returning.queue, held.into_entry(), true);
            }
            *left -= 1;
        }
    }

    /// The next slice of what is on its way back.
    pub(super) fn give_back_slice(&mut self) {
        let mut left = SLICE;
        while left > 0
            && let Some(mut returning) = self.broker.returning.pop_front()
        {
            self.give_back_some(&mut returning, &mut left);
            let queue = returning.queue;
            if !returning.seqs.is_empty() {
                // Behind the others, so that each gets its turn.
                self.broker.returning.push_back(returning);
            }
            self.dispatch(queue);
        }
    }
}
