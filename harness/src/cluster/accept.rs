//! The one way in which listeners of ours take connections.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep_until;

/// How many connections wait until they are accepted.
const BACKLOG: u32 = 1024;

/// The pause after a connection that could not be accepted.
const AGAIN: Duration = Duration::from_millis(10);

/// The next connection. One that cannot be accepted is waited for a little: when no file descriptor is left, only what
/// ends meanwhile gives one back, and asking again at once would keep a core busy.
pub(super) async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    first_ok(|| listener.accept()).await
}

/// A listener at an address that may have been used a moment ago.
pub(super) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// The next connection of a listener that may not be there: then none comes.
pub(super) async fn next_if_any(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    match listener {
        Some(listener) => next(listener).await,
        None => std::future::pending().await,
    }
}

async fn first_ok<T, F: Future<Output = io::Result<T>>>(accept: impl Fn() -> F) -> T {
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) => tracing::debug!("accepting a connection: {error}"),
        }
        sleep_until((Instant::now() + AGAIN).into()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_cannot_be_accepted_is_asked_for_again_after_a_pause() {
        let left = Cell::new(3_u32);
        let began = Instant::now();
        let accepted = first_ok(|| {
            std::future::ready(match left.get() {
                0 => Ok("a connection"),
                more => {
                    left.set(more - 1);
                    Err(io::Error::other("too many open files"))
                }
            })
        });
        assert_eq!(accepted.await, "a connection");
        assert!(began.elapsed() >= 3 * AGAIN, "{:?}", began.elapsed());
    }
}
