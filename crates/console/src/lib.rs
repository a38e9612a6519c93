//! HTTP: health, metrics and the management API. It runs on one thread of its own beside the event loops, takes the engine's lock for a
//! glance and knows no socket of the other protocols.

mod api;
mod health;
mod metrics;

use axum::Router;
use axum::routing::{any, get};
use leveret_server::Shared;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::watch;

/// A running HTTP server.
pub struct Console {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Listens on the addresses and the port of the settings; port 0 means not at all.
pub fn start(shared: Arc<Shared>) -> io::Result<Console> {
    let listeners = listen(&shared.settings.bind, shared.settings.http_port)?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    shared.set_http_port(addresses.first().map_or(0, SocketAddr::port));
    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
        let routes = routes(shared);
        runtime.block_on(async {
            let mut servers = Vec::new();
            for listener in listeners {
                servers.push(tokio::spawn(serve(listener, routes.clone(), stopped.clone())));
            }
            for server in servers {
                match server.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "HTTP stopped"),
                    Err(error) => tracing::error!(%error, "HTTP stopped"),
                }
            }
        });
    })?;
    Ok(Console { addresses, stop, thread })
}

impl Console {
    /// Answers what was asked, then ends.
    pub fn stop(self) {
        // An error means that nobody listens any more.
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the HTTP thread has panicked");
        }
    }
}

fn listen(hosts: &[String], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for host in hosts.iter().filter(|_| port != 0) {
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {host} port {port}: {error}"))
        };
        for address in (host.as_str(), port).to_socket_addrs().map_err(failed)? {
            match TcpListener::bind(address) {
                Ok(listener) => {
                    listener.set_nonblocking(true)?;
                    listeners.push(listener);
                }
                // A machine without IPv6 is no reason not to start.
                Err(error) if address.is_ipv6() && error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(listeners)
}

async fn serve(listener: TcpListener, routes: Router, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move {
        // An error means that the sender is gone: stop as well.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    serving.await
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::metrics))
        .route("/api", any(api::answer))
        .route("/api/{*path}", any(api::answer))
        .with_state(shared)
}
