//! How much may wait for a client that does not read, by class of client. (Redis: client-output-buffer-limit)

use std::fmt;

/// The limit of one class; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// With more bytes than this the client is cut off at once.
    pub hard_bytes: usize,
    /// With more bytes than this for `soft_seconds` the client is cut off.
    pub soft_bytes: usize,
    /// See `soft_bytes`.
    pub soft_seconds: u64,
}

/// The limits of all classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients that get answers only. Nothing is executed for them while much waits, so they need no limit.
    pub normal: OutputLimit,
    /// Replicas: there are none yet.
    pub replica: OutputLimit,
    /// Subscribers, who get what others publish.
    pub pubsub: OutputLimit,
}

const MIB: usize = 1024 * 1024;

impl Default for OutputLimits {
    fn default() -> Self {
        let limit =
            |hard_bytes, soft_bytes, soft_seconds| OutputLimit { hard_bytes, soft_bytes, soft_seconds };
        Self {
            normal: limit(0, 0, 0),
            replica: limit(256 * MIB, 64 * MIB, 60),
            pubsub: limit(32 * MIB, 8 * MIB, 60),
        }
    }
}

impl OutputLimit {
    /// True when a client with so much waiting is to be cut off; `since_ms` remembers when the soft limit was passed.
    pub(crate) fn is_passed(&self, unsent: usize, now_ms: u64, since_ms: &mut Option<u64>) -> bool {
        let soft = self.soft_bytes > 0 && unsent > self.soft_bytes;
        let since = if soft { *since_ms.get_or_insert(now_ms) } else { now_ms };
        if !soft {
            *since_ms = None;
        }
        (self.hard_bytes > 0 && unsent > self.hard_bytes)
            || (soft && now_ms.saturating_sub(since) > self.soft_seconds * 1000)
    }
}

impl fmt::Display for OutputLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        for (i, (name, limit)) in classes.into_iter().enumerate() {
            let OutputLimit { hard_bytes, soft_bytes, soft_seconds } = limit;
            write!(f, "{}{name} {hard_bytes} {soft_bytes} {soft_seconds}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl OutputLimits {
    /// Changes the classes that are named: `CLASS HARD SOFT SECONDS …`, with units as in `32mb`. The text of a refusal is
    /// Redis'.
    pub fn change(&mut self, text: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() || !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.");
        }
        let mut changed = *self;
        for words in words.chunks(4) {
            let class = match words[0].to_ascii_lowercase().as_str() {
                "normal" => &mut changed.normal,
                "slave" | "replica" => &mut changed.replica,
                "pubsub" => &mut changed.pubsub,
                _ => return Err("Invalid client class specified in buffer limit configuration."),
            };
            let limit = || {
                let (hard_bytes, soft_bytes) = (bytes(words[1])?, bytes(words[2])?);
                Some(OutputLimit { hard_bytes, soft_bytes, soft_seconds: words[3].parse().ok()? })
            };
            *class = limit()
                .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
        }
        *self = changed;
        Ok(())
    }
}

/// A number of bytes with Redis' units: `100`, `1k` is 1000, `1kb` is 1024.
pub fn bytes(text: &str) -> Option<usize> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1024,
        "m" => 1000 * 1000,
        "mb" => MIB,
        "g" => 1000 * 1000 * 1000,
        "gb" => 1024 * MIB,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_change_one_by_one_and_a_mistake_changes_none() {
        let mut limits = OutputLimits::default();
        let shown = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(limits.to_string(), shown);
        limits.change("pubsub 1mb 1k 5").unwrap();
        assert_eq!(limits.pubsub, OutputLimit { hard_bytes: MIB, soft_bytes: 1000, soft_seconds: 5 });
        for wrong in ["", "pubsub 1 2", "nobody 1 2 3", "normal 1 2 3 pubsub x 2 3", "normal 1 2 -3"] {
            let before = limits;
            limits.change(wrong).unwrap_err();
            assert_eq!(limits, before, "{wrong}");
        }
    }

    #[test]
    fn the_soft_limit_takes_its_time() {
        let limit = OutputLimit { hard_bytes: 100, soft_bytes: 10, soft_seconds: 2 };
        let mut since = None;
        assert!(!limit.is_passed(10, 0, &mut since));
        assert!(!limit.is_passed(11, 1000, &mut since));
        assert!(!limit.is_passed(11, 3000, &mut since));
        assert!(limit.is_passed(11, 3001, &mut since));
        assert!(!limit.is_passed(5, 4000, &mut since));
        assert!(!limit.is_passed(11, 9000, &mut since));
        assert!(limit.is_passed(101, 9000, &mut since));
    }
}
