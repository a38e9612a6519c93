//! When the log has grown so much that a checkpoint is made by itself: by as many percent of the last checkpoint, and by no
//! less than a size. (Redis: auto-aof-rewrite-percentage, auto-aof-rewrite-min-size)

use super::{Parameter, number};
use crate::output_limits::bytes;
use std::sync::atomic::Ordering::Relaxed;

pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "auto-aof-rewrite-min-size",
        get: |shared, _| shared.checkpointer.growth_bytes_min.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            let min = bytes(value).ok_or("argument must be a memory value")?;
            shared.checkpointer.growth_bytes_min.store(min as u64, Relaxed);
            Ok(())
        }),
    },
    Parameter {
        name: "auto-aof-rewrite-percentage",
        get: |shared, _| shared.checkpointer.growth_percent.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            let percent = number(value, 0, i32::MAX.into())?;
            shared.checkpointer.growth_percent.store(percent, Relaxed);
            Ok(())
        }),
    },
];
