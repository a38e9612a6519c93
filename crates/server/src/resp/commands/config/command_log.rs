//! The settings of SLOWLOG and COMMANDLOG: from what on a command is kept, and how many.

use super::{Parameter, number};

macro_rules! threshold {
    ($name:literal, $log:ident) => {
        Parameter {
            name: $name,
            get: |shared, _| shared.observed.$log.threshold().to_string(),
            set: Some(|shared, _, value| {
                shared.observed.$log.set_threshold(number(value, -1, i64::MAX)?);
                shared.observed.settle();
                Ok(())
            }),
        }
    };
}

macro_rules! len_max {
    ($name:literal, $log:ident) => {
        Parameter {
            name: $name,
            get: |shared, _| shared.observed.$log.len_max().to_string(),
            set: Some(|shared, _, value| {
                shared.observed.$log.set_len_max(number(value, 0, i64::MAX)?);
                shared.observed.settle();
                Ok(())
            }),
        }
    };
}

pub(super) const PARAMETERS: &[Parameter] = &[
    threshold!("commandlog-execution-slower-than", slow),
    len_max!("commandlog-slow-execution-max-len", slow),
    threshold!("commandlog-request-larger-than", large_requests),
    len_max!("commandlog-large-request-max-len", large_requests),
    threshold!("commandlog-reply-larger-than", large_replies),
    len_max!("commandlog-large-reply-max-len", large_replies),
];
