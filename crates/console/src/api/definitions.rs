//! Definitions: everything but messages, in RabbitMQ's file format. An import is one commit; a file that could be taken in parts
//! only is refused before anything is changed.

use super::parameters::{all_parameters, cluster_name, parameter_to_json, put};
use super::permissions::{permission_to_json, permissions_in, topic_to_json, topics_in, user_in};
use super::policies::{policy_in, policy_to_json};
use super::tables::{from_json, object_of, to_json, truth};
use super::users::{Said, user_to_json};
use super::vhosts::{about_in, about_to_json};
use super::{Asked, NOBODY, RABBITMQ_VERSION, Refusal, Told, bindings, text};
use leveret_amqp::TableBuf;
use leveret_engine::Engine;
use leveret_engine::broker::{ExchangeDeclare, KEYSPACE, PolicyKey, QueueDeclare, RESERVED, VhostId};
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Fields of an object, in this order.
fn only(row: &Value, names: &[&str]) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect())
}

fn without(row: Value, name: &str) -> Value {
    match row {
        Value::Object(mut object) => {
            object.shift_remove(name);
            Value::Object(object)
        }
        other => other,
    }
}

/// Queues that outlive their connection.
fn queues(engine: &Engine, vhost: VhostId) -> Vec<Value> {
    let reports =
        engine.broker.queue_ids(Some(vhost)).into_iter().filter_map(|id| engine.broker.queue_report(id));
    let lasting = reports.filter(|report| report.owner.is_none());
    let mut rows: Vec<Value> = lasting
        .map(|report| {
            let mut arguments = object(to_json(report.arguments));
            arguments.entry("x-queue-type").or_insert_with(|| report.kind.into());
            json!({
                "name": text(report.name),
                "vhost": text(engine.broker.vhost_name(vhost)),
                "durable": report.durable,
                "auto_delete": report.auto_delete,
                "arguments": arguments,
            })
        })
        .collect();
    rows.sort_by_cached_key(|row| row["name"].to_string());
    rows
}

/// Exchanges that were declared.
fn exchanges(engine: &Engine, vhost: VhostId) -> Vec<Value> {
    let ids = engine.broker.exchange_ids(Some(vhost)).into_iter();
    let reports = ids.filter_map(|id| engine.broker.exchange_report(id));
    let is_declared =
        |name: &[u8]| !name.is_empty() && !name.starts_with(b"amq.") && !name.starts_with(RESERVED);
    let declared = reports.filter(|report| is_declared(report.name));
    let mut rows: Vec<Value> = declared
        .map(|report| {
            json!({
                "name": text(report.name),
                "vhost": text(engine.broker.vhost_name(vhost)),
                "type": report.kind,
                "durable": report.durable,
                "auto_delete": report.auto_delete,
                "internal": report.internal,
                "arguments": to_json(report.arguments),
            })
        })
        .collect();
    rows.sort_by_cached_key(|row| row["name"].to_string());
    rows
}

/// Bindings that are in the log.
fn durable_bindings(engine: &Engine, vhost: VhostId) -> Vec<Value> {
    let names = ["source", "vhost", "destination", "destination_type", "routing_key", "arguments"];
    let ids = engine.broker.exchange_ids(Some(vhost)).into_iter();
    let all = ids.flat_map(|id| engine.broker.bindings_from(id)).filter(|binding| binding.durable);
    all.map(|binding| only(&bindings::binding_to_json(engine, &binding), &names)).collect()
}

fn policies(engine: &Engine, vhost: Option<VhostId>) -> Vec<Value> {
    let is_wanted = |key: &PolicyKey| !key.1 && vhost.is_none_or(|vhost| key.0 == vhost);
    let wanted = engine.broker.policies().filter(|(key, _)| is_wanted(key));
    wanted.map(|(key, policy)| policy_to_json(engine, key, policy)).collect()
}

