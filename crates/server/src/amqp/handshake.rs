//! From the protocol header to `connection.open-ok`: who the client is and what both sides can. (AMQP 0-9-1 1.4.2)

use crate::amqp::session::{AmqpSession, Failure};
use crate::output::Output;
use leveret_amqp::{
    ConnectionOpenOk, ConnectionStart, ConnectionTune, Method, PROTOCOL_HEADER, ProtocolHeader, ReplyCode,
    Table, TableBuf, Value,
};
use leveret_engine::accounts::{Errand, Finding, Login};
use leveret_engine::broker::VhostId;
use leveret_engine::{Engine, Link, USER_LIMITS, VHOST_LIMITS};

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has come.
    Header,
    /// `connection.start` was sent.
    Start,
    /// The password is being compared.
    Checking,
    /// `connection.tune` was sent.
    Tune,
    /// `connection.open` must come.
    Open,
    /// Open.
    Running,
    /// `connection.close` was sent.
    Closing,
    /// Nothing more comes.
    Over,
}

/// The RabbitMQ version whose behaviour clients may expect.
const RABBITMQ_VERSION: &str = "4.3.6";

const CAPABILITIES: &[&str] = &[
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "consumer_priorities",
    "direct_reply_to",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "publisher_confirms",
];

fn server_properties() -> TableBuf {
    let mut capabilities = TableBuf::new();
    for name in CAPABILITIES {
        capabilities.push(name.as_bytes(), Value::Bool(true));
    }
    let mut properties = TableBuf::new();
    properties.push(b"capabilities", Value::Table(capabilities.as_table()));
    for (name, value) in [
        ("cluster_name", "rabbit@localhost"),
        ("platform", "Leveret"),
        ("product", "RabbitMQ"),
        ("version", RABBITMQ_VERSION),
        ("information", concat!("Leveret ", env!("CARGO_PKG_VERSION"), ", compatible with RabbitMQ")),
    ] {
        properties.push(name.as_bytes(), Value::LongStr(value.as_bytes()));
    }
    properties
}

impl AmqpSession {
    /// Answers the protocol header; gives the bytes it took.
    pub(crate) fn protocol_header(&mut self, input: &[u8], out: &mut Output) -> usize {
        match leveret_amqp::parse_protocol_header(input) {
            None => 0,
            Some(ProtocolHeader::Amqp091) => {
                let properties = server_properties();
                let start = ConnectionStart {
                    version_major: 0,
                    version_minor: 9,
                    server_properties: properties.as_table(),
                    mechanisms: b"PLAIN AMQPLAIN ANONYMOUS",
                    locales: b"en_US",
                };
                Method::ConnectionStart(start).encode(0, &mut out.bytes);
                self.phase = Phase::Start;
                8
            }
            Some(ProtocolHeader::Amqp10(_) | ProtocolHeader::Other(_)) => {
                out.bytes.extend_from_slice(&PROTOCOL_HEADER);
                self.phase = Phase::Over;
                8
            }
        }
    }

    pub(crate) fn shake_hands(
        &mut self,
        engine: &mut Engine,
        method: &Method<'_>,
        out: &mut Output,
    ) -> Result<(), Failure> {
        match (self.phase, method) {
            (Phase::Start, Method::ConnectionStartOk(start)) => {
                let capabilities =
                    start.client_properties.find(b"capabilities").and_then(|value| value.as_table());
                let has = |name: &[u8]| {
                    capabilities.and_then(|table| table.find(name)).and_then(|value| value.as_bool())
                        == Some(true)
                };
                self.wants_blocked = has(b"connection.blocked");
                self.hears_cancel = has(b"consumer_cancel_notify");
                self.link.client_properties = start.client_properties.raw().into();
                match self.authenticate(engine, start.mechanism, start.response)? {
                    true => self.tune(out),
                    false => self.phase = Phase::Checking,
                }
                Ok(())
            }
            (Phase::Tune, Method::ConnectionTuneOk(tune)) => {
                let (ours, theirs) = (self.frame_max, tune.frame_max);
                if theirs != 0 && (theirs < leveret_amqp::FRAME_MIN_SIZE || theirs > ours) {
                    let text = match theirs > ours {
                        true => {
                            format!("frame_max = {theirs} is higher than the maximum allowed value ({ours})")
                        }
                        false => format!(
                            "frame_max = {theirs} is lower than the minimum allowed value ({})",
                            leveret_amqp::FRAME_MIN_SIZE
                        ),
                    };
                    return Err(Failure::connection(ReplyCode::NotAllowed, format!("negotiated {text}")));
                }
                if tune.channel_max > self.channel_max {
                    let text = format!(
                        "negotiated channel_max = {} is higher than the maximum allowed value ({})",
                        tune.channel_max, self.channel_max
                    );
                    return Err(Failure::connection(ReplyCode::NotAllowed, text));
                }
                if theirs != 0 {
                    self.frame_max = theirs;
                }
                if tune.channel_max != 0 {
                    self.channel_max = tune.channel_max;
                }
                self.heartbeat = tune.heartbeat;
                self.phase = Phase::Open;
                Ok(())
            }
            (Phase::Open, Method::ConnectionOpen(open)) => {
                let name = open.virtual_host;
                let Some(vhost) = engine.broker.vhost(name) else {
                    let text = format!("vhost {} not found", String::from_utf8_lossy(name));
                    return Err(Failure::connection(ReplyCode::NotAllowed, text));
                };
                if !self.take_rights(engine, vhost) {
                    let (name, user) = (String::from_utf8_lossy(name), &self.user);
                    let text = format!("access to vhost '{name}' refused for user '{user}'");
                    return Err(Failure::connection(ReplyCode::NotAllowed, text));
                }
                self.check_limits(engine, vhost)?;
                self.vhost = Some(vhost);
                self.open_link(engine, vhost);
                Method::ConnectionOpenOk(ConnectionOpenOk { known_hosts: b"" }).encode(0, &mut out.bytes);
                self.phase = Phase::Running;
                Ok(())
            }
            (_, Method::ConnectionClose(_)) => {
                Method::ConnectionCloseOk(leveret_amqp::ConnectionCloseOk {}).encode(0, &mut out.bytes);
                self.phase = Phase::Over;
                Ok(())
            }
            (_, other) => Err(Failure::connection(
                ReplyCode::CommandInvalid,
                format!("{} does not belong here", other.name()),
            )),
        }
    }

