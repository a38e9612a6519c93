//! The table of suites.

use super::crate_tests;
use super::pytest::Package;

/// One suite.
pub(super) struct Suite {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The fewest checks, tests or cases that must have run.
    pub(super) checks_min: usize,
    /// Long, or not yet steady: not part of `cargo xtask test`.
    pub(super) on_demand: bool,
}

/// How a suite is run.
pub(super) enum Kind {
    /// A program under `conformance/python`, which ends its output with "N checks passed".
    Program,
    /// Likewise, but it starts and kills the server itself.
    Killer,
    /// Likewise, and it mounts a small file system, which only root may.
    Mounter,
    /// Likewise, beside Debian's redis-server, which is not installed for it: the package starts a server of its own; and
    /// beside the newest peers if they are there.
    BesideRedis,
    /// A program under `conformance/amqp` that prints a line per case, to be compared with RabbitMQ's lines.
    Probe { reference: &'static str },
    /// The tests of a package's source distribution.
    Pytest(Package),
    /// The tests of our own Python package, `python/tests`, which start their servers themselves.
    OurPackage,
    /// The tests of a crate.
    CrateTests(crate_tests::Package),
    /// Redis' own suite, which needs a server for each unit.
    RedisTcl,
    /// hiredis on libevent, and hiredis' own tests.
    Hiredis,
    /// Debian's redis-cli and redis-benchmark.
    RedisTools,
    /// Debian's amqp-tools, which come with rabbitmq-c.
    RabbitmqTools,
}

pub(super) const SUITES: &[Suite] = &[
    Suite { name: "resp_commands", kind: Kind::Program, checks_min: 250, on_demand: false },
    Suite { name: "amqp_methods", kind: Kind::Program, checks_min: 50, on_demand: false },
    Suite { name: "serve", kind: Kind::Killer, checks_min: 280, on_demand: false },
    Suite { name: "http_api", kind: Kind::Killer, checks_min: 150, on_demand: false },
    Suite { name: "log_tools", kind: Kind::Killer, checks_min: 70, on_demand: false },
    Suite { name: "backup", kind: Kind::Killer, checks_min: 20_000, on_demand: false },
    Suite { name: "disk_trouble", kind: Kind::Mounter, checks_min: 5000, on_demand: false },
    Suite { name: "spilled_on_full_disk", kind: Kind::Mounter, checks_min: 4000, on_demand: false },
    Suite { name: "block_device", kind: Kind::Mounter, checks_min: 4000, on_demand: true },
    Suite { name: "kill_nine", kind: Kind::Killer, checks_min: 1000, on_demand: false },
    Suite { name: "chaos", kind: Kind::Killer, checks_min: 5000, on_demand: false },
    Suite { name: "paged_bodies", kind: Kind::Killer, checks_min: 700_000, on_demand: false },
    Suite { name: "idle", kind: Kind::Killer, checks_min: 40, on_demand: false },
    Suite { name: "damaged_stream", kind: Kind::Killer, checks_min: 9000, on_demand: false },
    Suite { name: "space", kind: Kind::Killer, checks_min: 6500, on_demand: false },
    Suite { name: "redis_differential", kind: Kind::BesideRedis, checks_min: 20_000, on_demand: false },
    Suite { name: "rdb_files", kind: Kind::BesideRedis, checks_min: 700, on_demand: false },
    Suite { name: "redis-tools", kind: Kind::RedisTools, checks_min: 15, on_demand: false },
    Suite {
        name: "amqp-errors",
        kind: Kind::Probe { reference: "amqp-errors-rabbitmq-4.3.6.txt" },
        checks_min: 121,
        on_demand: false,
    },
    Suite {
        name: "amqp-behaviour",
        kind: Kind::Probe { reference: "amqp-behaviour-rabbitmq-4.3.6.txt" },
        checks_min: 27,
        on_demand: false,
    },
    Suite { name: "tutorials", kind: Kind::Program, checks_min: 45, on_demand: false },
    Suite { name: "rabbitmq-c", kind: Kind::RabbitmqTools, checks_min: 19, on_demand: false },
    Suite {
        name: "http-client",
        kind: Kind::CrateTests(crate_tests::Package {
            name: "rabbitmq_http_client",
            version: "0.93.0",
            args: &["--all-features", "--test", "integration", "--", "--test-threads=1"],
            env: &[],
            user: Some(("rust3", "rust3")),
            vhosts: &["rust/http/api/client", "rust/rabbitmqadmin"],
        }),
        checks_min: 250,
        on_demand: true,
    },
    Suite {
        name: "rabbitmqadmin",
        kind: Kind::CrateTests(crate_tests::Package {
            name: "rabbitmqadmin",
            version: "2.35.0",
            args: &["--test", "integration", "--", "--test-threads=1"],
            env: &[],
            user: Some(("rust3", "rust3")),
            vhosts: &["rust/rabbitmqadmin"],
        }),
        checks_min: 280,
        on_demand: true,
    },
    Suite {
        name: "lapin",
        kind: Kind::CrateTests(crate_tests::Package {
            name: "lapin",
            version: "4.12.3",
            args: &["--tests"],
            env: &[("AMQP_ADDR", "amqp://127.0.0.1:{amqp}/%2f")],
            user: None,
            vhosts: &[],
        }),
        checks_min: 34,
        on_demand: true,
    },
    Suite {
        name: "amqprs",
        kind: Kind::CrateTests(crate_tests::Package {
            name: "amqprs",
            version: "2.1.5",
            args: &["--tests", "--", "--test-threads=1"],
            env: &[],
            user: Some(("user", "bitnami")),
            vhosts: &[],
        }),
        checks_min: 50,
        on_demand: true,
    },
    Suite {
        name: "py-amqp",
        kind: Kind::Pytest(Package {
            requirement: "amqp==5.4.2",
            args: &["t/integration", "-k", "not default_certs and not tls"],
            env: &[("RABBITMQ_HOST", "127.0.0.1"), ("RABBITMQ_5672_TCP", "{amqp}")],
            gevent: false,
            wants_more: false,
        }),
        checks_min: 48,
        on_demand: false,
    },
    Suite {
        name: "kombu",
        kind: Kind::Pytest(Package {
            requirement: "kombu==5.7.0",
            args: &[
                "t/integration/test_py_amqp.py",
                "t/integration/test_redis.py",
                "t/integration/test_redis_brpop_qos.py",
            ],
            env: &[
                ("RABBITMQ_HOST", "127.0.0.1"),
                ("RABBITMQ_5672_TCP", "{amqp}"),
                ("REDIS_HOST", "127.0.0.1"),
                ("REDIS_6379_TCP", "{resp}"),
            ],
            gevent: false,
            wants_more: false,
        }),
        checks_min: 180,
        on_demand: true,
    },
    Suite {
        name: "aiormq",
        kind: Kind::Pytest(Package {
            requirement: "aiormq==7.2.4",
            args: &["tests", "-p", "containers", "-k", NOT_AIORMQ],
            env: &[],
            gevent: false,
            wants_more: false,
        }),
        checks_min: 540,
        on_demand: true,
    },
    Suite {
        name: "aio-pika",
        kind: Kind::Pytest(Package {
            requirement: "aio-pika==10.2.1",
            args: &["tests", "-p", "containers", "-o", "log_cli=false", "-k", NOT_AIO_PIKA],
            env: &[],
            gevent: false,
            wants_more: false,
        }),
        checks_min: 945,
        on_demand: true,
    },
    Suite {
        name: "celery",
        kind: Kind::Pytest(Package {
            requirement: "celery==5.7.0",
            args: &[
                "t/integration",
                "--ignore",
                "t/integration/test_backend.py",
                "-p",
                "celery.contrib.pytest",
            ],
            env: &[
                ("TEST_BROKER", "pyamqp://guest:guest@127.0.0.1:{amqp}//"),
                // Some tests read what the worker logs.
                ("WORKER_LOGLEVEL", "INFO"),
                ("TEST_BACKEND", "redis://127.0.0.1:{resp}/0"),
                ("REDIS_HOST", "127.0.0.1"),
                ("REDIS_PORT", "{resp}"),
            ],
            gevent: false,
            wants_more: true,
        }),
        checks_min: 390,
        on_demand: true,
    },
    Suite {
        name: "redis-py",
        kind: Kind::Pytest(redis_py(REDIS_PY, false)),
        checks_min: 1900,
        on_demand: true,
    },
    Suite {
        name: "redis-py-resp2",
        kind: Kind::Pytest(redis_py(REDIS_PY_RESP2, false)),
        checks_min: 1480,
        on_demand: true,
    },
    Suite {
        name: "redis-py-gevent",
        kind: Kind::Pytest(redis_py(REDIS_PY_SYNC, true)),
        checks_min: 630,
        on_demand: true,
    },
    Suite { name: "redis-tcl", kind: Kind::RedisTcl, checks_min: 1300, on_demand: true },
    Suite { name: "hiredis", kind: Kind::Hiredis, checks_min: 400_000, on_demand: false },
    Suite { name: "python", kind: Kind::OurPackage, checks_min: 70, on_demand: false },
    Suite { name: "celery_app", kind: Kind::Killer, checks_min: 2100, on_demand: false },
];

/// Left out: TLS, which the server does not have yet, and what fails now and then against RabbitMQ too, because the client
/// itself runs a race.
const NOT_AIORMQ: &str = "not amqps and not ssl and not test_closing_waiter_cancellation \
     and not test_connection_close_during_publish_drain";

/// Likewise.
const NOT_AIO_PIKA: &str =
    "not amqps and not test_leak_unclosed_channel and not test_create_channels_during_reconnect";

/// The tests of redis-py, the client that is in the virtual environment.
const fn redis_py(args: &'static [&'static str], gevent: bool) -> Package {
    Package { requirement: "redis==8.1.0", args, env: REDIS_PY_OPTIONS, gevent, wants_more: false }
}

