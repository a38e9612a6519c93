//! What the standard library lacks: a hash table that never stops the world, an ordered map without gaps, byte codecs for records, and cache
//! prefetching. It knows neither protocol, keeps no global state and looks at no clock.

pub mod blocks;
pub mod codec;
pub mod describe;
pub mod garbage;
pub mod prefetch;
pub mod sorted;
pub mod table;
pub mod thin;

pub use codec::{Changes, Reader};
pub use garbage::Garbage;
pub use sorted::{Keyed, Sorted};
pub use table::{Addressed, CURSOR_SHIFT, Table};
pub use thin::Thin;
