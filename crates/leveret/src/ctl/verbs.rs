//! What can be asked for, by the names of `rabbitmqctl`.

use super::api::path;
use super::{Call, put};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// One verb.
pub(super) struct Verb {
    pub(super) name: &'static str,
    /// As help prints them: optional ones in brackets, `…` for any number.
    pub(super) args: &'static str,
    pub(super) help: &'static str,
    pub(super) run: fn(&Call) -> Result<()>,
}

impl Verb {
    /// The least and the most arguments.
    pub(super) fn args_count(&self) -> (usize, usize) {
        let words = || self.args.split_whitespace().filter(|word| !word.starts_with("[-"));
        let least = words().filter(|word| !word.starts_with('[') && !word.ends_with(']')).count();
        (least, if self.args.contains('…') { usize::MAX } else { words().count() })
    }
}

const fn verb(
    name: &'static str,
    args: &'static str,
    help: &'static str,
    run: fn(&Call) -> Result<()>,
) -> Verb {
    Verb { name, args, help, run }
}

/// Every verb.
#[rustfmt::skip]
pub(super) const VERBS: &[Verb] = &[
    verb("status", "", "what runs, and how much of it", status),
    verb("add_user", "NAME [PASSWORD]", "makes a user; the password comes from standard input if it is not given", add_user),
    verb("delete_user", "NAME", "deletes a user and closes its connections", |call| done(call, "Deleting user", call.api.delete(&path(&["users", call.arg(0)])))),
    verb("change_password", "NAME [PASSWORD]", "gives a user another password", change_password),
    verb("clear_password", "NAME", "leaves a user without a password", clear_password),
    verb("authenticate_user", "NAME [PASSWORD]", "tries a password", authenticate_user),
    verb("set_user_tags", "NAME [TAG …]", "sets a user's tags: administrator, monitoring, policymaker, management, impersonator", set_user_tags),
    verb("list_users", "", "lists users", |call| list(call, "users", "users", &["name", "tags"])),
    verb("add_vhost", "NAME", "makes a vhost; --description, --tags, --default-queue-type", add_vhost),
    verb("delete_vhost", "NAME", "deletes a vhost with everything in it", |call| done(call, "Deleting vhost", call.api.delete(&path(&["vhosts", call.arg(0)])))),
    verb("list_vhosts", "[COLUMN …]", "lists vhosts", |call| list(call, "vhosts", "vhosts", &["name"])),
    verb("set_permissions", "USER CONFIGURE WRITE READ", "sets a user's permissions in a vhost (-p)", set_permissions),
    verb("clear_permissions", "USER", "takes a user's permissions in a vhost (-p)", |call| done(call, "Clearing permissions of user", call.api.delete(&path(&["permissions", &call.vhost, call.arg(0)])))),
    verb("list_permissions", "", "lists the permissions in a vhost (-p)", |call| list(call, "permissions", &path(&["vhosts", &call.vhost, "permissions"]), &["user", "configure", "write", "read"])),
    verb("list_user_permissions", "USER", "lists a user's permissions", |call| list_of(call, "permissions", &path(&["users", call.arg(0), "permissions"]), &["vhost", "configure", "write", "read"])),
    verb("set_topic_permissions", "USER EXCHANGE WRITE READ", "sets which routing keys a user may use with a topic exchange", set_topic_permissions),
    verb("clear_topic_permissions", "USER [EXCHANGE]", "takes a user's topic permissions", clear_topic_permissions),
    verb("list_topic_permissions", "", "lists the topic permissions in a vhost (-p)", |call| list(call, "topic permissions", &path(&["vhosts", &call.vhost, "topic-permissions"]), &["user", "exchange", "write", "read"])),
    verb("list_queues", "[COLUMN …]", "lists the queues of a vhost (-p)", |call| list(call, "queues", &path(&["queues", &call.vhost]), &["name", "messages"])),
    verb("list_exchanges", "[COLUMN …]", "lists the exchanges of a vhost (-p)", |call| list(call, "exchanges", &path(&["exchanges", &call.vhost]), &["name", "type"])),
    verb("list_bindings", "[COLUMN …]", "lists the bindings of a vhost (-p)", |call| list(call, "bindings", &path(&["bindings", &call.vhost]), &["source", "destination", "destination_type", "routing_key", "arguments"])),
    verb("list_connections", "[COLUMN …]", "lists AMQP connections", |call| list(call, "connections", "connections", &["user", "peer_host", "peer_port", "state"])),
    verb("list_channels", "[COLUMN …]", "lists channels", |call| list(call, "channels", "channels", &["name", "user", "consumer_count", "messages_unacknowledged"])),
    verb("list_consumers", "", "lists the consumers of a vhost (-p)", list_consumers),
    verb("close_connection", "NAME REASON", "closes a connection", close_connection),
    verb("close_all_user_connections", "USER REASON", "closes all connections of a user", |call| done(call, "Closing connections of user", call.api.delete_because(&path(&["connections", "username", call.arg(0)]), call.arg(1)))),
    verb("purge_queue", "QUEUE", "removes the messages of a queue (-p)", |call| done(call, "Purging queue", call.api.delete(&path(&["queues", &call.vhost, call.arg(0), "contents"])))),
    verb("delete_queue", "QUEUE", "deletes a queue (-p)", |call| done(call, "Deleting queue", call.api.delete(&path(&["queues", &call.vhost, call.arg(0)])))),
    verb("set_policy", "NAME PATTERN DEFINITION", "sets a policy (-p); --priority N, --apply-to all|queues|exchanges|classic_queues|quorum_queues|streams", |call| set_policy(call, "policies")),
    verb("clear_policy", "NAME", "removes a policy (-p)", |call| done(call, "Clearing policy", call.api.delete(&path(&["policies", &call.vhost, call.arg(0)])))),
    verb("list_policies", "", "lists the policies of a vhost (-p)", |call| list(call, "policies", &path(&["policies", &call.vhost]), &["vhost", "name", "pattern", "apply-to", "definition", "priority"])),
    verb("set_operator_policy", "NAME PATTERN DEFINITION", "sets an operator's policy (-p)", |call| set_policy(call, "operator-policies")),
    verb("clear_operator_policy", "NAME", "removes an operator's policy (-p)", |call| done(call, "Clearing operator policy", call.api.delete(&path(&["operator-policies", &call.vhost, call.arg(0)])))),
    verb("list_operator_policies", "", "lists the operators' policies of a vhost (-p)", |call| list(call, "operator policies", &path(&["operator-policies", &call.vhost]), &["vhost", "name", "pattern", "apply-to", "definition", "priority"])),
    verb("set_vhost_limits", "DEFINITION", "sets limits of a vhost (-p): {\"max-connections\": 9}", |call| set_limits(call, "vhost-limits", &call.vhost, 0)),
    verb("clear_vhost_limits", "", "removes the limits of a vhost (-p)", |call| clear_limits(call, "vhost-limits", &call.vhost)),
    verb("list_vhost_limits", "", "lists the limits of vhosts", |call| list(call, "vhost limits", "vhost-limits", &["vhost", "value"])),
    verb("set_user_limits", "USER DEFINITION", "sets limits of a user: {\"max-channels\": 9}", |call| set_limits(call, "user-limits", call.arg(0), 1)),
    verb("clear_user_limits", "USER", "removes the limits of a user", |call| clear_limits(call, "user-limits", call.arg(0))),
    verb("list_user_limits", "", "lists the limits of users", |call| list(call, "user limits", "user-limits", &["user", "value"])),
    verb("set_cluster_name", "NAME", "gives the cluster another name", |call| done(call, "Setting cluster name to", call.api.put("cluster-name", &json!({"name": call.arg(0)})))),
    verb("export_definitions", "[FILE]", "writes everything but messages to a file, or to standard output", export_definitions),
    verb("import_definitions", "[FILE]", "takes a file of RabbitMQ's format, or standard input", import_definitions),
    verb("hash_password", "PASSWORD", "prints a hash for definition files", hash_password),
];