const REDIS_PY_OPTIONS: &[(&str, &str)] = &[(
    "PYTEST_ADDOPTS",
    "--redis-url=redis://127.0.0.1:{resp}/0 --timeout=30 -p no:aiomisc -m 'not onlycluster'",
)];

/// Sync and asyncio, in the client's own choice of protocol.
const REDIS_PY: &[&str] = &[
    "tests/test_commands.py",
    "tests/test_connection.py",
    "tests/test_connection_pool.py",
    "tests/test_encoding.py",
    "tests/test_lock.py",
    "tests/test_monitor.py",
    "tests/test_pipeline.py",
    "tests/test_pubsub.py",
    "tests/test_keyspace_notifications.py",
    "tests/test_asyncio/test_commands.py",
    "tests/test_asyncio/test_connection.py",
    "tests/test_asyncio/test_connection_pool.py",
    "tests/test_asyncio/test_encoding.py",
    "tests/test_asyncio/test_lock.py",
    "tests/test_asyncio/test_monitor.py",
    "tests/test_asyncio/test_pipeline.py",
    "tests/test_asyncio/test_pubsub.py",
];

/// Those that ask the server something, in RESP2.
const REDIS_PY_RESP2: &[&str] = &[
    "--protocol=2",
    "tests/test_commands.py",
    "tests/test_encoding.py",
    "tests/test_pipeline.py",
    "tests/test_pubsub.py",
    "tests/test_asyncio/test_commands.py",
    "tests/test_asyncio/test_encoding.py",
    "tests/test_asyncio/test_pipeline.py",
    "tests/test_asyncio/test_pubsub.py",
];

/// Without asyncio, which gevent does not take part in.
const REDIS_PY_SYNC: &[&str] = &[
    "tests/test_commands.py",
    "tests/test_encoding.py",
    "tests/test_lock.py",
    "tests/test_pipeline.py",
    "tests/test_pubsub.py",
];
