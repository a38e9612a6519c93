//! Exactly once, and in order: what has arrived of each publisher, a bit per message, and how far each consumer has got.

use super::message::Stamp;
use anyhow::{Context, Result, bail};

/// What has arrived.
pub(crate) struct Arrivals {
    /// By publisher: how many it sends, and a bit for each that has come.
    seen: Vec<(u64, Vec<u64>)>,
    pub(crate) count: u64,
}

/// What one consumer got last, by publisher: the number after it.
pub(crate) struct Order(Vec<u64>);

impl Arrivals {
    /// Nothing yet; `shares` is how many each publisher sends.
    pub(crate) fn new(shares: &[u64]) -> Self {
        let seen = shares.iter().map(|share| (*share, vec![0; share.div_ceil(64) as usize])).collect();
        Self { seen, count: 0 }
    }

    /// One more.
    #[inline]
    pub(crate) fn note(&mut self, stamp: Stamp, order: &mut Order) -> Result<()> {
        let Stamp { producer, number, .. } = stamp;
        let (share, bits) = self.seen.get_mut(producer).with_context(|| strange(stamp))?;
        if number >= *share {
            bail!(strange(stamp));
        }
        let next = order.0.get_mut(producer).with_context(|| strange(stamp))?;
        if number < *next {
            bail!("message {number} of publisher {producer} came twice, or after number {}", *next - 1);
        }
        *next = number + 1;
        let word = bits.get_mut((number / 64) as usize).with_context(|| strange(stamp))?;
        let bit = 1 << (number % 64);
        if *word & bit != 0 {
            bail!("message {number} of publisher {producer} came to two consumers");
        }
        *word |= bit;
        self.count += 1;
        Ok(())
    }
}

impl Order {
    pub(crate) fn new(producers: usize) -> Self {
        Self(vec![0; producers])
    }
}

#[cold]
fn strange(stamp: Stamp) -> String {
    format!("nobody has published {stamp:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(numbers: &[(usize, u64)]) -> Option<String> {
        let mut arrivals = Arrivals::new(&[100, 1]);
        let mut orders = [Order::new(2), Order::new(2)];
        numbers.iter().find_map(|(consumer, number)| {
            let stamp = Stamp { ns: 0, producer: 0, number: *number };
            arrivals.note(stamp, &mut orders[*consumer]).err().map(|error| error.to_string())
        })
    }

    #[test]
    fn doubles_and_disorder_are_seen() {
        assert_eq!(refusal(&[(0, 0), (1, 1), (0, 2), (0, 99)]), None);
        assert!(refusal(&[(0, 0), (0, 0)]).unwrap().contains("twice"));
        assert!(refusal(&[(0, 5), (0, 4)]).unwrap().contains("after number 5"));
        assert!(refusal(&[(0, 5), (1, 5)]).unwrap().contains("two consumers"));
        assert!(refusal(&[(0, 100)]).unwrap().contains("nobody"));
    }
}