/// Operators' policies are parameters in these files.
fn operator_policies(engine: &Engine) -> Vec<Value> {
    let own = engine.broker.policies().filter(|((_, is_operator, _), _)| *is_operator);
    own.map(|(key, policy)| {
        let row = policy_to_json(engine, key, policy);
        let value = only(&row, &["pattern", "apply-to", "definition", "priority"]);
        json!({"value": value, "vhost": row["vhost"], "component": "operator_policy", "name": row["name"]})
    })
    .collect()
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

/// The objects of a list in a file; a missing list is empty.
fn objects<'a>(file: &'a Object, name: &str) -> Result<Vec<&'a Object>, Refusal> {
    let Some(list) = file.get(name).filter(|list| !list.is_null()) else { return Ok(Vec::new()) };
    let list = list.as_array().ok_or_else(|| Refusal::bad(format!("{name} is no list")))?;
    list.iter()
        .map(|row| {
            row.as_object().ok_or_else(|| Refusal::bad(format!("{name} has something that is no object")))
        })
        .collect()
}

fn word<'a>(row: &'a Object, name: &str) -> Result<&'a str, Refusal> {
    row.get(name).and_then(Value::as_str).ok_or_else(|| Refusal::bad(format!("{{key_missing,{name}}}")))
}

impl Asked {
    pub(super) fn definitions(&self) -> Result<Told, Refusal> {
        self.administer()?;
        let engine = self.shared.engine.lock();
        let vhosts: Vec<(VhostId, String)> =
            engine.broker.vhosts().map(|(id, name, _)| (id, text(name))).collect();
        let users: Vec<Value> = engine
            .accounts
            .users()
            // What is for RESP alone is not in RabbitMQ's format.
            .filter(|user| user.acl.is_none() || !user.tags.is_empty() || !user.permissions.is_empty())
            .map(|user| user_to_json(&engine, user))
            .collect();
        let (mut permissions, mut topics) = (Vec::new(), Vec::new());
        for user in engine.accounts.users() {
            let own = user.permissions.iter();
            permissions.extend(own.map(|(vhost, own)| permission_to_json(&user.name, vhost, own)));
            let own = user.topic_permissions.iter();
            topics
                .extend(own.map(|((vhost, exchange), own)| topic_to_json(&user.name, vhost, exchange, own)));
        }
        let vhost_rows: Vec<Value> = engine
            .broker
            .vhosts()
            .map(|(_, name, about)| {
                let mut row = Object::new();
                row.insert("name".into(), text(name).into());
                row.insert("description".into(), about.description.as_str().into());
                let metadata = about_to_json(about);
                for name in ["tags", "default_queue_type"] {
                    row.insert(name.into(), metadata[name].clone());
                }
                row.insert("metadata".into(), Value::Object(metadata));
                Value::Object(row)
            })
            .collect();
        let of_all = |rows: fn(&Engine, VhostId) -> Vec<Value>| -> Vec<Value> {
            vhosts.iter().flat_map(|(id, _)| rows(&engine, *id)).collect()
        };
        let globals = engine.parameters.iter().filter(|([component, ..], _)| component.is_empty());
        let globals: Vec<Value> = globals.map(|(key, value)| parameter_to_json(key, value)).collect();
        let mut parameters = all_parameters(&engine);
        parameters.extend(operator_policies(&engine));
        Ok(Told::json(json!({
            "rabbit_version": RABBITMQ_VERSION,
            "rabbitmq_version": RABBITMQ_VERSION,
            "product_name": "RabbitMQ",
            "product_version": RABBITMQ_VERSION,
            "rabbitmq_definition_format": "cluster",
            "original_cluster_name": cluster_name(&engine),
            "explanation": format!("Definitions of cluster '{}'", cluster_name(&engine)),
            "users": users,
            "vhosts": vhost_rows,
            "permissions": permissions,
            "topic_permissions": topics,
            "parameters": parameters,
            "global_parameters": globals,
            "policies": policies(&engine, None),
            "queues": of_all(queues),
            "exchanges": of_all(exchanges),
            "bindings": of_all(durable_bindings),
        })))
    }

