//! Listeners, event loops, and the sessions of both protocols. It turns bytes into engine calls and back, decides
//! when an answer may leave (the gate), and knows nothing of how values or queues are kept.

mod alarms;
mod amqp;
mod around;
mod backlog;
mod backup;
mod check;
mod checkpointer;
mod clock;
mod command_log;
mod connection;
mod crew;
mod doorkeeper;
mod fetcher;
mod io_loop;
mod listeners;
mod log;
mod memory;
mod mover;
mod observed;
mod output;
mod output_limits;
mod placement;
mod prefetch;
mod rates;
mod reaper;
mod recover;
mod resp;
mod serve;
mod session;
mod settings;
mod shared;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
mod snapshot;
mod spiller;
#[cfg(test)]
mod tests;
mod ticks;
mod visit;

pub use alarms::{Alarms, free_disk_bytes};
pub use backup::{BackupHow, KeepLog, backup, forget, restore};
pub use check::{Checked, Counts, check, check_settings};
pub use doorkeeper::salt;
pub use leveret_engine::keyspace::DATABASES;
pub use leveret_engine::keyspace::Policy;
pub use leveret_engine::keyspace::rdb::{Dialect, Exported};
pub use memory::Allocator;
pub use output_limits::{OutputLimit, OutputLimits, bytes};
pub use placement::By as PlacementBy;
pub use resp::is_setting;
pub use serve::{Addresses, Server, StartError, start};
pub use settings::{Change, Fsync, Settings, SettingsFile};
pub use shared::{Ports, Shared, Stats, now_ms, resident_bytes};
pub use snapshot::{Existing, Failed, ImportHow, Imported, export, import};