    /// PLAIN and AMQPLAIN; ANONYMOUS is guest. False when the password has to be compared first.
    fn authenticate(
        &mut self,
        engine: &mut Engine,
        mechanism: &[u8],
        response: &[u8],
    ) -> Result<bool, Failure> {
        let credentials = match mechanism {
            b"PLAIN" => {
                let mut parts = response.split(|&b| b == 0).skip(1);
                parts.next().zip(parts.next())
            }
            b"AMQPLAIN" => Table::parse(response).ok().and_then(|table| {
                Some((table.find(b"LOGIN")?.as_longstr()?, table.find(b"PASSWORD")?.as_longstr()?))
            }),
            // RabbitMQ: anonymous_login_user
            b"ANONYMOUS" => Some((&b"guest"[..], &b"guest"[..])),
            other => {
                let text = format!("unknown authentication mechanism '{}'", String::from_utf8_lossy(other));
                return Err(Failure::connection(ReplyCode::CommandInvalid, text));
            }
        };
        self.link.auth_mechanism = String::from_utf8_lossy(mechanism).into_owned();
        let Some((name, password)) = credentials else { return Err(self.login_refused()) };
        self.user = String::from_utf8_lossy(name).into_owned();
        if !self.loopback && engine.accounts.is_local_only(&self.user) {
            return Err(self.login_refused());
        }
        match engine.accounts.login(name, password) {
            Login::Granted(_) => Ok(true),
            Login::Refused => Err(self.login_refused()),
            Login::Slow(check) => {
                engine.ask(self.id, Errand::Check(check));
                Ok(false)
            }
        }
    }

    fn login_refused(&self) -> Failure {
        let (user, mechanism) = (&self.user, &self.link.auth_mechanism);
        tracing::warn!(%user, loopback = self.loopback, "an AMQP login was refused");
        let text = format!(
            "Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
        );
        Failure::connection(ReplyCode::AccessRefused, text)
    }

    /// The password has been compared, or not yet: then false.
    pub(crate) fn go_on(&mut self, engine: &mut Engine, out: &mut Output) -> bool {
        match self.finding.take() {
            None => return false,
            Some(Finding::Login(Some(_))) => self.tune(out),
            Some(Finding::Login(None) | Finding::Kept(_)) => {
                let refused = self.login_refused();
                self.fail(engine, 0, refused, 10, 11, out);
            }
        }
        true
    }

    /// (RabbitMQ: limits of vhosts and users)
    fn check_limits(&self, engine: &Engine, vhost: VhostId) -> Result<(), Failure> {
        let (name, user) = (String::from_utf8_lossy(engine.broker.vhost_name(vhost)), &self.user);
        let of_vhost = engine.parameters.limit(VHOST_LIMITS, &name, "max-connections");
        let of_user = engine.parameters.limit(USER_LIMITS, user, "max-connections");
        let text = match (of_vhost, of_user) {
            (Some(max), _) if engine.links_count(Some(vhost), None) >= max => {
                format!(
                    "access to vhost '{name}' refused for user '{user}': connection limit ({max}) is reached"
                )
            }
            (_, Some(max)) if engine.links_count(None, Some(user)) >= max => {
                format!("connection refused for user '{user}': user connection limit ({max}) is reached")
            }
            _ => return Ok(()),
        };
        Err(Failure::connection(ReplyCode::NotAllowed, text))
    }

    fn open_link(&mut self, engine: &mut Engine, vhost: VhostId) {
        let link = Link {
            user: self.user.clone(),
            vhost: Some(vhost),
            frame_max: self.frame_max,
            channel_max: self.channel_max,
            heartbeat: self.heartbeat,
            ..std::mem::take(&mut self.link)
        };
        if let Some(session) = engine.session(self.id) {
            session.link = Some(Box::new(link));
        }
    }

    fn tune(&mut self, out: &mut Output) {
        let tune = ConnectionTune { channel_max: self.channel_max, frame_max: self.frame_max, heartbeat: 60 };
        Method::ConnectionTune(tune).encode(0, &mut out.bytes);
        self.phase = Phase::Tune;
    }
}