    pub(super) fn definitions_of(&self, vhost: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let id = self.seen_vhost(&engine, vhost)?;
        let about =
            engine.broker.vhosts().find(|(known, ..)| *known == id).map(|(_, _, about)| about.clone());
        let strip =
            |rows: Vec<Value>| -> Vec<Value> { rows.into_iter().map(|row| without(row, "vhost")).collect() };
        let mut parameters = all_parameters(&engine);
        parameters.retain(|row| row["vhost"].as_str() == Some(vhost));
        Ok(Told::json(json!({
            "rabbit_version": RABBITMQ_VERSION,
            "rabbitmq_version": RABBITMQ_VERSION,
            "product_name": "RabbitMQ",
            "product_version": RABBITMQ_VERSION,
            "rabbitmq_definition_format": "single_virtual_host",
            "original_vhost_name": vhost,
            "explanation": format!("Definitions of virtual host '{vhost}'"),
            "metadata": about_to_json(&about.unwrap_or_default()),
            "description": "",
            "default_queue_type": "classic",
            "limits": [],
            "parameters": strip(parameters),
            "policies": strip(policies(&engine, Some(id))),
            "queues": strip(queues(&engine, id)),
            "exchanges": strip(exchanges(&engine, id)),
            "bindings": strip(durable_bindings(&engine, id)),
        })))
    }

    pub(super) fn import(&self, vhost: Option<&str>) -> Result<Told, Refusal> {
        self.administer()?;
        let file = self.object()?;
        // Hashing takes long, so it is done before anybody waits.
        let users = objects(&file, "users")?;
        let users: Vec<(&str, Said)> = users
            .into_iter()
            .map(|row| Ok((word(row, "name")?, Said::of(row)?)))
            .collect::<Result<_, Refusal>>()?;
        check(&file)?;
        self.change(|engine| {
            check_names(engine, &file, vhost)?;
            engine.begin();
            let result = import(engine, &file, users, vhost);
            engine.end();
            result
        })?;
        Ok(Told::nothing())
    }
}

/// What a row declares. The arguments are made by the caller, who keeps them.
fn exchange_in<'a>(row: &'a Object, arguments: &'a TableBuf) -> Result<ExchangeDeclare<'a>, Refusal> {
    Ok(ExchangeDeclare {
        name: word(row, "name")?.as_bytes(),
        kind: row.get("type").and_then(Value::as_str).unwrap_or("direct").as_bytes(),
        passive: false,
        durable: if row.contains_key("durable") { truth(row, "durable")? } else { true },
        auto_delete: truth(row, "auto_delete")?,
        internal: truth(row, "internal")?,
        arguments: arguments.as_table(),
    })
}

/// Likewise, of a queue.
fn queue_in<'a>(row: &'a Object, arguments: &'a TableBuf) -> Result<QueueDeclare<'a>, Refusal> {
    Ok(QueueDeclare {
        name: word(row, "name")?.as_bytes(),
        passive: false,
        durable: if row.contains_key("durable") { truth(row, "durable")? } else { true },
        exclusive: false,
        auto_delete: truth(row, "auto_delete")?,
        arguments: arguments.as_table(),
    })
}

