//! Users. (RabbitMQ: management API, users)

use super::{Asked, Refusal, Told, refusal};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use leveret_engine::Engine;
use leveret_engine::accounts::{Password, User};
use serde_json::{Map, Value, json};

/// RabbitMQ's names of the ways to hash, and ours.
const ALGORITHMS: [(&str, &str); 2] = [
    ("rabbit_password_hashing_sha256", "rabbit-sha256:"),
    ("rabbit_password_hashing_sha512", "rabbit-sha512:"),
];
const ARGON2: &str = "leveret_password_hashing_argon2id";
const SHA256: &str = "leveret_password_hashing_redis_sha256";

/// Users that the management API shows.
fn is_shown(user: &User) -> bool {
    user.acl.is_none() || !user.tags.is_empty() || !user.permissions.is_empty()
}

/// The first password as its base64 form and the name of its algorithm.
fn password_of(user: &User) -> (String, &'static str) {
    let Some(password) = user.passwords.first() else { return (String::new(), ALGORITHMS[0].0) };
    match password {
        Password::Argon2(text) => (BASE64_STANDARD.encode(text), ARGON2),
        Password::Sha256(hash) => (BASE64_STANDARD.encode(hash), SHA256),
        Password::RabbitSha256(bytes) => (BASE64_STANDARD.encode(bytes), ALGORITHMS[0].0),
        Password::RabbitSha512(bytes) => (BASE64_STANDARD.encode(bytes), ALGORITHMS[1].0),
    }
}

/// A hash as it was exported.
fn password_from(hash: &str, algorithm: &str) -> Option<Password> {
    let bytes = BASE64_STANDARD.decode(hash).ok()?;
    if algorithm == ARGON2 {
        return Password::parse(std::str::from_utf8(&bytes).ok()?).ok();
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if algorithm == SHA256 {
        return Password::parse(&hex).ok();
    }
    let (_, prefix) = ALGORITHMS.iter().find(|(name, _)| *name == algorithm)?;
    Password::parse(&format!("{prefix}{hex}")).ok()
}

pub(super) fn user_to_json(engine: &Engine, user: &User) -> Value {
    let (password_hash, hashing_algorithm) = password_of(user);
    let mut limits = Map::new();
    for ([_, of, name], value) in engine.parameters.iter().filter(|(key, _)| key[0] == "user-limits") {
        if *of == user.name {
            limits.insert(name.clone(), serde_json::from_str(value).unwrap_or(Value::Null));
        }
    }
    json!({
        "name": user.name,
        "password_hash": password_hash,
        "hashing_algorithm": hashing_algorithm,
        "tags": user.tags,
        "limits": limits,
    })
}

/// Tags in a body: a list, or words between commas.
fn tags_in(body: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let words = match body.get("tags").or_else(|| body.get("administrator").map(|_| &Value::Null)) {
        None => return Err(Refusal::bad("tags_not_present")),
        Some(Value::Null) => vec!["administrator".to_owned()],
        Some(Value::String(text)) => text.split(',').map(|tag| tag.trim().to_owned()).collect(),
        Some(Value::Array(tags)) => tags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) => return Err(Refusal::bad("tags are a list or a text")),
    };
    Ok(words.into_iter().filter(|tag| !tag.is_empty()).collect())
}

/// The password in a body; `None` leaves the one there is, an empty list is no password. It is hashed here.
fn passwords_in(body: &Map<String, Value>) -> Result<Option<Vec<Password>>, Refusal> {
    let text = |name: &str| body.get(name).filter(|value| !value.is_null());
    if let Some(password) = text("password") {
        let password = password.as_str().ok_or_else(|| Refusal::bad("password is a text"))?;
        // An empty password would let everybody in.
        let new = (!password.is_empty()).then(|| Password::new(password.as_bytes(), leveret_server::salt()));
        return Ok(Some(new.into_iter().collect()));
    }
    let Some(hash) = text("password_hash") else { return Ok(None) };
    let hash = hash.as_str().ok_or_else(|| Refusal::bad("password_hash is a text"))?;
    if hash.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let password = match text("hashing_algorithm").and_then(Value::as_str) {
        Some(algorithm) => password_from(hash, algorithm),
        // Which one it is can be told by its length.
        None => ALGORITHMS.iter().find_map(|(algorithm, _)| password_from(hash, algorithm)),
    };
    let password = password.ok_or_else(|| Refusal::bad("password_hash is no hash of this algorithm"))?;
    Ok(Some(vec![password]))
}

