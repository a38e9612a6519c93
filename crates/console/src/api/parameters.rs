//! Parameters of components, parameters for all, and limits. (RabbitMQ: management API, parameters, limits)

use super::{Asked, Refusal, Told, policies, refusal};
use leveret_engine::broker::{Policy, PolicyKey};
use leveret_engine::{Engine, ParameterKey, USER_LIMITS, VHOST_LIMITS};
use serde_json::{Map, Value, json};

/// The parameter for all that has the cluster's name.
const CLUSTER_NAME: &str = "cluster_name";
const DEFAULT_CLUSTER_NAME: &str = "rabbit@localhost";
/// There since the first start. (RabbitMQ: internal_cluster_id)
const FOR_ALL: &str = "";
/// The components that policies are.
const POLICY: &str = "policy";
const OPERATOR_POLICY: &str = "operator_policy";

fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn key(component: &str, vhost: &str, name: &str) -> ParameterKey {
    [component.into(), vhost.into(), name.into()]
}

pub(super) fn parameter_to_json([component, vhost, name]: &ParameterKey, value: &str) -> Value {
    match component.as_str() {
        FOR_ALL => json!({"name": name, "value": value_of(value)}),
        _ => json!({"value": value_of(value), "vhost": vhost, "component": component, "name": name}),
    }
}

/// Parameters of components: the limits of vhosts are one.
pub(super) fn all_parameters(engine: &Engine) -> Vec<Value> {
    let of_components = |[component, ..]: &ParameterKey| {
        component != FOR_ALL && component != USER_LIMITS && component != VHOST_LIMITS
    };
    let own = engine.parameters.iter().filter(|(key, _)| of_components(key));
    let mut rows: Vec<Value> = own.map(|(key, value)| parameter_to_json(key, value)).collect();
    for (of, limits) in limits(engine, VHOST_LIMITS) {
        rows.push(json!({"value": limits, "vhost": of, "component": VHOST_LIMITS, "name": "limits"}));
    }
    rows
}

/// Policies are parameters as well.
fn policies_of(engine: &Engine, operators: bool) -> Vec<Value> {
    let wanted = engine.broker.policies().filter(|((_, is_operator, _), _)| *is_operator == operators);
    let row = |(key, policy): (&PolicyKey, &Policy)| {
        let mut value = policies::policy_to_json(engine, key, policy);
        let (vhost, name) = (value["vhost"].take(), value["name"].take());
        if let Value::Object(value) = &mut value {
            value.retain(|name, _| name != "vhost" && name != "name");
        }
        let component = if operators { OPERATOR_POLICY } else { POLICY };
        json!({"value": value, "vhost": vhost, "component": component, "name": name})
    };
    wanted.map(row).collect()
}

pub(super) fn cluster_name(engine: &Engine) -> String {
    let named = engine.parameters.get(&key(FOR_ALL, "", CLUSTER_NAME)).map(value_of);
    named.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_else(|| DEFAULT_CLUSTER_NAME.into())
}

/// The limits of all vhosts, or users, that have any.
fn limits(engine: &Engine, component: &str) -> Vec<(String, Map<String, Value>)> {
    let mut all: Vec<(String, Map<String, Value>)> = Vec::new();
    for ([_, of, name], value) in engine.parameters.iter().filter(|(key, _)| key[0] == component) {
        if all.last().is_none_or(|(last, _)| last != of) {
            all.push((of.clone(), Map::new()));
        }
        if let Some((_, limits)) = all.last_mut() {
            limits.insert(name.clone(), value_of(value));
        }
    }
    all
}

/// Keeps a parameter. The limits of a vhost come as one.
pub(super) fn put(
    engine: &mut Engine,
    component: &str,
    vhost: &str,
    name: &str,
    value: &Value,
) -> Result<(), Refusal> {
    if component == VHOST_LIMITS {
        let Value::Object(limits) = value else { return Err(Refusal::bad("limits are an object")) };
        for (name, value) in limits {
            put_limit(engine, VHOST_LIMITS, vhost, name, value)?;
        }
        return Ok(());
    }
    engine.put_parameter(key(component, vhost, name), value.to_string());
    Ok(())
}

fn put_limit(
    engine: &mut Engine,
    component: &str,
    of: &str,
    name: &str,
    value: &Value,
) -> Result<(), Refusal> {
    let known: &[&str] = if component == USER_LIMITS {
        &["max-connections", "max-channels"]
    } else {
        &["max-connections", "max-queues"]
    };
    if !known.contains(&name) {
        return Err(Refusal::bad(format!(
            "Validation failed\n\nUnrecognised terms [{{<<\"{name}\">>,{value}}}] in {component}\n"
        )));
    }
    let value = value.as_i64().ok_or_else(|| {
        Refusal::bad(format!("Validation failed\n\n{name} should be number, actually was {value}\n"))
    })?;
    engine.put_parameter(key(component, of, name), value.to_string());
    Ok(())
}

impl Asked {
    fn make_parameters(&self, component: &str) -> Result<(), Refusal> {
        match component {
            FOR_ALL => self.administer(),
            _ if self.has_tag(&["administrator", "policymaker"]) => Ok(()),
            _ => Err(Refusal::forbidden("Not policymaker user")),
        }
    }