fn done(call: &Call, what: &str, result: Result<Value>) -> Result<()> {
    call.say(&format!("{what} \"{}\" ...", call.arg(0)));
    result.map(|_| ())
}

/// A list with columns of the caller's choice, or these.
fn list(call: &Call, what: &str, path: &str, columns: &[&str]) -> Result<()> {
    let chosen: Vec<&str> = call.args.iter().map(String::as_str).collect();
    print(call, what, path, if chosen.is_empty() { columns } else { &chosen })
}

/// A list of what the argument names.
fn list_of(call: &Call, what: &str, path: &str, columns: &[&str]) -> Result<()> {
    print(call, what, path, columns)
}

fn print(call: &Call, what: &str, path: &str, columns: &[&str]) -> Result<()> {
    let rows = call.api.get(path)?;
    call.say(&format!("Listing {what} ..."));
    call.print_rows(&rows, columns);
    Ok(())
}

fn status(call: &Call) -> Result<()> {
    let (overview, nodes) = (call.api.get("overview")?, call.api.get("nodes")?);
    if call.options.json {
        put(&json!({"overview": overview, "nodes": nodes}).to_string());
        return Ok(());
    }
    put(&format!(
        "{}, as RabbitMQ {}",
        overview["erlang_full_version"].as_str().unwrap_or_default(),
        overview["rabbitmq_version"].as_str().unwrap_or_default()
    ));
    put(&format!("Cluster: {}", overview["cluster_name"].as_str().unwrap_or_default()));
    for name in ["connections", "channels", "exchanges", "queues", "consumers"] {
        put(&format!("  {name}: {}", overview["object_totals"][name]));
    }
    put(&format!("  messages: {}", overview["queue_totals"]["messages"]));
    for node in nodes.as_array().into_iter().flatten() {
        put(&format!("Data: {}", node["db_dir"].as_str().unwrap_or_default()));
        put(&format!(
            "Resident memory: {} bytes, up for {} s",
            node["mem_used"],
            node["uptime"].as_u64().unwrap_or(0) / 1000
        ));
    }
    for listener in overview["listeners"].as_array().into_iter().flatten() {
        put(&format!(
            "Listener: {} on port {}",
            listener["protocol"].as_str().unwrap_or_default(),
            listener["port"]
        ));
    }
    Ok(())
}