/// What a body says of a user.
pub(super) struct Said {
    tags: Vec<String>,
    passwords: Option<Vec<Password>>,
}

impl Said {
    pub(super) fn of(body: &Map<String, Value>) -> Result<Self, Refusal> {
        Ok(Self { tags: tags_in(body)?, passwords: passwords_in(body)? })
    }

    /// Makes or changes the user; true when it is new.
    pub(super) fn apply(self, engine: &mut Engine, name: &str) -> bool {
        let before = engine.accounts.user(name).map(|user| (**user).clone());
        let is_new = before.is_none();
        let mut user = before.unwrap_or_else(|| User { name: name.into(), ..User::default() });
        user.tags = self.tags;
        match self.passwords {
            Some(passwords) => user.passwords = passwords,
            None if is_new => {}
            // Without a password nobody logs in any more. (RabbitMQ: PUT of a user without one)
            None => user.passwords.clear(),
        }
        engine.put_user(user);
        is_new
    }
}

impl Asked {
    pub(super) fn whoami(&self) -> Result<Told, Refusal> {
        Ok(Told::json(json!({"name": self.user.name, "tags": self.user.tags, "is_internal_user": true})))
    }

    pub(super) fn users(&self, without_permissions: bool) -> Result<Told, Refusal> {
        self.administer()?;
        let engine = self.shared.engine.lock();
        let wanted = |user: &&std::sync::Arc<User>| {
            is_shown(user) && (!without_permissions || user.permissions.is_empty())
        };
        let rows = engine.accounts.users().filter(wanted).map(|user| user_to_json(&engine, user)).collect();
        drop(engine);
        self.list(rows)
    }

    pub(super) fn show_user(&self, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let engine = self.shared.engine.lock();
        let user = engine.accounts.user(name).filter(|user| is_shown(user)).ok_or_else(Refusal::not_found)?;
        Ok(self.one(user_to_json(&engine, user)))
    }

    pub(super) fn put_user(&self, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let said = Said::of(&self.object()?)?;
        Ok(Told::created(self.change(|engine| Ok(said.apply(engine, name)))?))
    }

    pub(super) fn delete_user(&self, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let was_there = self.change(|engine| Ok(delete(engine, name)))?;
        if was_there { Ok(Told::nothing()) } else { Err(Refusal::not_found()) }
    }

    pub(super) fn delete_users(&self) -> Result<Told, Refusal> {
        self.administer()?;
        let body = self.object()?;
        refusal::require(&body, &["users"])?;
        let names = body["users"].as_array().ok_or_else(|| Refusal::bad("users is a list of names"))?;
        self.change(|engine| {
            for name in names.iter().filter_map(Value::as_str) {
                delete(engine, name);
            }
            Ok(())
        })?;
        Ok(Told::nothing())
    }

    pub(super) fn hash_password(password: &str) -> Told {
        let salt = leveret_server::salt();
        let Password::RabbitSha256(bytes) =
            Password::rabbit_sha256([salt[0], salt[1], salt[2], salt[3]], password.as_bytes())
        else {
            return Told::nothing();
        };
        Told::json(json!({"ok": BASE64_STANDARD.encode(bytes)}))
    }
}

fn delete(engine: &mut Engine, name: &str) -> bool {
    let limits: Vec<_> = engine.parameters.iter().map(|(key, _)| key.clone()).collect();
    for key in limits.iter().filter(|[component, of, _]| component == "user-limits" && of == name) {
        engine.delete_parameter(key);
    }
    // Who is not logged in is this user.
    let was_there = name != leveret_engine::accounts::DEFAULT_USER && engine.delete_user(name);
    if was_there {
        engine.force_close_user(name, &format!("user '{name}' was deleted"));
    }
    was_there
}