    pub(super) fn parameters(&self, component: Option<&str>, vhost: Option<&str>) -> Result<Told, Refusal> {
        self.make_parameters("any")?;
        let engine = self.shared.engine.lock();
        let vhosts = self.seen_vhosts(&engine, vhost)?;
        let mut rows = all_parameters(&engine);
        // Those of users are listed only for who asks for them.
        rows.extend(policies_of(&engine, true));
        if component == Some(POLICY) {
            rows.extend(policies_of(&engine, false));
        }
        drop(engine);
        let says = |row: &Value, name: &str, wanted: &str| row[name].as_str() == Some(wanted);
        rows.retain(|row| component.is_none_or(|component| says(row, "component", component)));
        rows.retain(|row| vhosts.iter().any(|(_, name)| says(row, "vhost", name)));
        self.list(rows)
    }

    pub(super) fn global_parameters(&self) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let for_all = engine.parameters.iter().filter(|(key, _)| key[0] == FOR_ALL);
        let rows = for_all.map(|(key, value)| parameter_to_json(key, value)).collect();
        drop(engine);
        self.list(rows)
    }

    pub(super) fn parameter(&self, component: &str, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        if component != FOR_ALL {
            self.seen_vhost(&engine, vhost)?;
        }
        if component == VHOST_LIMITS {
            let (_, limits) = limits(&engine, VHOST_LIMITS)
                .into_iter()
                .find(|(of, _)| of == vhost)
                .ok_or_else(Refusal::not_found)?;
            let row = json!({"value": limits, "vhost": vhost, "component": VHOST_LIMITS, "name": "limits"});
            return Ok(self.one(row));
        }
        if component == POLICY || component == OPERATOR_POLICY {
            let mut rows = policies_of(&engine, component == OPERATOR_POLICY).into_iter();
            let row =
                rows.find(|row| row["vhost"].as_str() == Some(vhost) && row["name"].as_str() == Some(name));
            return Ok(self.one(row.ok_or_else(Refusal::not_found)?));
        }
        let wanted = key(component, vhost, name);
        let value = engine.parameters.get(&wanted).ok_or_else(Refusal::not_found)?;
        Ok(self.one(parameter_to_json(&wanted, value)))
    }

    pub(super) fn put_parameter(&self, component: &str, vhost: &str, name: &str) -> Result<Told, Refusal> {
        self.make_parameters(component)?;
        let body = self.object()?;
        refusal::require(&body, &["value"])?;
        self.change(|engine| {
            if component != FOR_ALL {
                self.seen_vhost(engine, vhost)?;
            }
            let is_new = engine.parameters.get(&key(component, vhost, name)).is_none();
            put(engine, component, vhost, name, &body["value"])?;
            Ok(Told::created(is_new))
        })
    }

    pub(super) fn delete_parameter(&self, component: &str, vhost: &str, name: &str) -> Result<Told, Refusal> {
        self.make_parameters(component)?;
        self.change(|engine| {
            if component == VHOST_LIMITS {
                let keys: Vec<ParameterKey> = engine.parameters.iter().map(|(key, _)| key.clone()).collect();
                for key in keys.iter().filter(|key| key[0] == VHOST_LIMITS && key[1] == vhost) {
                    engine.delete_parameter(key);
                }
                return Ok(Told::nothing());
            }
            let was_there = engine.delete_parameter(&key(component, vhost, name));
            if was_there { Ok(Told::nothing()) } else { Err(Refusal::not_found()) }
        })
    }

    pub(super) fn limits(&self, component: &str, of: Option<&str>) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        if component == USER_LIMITS {
            self.administer()?;
        }
        let (field, mut all) =
            (if component == USER_LIMITS { "user" } else { "vhost" }, limits(&engine, component));
        if let Some(of) = of {
            let is_there = match component {
                USER_LIMITS => engine.accounts.user(of).is_some(),
                _ => self.seen_vhost(&engine, of).is_ok(),
            };
            if !is_there {
                return Err(Refusal::not_found());
            }
            all.retain(|(name, _)| name == of);
        } else if component == VHOST_LIMITS {
            all.retain(|(name, _)| self.sees(name));
        }
        drop(engine);
        self.list(all.into_iter().map(|(name, limits)| json!({field: name, "value": limits})).collect())
    }

    pub(super) fn put_limit(&self, component: &str, of: &str, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let body = self.object()?;
        refusal::require(&body, &["value"])?;
        self.change(|engine| {
            let is_there = match component {
                USER_LIMITS => engine.accounts.user(of).is_some(),
                _ => engine.broker.vhost(of.as_bytes()).is_some(),
            };
            if !is_there {
                return Err(Refusal::not_found());
            }
            put_limit(engine, component, of, name, &body["value"])?;
            Ok(Told::nothing())
        })
    }

    pub(super) fn delete_limit(&self, component: &str, of: &str, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        self.change(|engine| {
            engine.delete_parameter(&key(component, of, name));
            Ok(Told::nothing())
        })
    }

    pub(super) fn cluster_name(&self) -> Result<Told, Refusal> {
        Ok(Told::json(json!({"name": cluster_name(&self.shared.engine.lock())})))
    }

    pub(super) fn put_cluster_name(&self) -> Result<Told, Refusal> {
        self.administer()?;
        let body = self.object()?;
        refusal::require(&body, &["name"])?;
        self.shared
            .change(|engine| engine.put_parameter(key(FOR_ALL, "", CLUSTER_NAME), body["name"].to_string()));
        Ok(Told::nothing())
    }
}