/// Refuses a file that names what is neither in it nor there.
fn check_names(engine: &Engine, file: &Object, only: Option<&str>) -> Result<(), Refusal> {
    let in_file = |list: &str, name: &str, vhost: Option<&str>| -> Result<bool, Refusal> {
        let is_it = |row: &&Object| {
            let of = only.or_else(|| row.get("vhost").and_then(Value::as_str));
            row.get("name").and_then(Value::as_str) == Some(name)
                && vhost.is_none_or(|vhost| of == Some(vhost))
        };
        Ok(objects(file, list)?.iter().any(is_it))
    };
    let vhost_of = |row: &Object| -> Result<String, Refusal> {
        let name = match only {
            Some(name) => name,
            None => word(row, "vhost")?,
        };
        match engine.broker.vhost(name.as_bytes()).is_some() || in_file("vhosts", name, None)? {
            true => Ok(name.to_owned()),
            false => Err(Refusal::bad(format!("vhost '{name}' does not exist"))),
        }
    };
    for row in objects(file, "permissions")?.into_iter().chain(objects(file, "topic_permissions")?) {
        vhost_of(row)?;
        let user = word(row, "user")?;
        if engine.accounts.user(user).is_none() && !in_file("users", user, None)? {
            return Err(Refusal::bad(format!("user '{user}' does not exist")));
        }
    }
    for row in objects(file, "policies")?.into_iter().chain(objects(file, "parameters")?) {
        vhost_of(row)?;
        word(row, "name")?;
    }
    for row in objects(file, "exchanges")? {
        let arguments = from_json(&object_of(row, "arguments")?);
        exchange_in(row, &arguments)?.check(&vhost_of(row)?)?;
    }
    for row in objects(file, "queues")? {
        let arguments = from_json(&object_of(row, "arguments")?);
        queue_in(row, &arguments)?.check(&vhost_of(row)?)?;
    }
    for row in objects(file, "bindings")? {
        let vhost = vhost_of(row)?;
        let id = engine.broker.vhost(vhost.as_bytes());
        let exchange = |name: &str| -> Result<bool, Refusal> {
            let is_there = id.is_some_and(|id| engine.broker.has_exchange(id, name.as_bytes()));
            let is_built_in = name.starts_with("amq.") || name.as_bytes().starts_with(RESERVED);
            Ok(is_there || is_built_in || in_file("exchanges", name, Some(&vhost))?)
        };
        let queue = |name: &str| -> Result<bool, Refusal> {
            let is_there = id.is_some_and(|id| engine.broker.has_queue(id, name.as_bytes()));
            Ok(is_there || in_file("queues", name, Some(&vhost))?)
        };
        let (source, destination) = (word(row, "source")?, word(row, "destination")?);
        let leads = if word(row, "destination_type")? == "queue" {
            queue(destination)?
        } else {
            // To what only the server publishes to nothing leads.
            destination.as_bytes() != KEYSPACE && exchange(destination)?
        };
        if !exchange(source)? || !leads {
            return Err(Refusal::bad(format!(
                "a binding from '{source}' to '{destination}' in vhost '{vhost}' leads from or to nothing"
            )));
        }
    }
    Ok(())
}

/// Refuses a file with something that would be refused in the middle: what can be seen without the rest.
fn check(file: &Object) -> Result<(), Refusal> {
    for row in objects(file, "policies")? {
        word(row, "name")?;
        policy_in(row, false)?;
    }
    for row in objects(file, "permissions")? {
        word(row, "user")?;
        permissions_in(row)?;
    }
    for row in objects(file, "topic_permissions")? {
        topics_in(row)?;
    }
    for row in objects(file, "vhosts")? {
        word(row, "name")?;
        about_in(row, None)?;
    }
    for name in ["queues", "exchanges"] {
        for row in objects(file, name)? {
            word(row, "name")?;
            object_of(row, "arguments")?;
        }
    }
    for row in objects(file, "bindings")? {
        for name in ["source", "destination", "destination_type"] {
            word(row, name)?;
        }
    }
    Ok(())
}

