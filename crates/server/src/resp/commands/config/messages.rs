//! How much of the memory messages may have. (RabbitMQ: vm_memory_high_watermark_paging_ratio, which it had before its queues kept
//! all but a few messages on disk)

use super::Parameter;

pub(super) const PARAMETERS: &[Parameter] = &[Parameter {
    name: "message-memory",
    get: |shared, _| shared.settings.message_memory.read().clone(),
    set: Some(|shared, engine, value| {
        shared.settings.set_message_memory(value)?;
        engine.broker.memory_bytes_max = shared.settings.message_bytes_in_memory();
        Ok(())
    }),
}];