/// The password given, or the first line of standard input.
fn password(call: &Call) -> Result<String> {
    if let Some(password) = call.args.get(1) {
        return Ok(password.clone());
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("the password comes from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn add_user(call: &Call) -> Result<()> {
    let name = call.arg(0);
    if call.api.get(&path(&["users", name])).is_ok() {
        anyhow::bail!("User \"{name}\" already exists");
    }
    let body = json!({"password": password(call)?, "tags": ""});
    done(call, "Adding user", call.api.put(&path(&["users", name]), &body))?;
    call.say(
        "Done. Don't forget to grant the user permissions to some virtual hosts! See 'leveret ctl help'.",
    );
    Ok(())
}

fn change_password(call: &Call) -> Result<()> {
    let user = call.api.get(&path(&["users", call.arg(0)]))?;
    let body = json!({"password": password(call)?, "tags": user["tags"]});
    done(call, "Changing password for user", call.api.put(&path(&["users", call.arg(0)]), &body))
}

fn clear_password(call: &Call) -> Result<()> {
    let user = call.api.get(&path(&["users", call.arg(0)]))?;
    let body = json!({"password_hash": "", "tags": user["tags"]});
    done(call, "Clearing password for user", call.api.put(&path(&["users", call.arg(0)]), &body))
}

fn authenticate_user(call: &Call) -> Result<()> {
    let api = super::Api::new(call.options.url.clone(), call.arg(0), &password(call)?);
    match api.get("whoami") {
        // It is known, even if it may manage nothing.
        Err(error) if error.to_string() != "Not management user" => Err(error),
        _ => {
            call.say("Success");
            Ok(())
        }
    }
}

fn set_user_tags(call: &Call) -> Result<()> {
    let user = call.api.get(&path(&["users", call.arg(0)]))?;
    let (hash, algorithm) = (&user["password_hash"], &user["hashing_algorithm"]);
    let body = json!({"password_hash": hash, "hashing_algorithm": algorithm, "tags": call.args[1..]});
    done(call, "Setting tags for user", call.api.put(&path(&["users", call.arg(0)]), &body))
}

fn add_vhost(call: &Call) -> Result<()> {
    let mut body = json!({});
    for (option, field) in
        [("description", "description"), ("tags", "tags"), ("default-queue-type", "default_queue_type")]
    {
        if let Some(value) = call.option(option) {
            body[field] = value.into();
        }
    }
    done(call, "Adding vhost", call.api.put(&path(&["vhosts", call.arg(0)]), &body))
}

fn set_permissions(call: &Call) -> Result<()> {
    let body = json!({"configure": call.arg(1), "write": call.arg(2), "read": call.arg(3)});
    done(
        call,
        "Setting permissions for user",
        call.api.put(&path(&["permissions", &call.vhost, call.arg(0)]), &body),
    )
}

fn set_topic_permissions(call: &Call) -> Result<()> {
    let body = json!({"exchange": call.arg(1), "write": call.arg(2), "read": call.arg(3)});
    let path = path(&["topic-permissions", &call.vhost, call.arg(0)]);
    done(call, "Setting topic permissions for user", call.api.put(&path, &body))
}

fn clear_topic_permissions(call: &Call) -> Result<()> {
    let mut parts = vec!["topic-permissions", &call.vhost, call.arg(0)];
    parts.extend(call.args.get(1).map(String::as_str));
    done(call, "Clearing topic permissions of user", call.api.delete(&path(&parts)))
}

fn list_consumers(call: &Call) -> Result<()> {
    let mut rows = call.api.get(&path(&["consumers", &call.vhost]))?;
    for row in rows.as_array_mut().into_iter().flatten() {
        row["queue_name"] = row["queue"]["name"].clone();
        row["channel"] = row["channel_details"]["name"].clone();
    }
    call.say("Listing consumers ...");
    call.print_rows(
        &rows,
        &["queue_name", "channel", "consumer_tag", "ack_required", "prefetch_count", "active"],
    );
    Ok(())
}

fn close_connection(call: &Call) -> Result<()> {
    done(
        call,
        "Closing connection",
        call.api.delete_because(&path(&["connections", call.arg(0)]), call.arg(1)),
    )
}

fn set_policy(call: &Call, kind: &str) -> Result<()> {
    let definition: Value = serde_json::from_str(call.arg(2)).context("the definition is no JSON")?;
    let mut body = json!({"pattern": call.arg(1), "definition": definition});
    if let Some(priority) = call.option("priority") {
        body["priority"] = priority.parse::<i64>().context("--priority is a number")?.into();
    }
    if let Some(apply_to) = call.option("apply-to") {
        body["apply-to"] = apply_to.into();
    }
    done(call, "Setting policy", call.api.put(&path(&[kind, &call.vhost, call.arg(0)]), &body))
}

fn set_limits(call: &Call, kind: &str, of: &str, arg: usize) -> Result<()> {
    let limits: Value = serde_json::from_str(call.arg(arg)).context("the definition is no JSON")?;
    for (name, value) in limits.as_object().context("the definition is no JSON object")? {
        call.api.put(&path(&[kind, of, name]), &json!({"value": value}))?;
    }
    call.say(&format!("Setting {kind} of \"{of}\" ..."));
    Ok(())
}

fn clear_limits(call: &Call, kind: &str, of: &str) -> Result<()> {
    for row in call.api.get(&path(&[kind, of]))?.as_array().into_iter().flatten() {
        for name in row["value"].as_object().into_iter().flat_map(|limits| limits.keys()) {
            call.api.delete(&path(&[kind, of, name]))?;
        }
    }
    call.say(&format!("Clearing {kind} of \"{of}\" ..."));
    Ok(())
}

fn export_definitions(call: &Call) -> Result<()> {
    let text = serde_json::to_string_pretty(&call.api.get("definitions")?)?;
    match call.args.first().filter(|file| *file != "-") {
        None => put(&text),
        Some(file) => std::fs::write(file, text).with_context(|| format!("cannot write {file}"))?,
    }
    Ok(())
}

fn import_definitions(call: &Call) -> Result<()> {
    let text = match call.args.first().filter(|file| *file != "-") {
        None => std::io::read_to_string(std::io::stdin())?,
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
    };
    call.api.post("definitions", &serde_json::from_str(&text).context("the file is no JSON")?)?;
    call.say("Definitions imported.");
    Ok(())
}

fn hash_password(call: &Call) -> Result<()> {
    let answer = call.api.get(&path(&["auth", "hash_password", call.arg(0)]))?;
    put(answer["ok"].as_str().unwrap_or_default());
    Ok(())
}