fn import(
    engine: &mut Engine,
    file: &Object,
    users: Vec<(&str, Said)>,
    only: Option<&str>,
) -> Result<(), Refusal> {
    for row in objects(file, "vhosts")? {
        let name = word(row, "name")?;
        let before = engine.broker.vhosts().find(|(_, known, _)| *known == name.as_bytes());
        let about = about_in(row, before.map(|(_, _, about)| about.clone()).as_ref())?;
        engine.on_broker(|txn| txn.vhost_put(name.as_bytes(), &about));
    }
    for (name, said) in users {
        said.apply(engine, name);
    }
    for row in objects(file, "permissions")? {
        let (vhost, mut user) = user_and_vhost(engine, row)?;
        user.permissions.insert(vhost, permissions_in(row)?);
        engine.put_user(user);
    }
    for row in objects(file, "topic_permissions")? {
        let (vhost, mut user) = user_and_vhost(engine, row)?;
        let (exchange, topics) = topics_in(row)?;
        user.topic_permissions.insert((vhost, exchange), topics);
        engine.put_user(user);
    }
    for row in objects(file, "global_parameters")? {
        put(engine, "", "", word(row, "name")?, row.get("value").unwrap_or(&Value::Null))?;
    }
    let vhost_of = |engine: &Engine, row: &Object| -> Result<(VhostId, String), Refusal> {
        let name = match only {
            Some(name) => name,
            None => word(row, "vhost")?,
        };
        let id = engine.broker.vhost(name.as_bytes());
        Ok((id.ok_or_else(|| Refusal::bad(format!("vhost '{name}' does not exist")))?, name.to_owned()))
    };
    for row in objects(file, "parameters")? {
        let (id, vhost) = vhost_of(engine, row)?;
        let (component, name) = (word(row, "component")?, word(row, "name")?);
        let value = row.get("value").unwrap_or(&Value::Null);
        if component == "operator_policy" {
            let policy = policy_in(&object(value.clone()), true)?;
            engine.on_broker(|txn| txn.put_policy((id, true, name.into()), policy));
        } else {
            put(engine, component, &vhost, name, value)?;
        }
    }
    for row in objects(file, "policies")? {
        let (id, _) = vhost_of(engine, row)?;
        let key = (id, false, word(row, "name")?.into());
        let policy = policy_in(row, false)?;
        engine.on_broker(|txn| txn.put_policy(key, policy));
    }
    for row in objects(file, "exchanges")? {
        let (id, _) = vhost_of(engine, row)?;
        let arguments = from_json(&object_of(row, "arguments")?);
        let declare = exchange_in(row, &arguments)?;
        // What is there stays as it is.
        if !engine.broker.has_exchange(id, declare.name) {
            engine.on_broker(|txn| txn.exchange_declare(id, &declare))?;
        }
    }
    for row in objects(file, "queues")? {
        let (id, _) = vhost_of(engine, row)?;
        let arguments = from_json(&object_of(row, "arguments")?);
        let declare = queue_in(row, &arguments)?;
        if !engine.broker.has_queue(id, declare.name) {
            engine.on_broker(|txn| txn.queue_declare(id, NOBODY, &declare))?;
        }
    }
    for row in objects(file, "bindings")? {
        let (id, _) = vhost_of(engine, row)?;
        let arguments = from_json(&object_of(row, "arguments")?);
        let (source, destination) = (word(row, "source")?.as_bytes(), word(row, "destination")?.as_bytes());
        let key = row.get("routing_key").and_then(Value::as_str).unwrap_or_default().as_bytes();
        let to_queue = word(row, "destination_type")? == "queue";
        engine.on_broker(|txn| match to_queue {
            true => txn.queue_bind(id, NOBODY, destination, source, key, arguments.as_table()),
            false => txn.exchange_bind(id, destination, source, key, arguments.as_table()),
        })?;
    }
    Ok(())
}

fn user_and_vhost(
    engine: &Engine,
    row: &Object,
) -> Result<(String, leveret_engine::accounts::User), Refusal> {
    let (vhost, user) = (word(row, "vhost")?, word(row, "user")?);
    let user = user_in(engine, vhost, user)
        .map_err(|_| Refusal::bad(format!("user '{user}' or vhost '{vhost}' does not exist")))?;
    Ok((vhost.to_owned(), user))
}
