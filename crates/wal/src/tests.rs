//! What the log promises, tried on disks that fail.
