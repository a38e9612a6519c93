//! Checks that load balancers and people make. (RabbitMQ: management API, health checks)

use super::{Asked, NODE, Refusal, Told};
use serde_json::{Value, json};

fn ok() -> Told {
    Told::json(json!({"status": "ok"}))
}

impl Asked {
    pub(super) fn health(&self, check: &[&str]) -> Result<Told, Refusal> {
        match check {
            // One node that answers has all its vhosts and leaders, and no certificate that could expire.
            ["alarms" | "local-alarms"] => {
                let alarms = &self.shared.settings.alarms;
                let short = [(alarms.has_memory(), "memory"), (alarms.has_disk(), "disk")];
                let raised: Vec<Value> = short
                    .iter()
                    .filter(|(is_short, _)| *is_short)
                    .map(|(_, resource)| json!({"node": NODE, "resource": resource}))
                    .collect();
                if raised.is_empty() {
                    return Ok(ok());
                }
                Ok(Told::unwell(json!({"status": "failed", "reason": "alarms in effect", "alarms": raised})))
            }
            ["virtual-hosts" | "node-is-quorum-critical" | "is-in-service"]
            | ["below-node-connection-limit" | "ready-to-serve-clients" | "reached-target-cluster-size"]
            | ["metadata-store", "initialized"]
            | ["metadata-store", "initialized", "with-data"]
            | ["certificate-expiration", _, _]
            | ["quorum-queues-without-elected-leaders", ..] => Ok(ok()),
            ["port-listener", port] => {
                let port: u16 = port.parse().map_err(|_| Refusal::bad("port is a number"))?;
                let ports: Vec<Value> =
                    self.listeners().iter().map(|listener| listener["port"].clone()).collect();
                if ports.contains(&json!(port)) {
                    return Ok(Told::json(json!({"status": "ok", "port": port})));
                }
                let body = json!({"ports": ports, "reason": "No active listener", "status": "failed", "missing": port});
                Ok(Told::unwell(body))
            }
            ["protocol-listener", names] => {
                let known: Vec<String> = self
                    .listeners()
                    .iter()
                    .filter_map(|listener| listener["protocol"].as_str().map(str::to_owned))
                    .collect();
                let wanted: Vec<&str> = names.split(',').collect();
                let same = |name: &str, known: &str| match name.to_ascii_lowercase().as_str() {
                    "amqp091" | "amqp0.9.1" | "amqp-0-9-1" | "amqp" => known == "amqp",
                    "http" | "management" => known == "http",
                    other => known == other,
                };
                let missing: Vec<&str> = wanted
                    .iter()
                    .copied()
                    .filter(|name| !known.iter().any(|known| same(name, known)))
                    .collect();
                if missing.is_empty() {
                    return Ok(Told::json(json!({"status": "ok", "protocols": wanted})));
                }
                let body = json!({"protocols": known, "reason": "No active listener", "status": "failed", "missing": missing});
                Ok(Told::unwell(body))
            }
            _ => Err(Refusal::not_found()),
        }
    }
}
