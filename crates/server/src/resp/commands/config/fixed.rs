//! What cannot be changed, but is asked for by monitors and tools: only what is true of this server.

use super::Parameter;
use leveret_engine::EXPIRY_HZ;

pub(super) const PARAMETERS: &[Parameter] = &[
    // Snapshots are exported, not written beside the log.
    Parameter { name: "dbfilename", get: |_, _| String::new(), set: None },
    Parameter { name: "hz", get: |_, _| EXPIRY_HZ.to_string(), set: None },
    // What Redis says at this level and above is what goes to the log here.
    Parameter { name: "loglevel", get: |_, _| "notice".into(), set: None },
    // Without a password it listens to this machine only, unless it was told to bind elsewhere.
    Parameter { name: "protected-mode", get: |_, _| "no".into(), set: None },
    // The kernel is not asked to probe idle connections.
    Parameter { name: "tcp-keepalive", get: |_, _| "0".into(), set: None },
];
