//! Bytes that are passed both ways between a client and a replica.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// One end of a connection, as what can be read from it and what can be written to it.
pub(super) type Halves<R, W> = (R, W);

/// Which end of a connection broke.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    From,
    To,
}

/// Passes bytes both ways until both directions have ended or one broke; whether both ended well.
///
/// A replica that takes no more may have answered before: what it said is passed on first, as a Service does, which forwards
/// packets.
pub(super) async fn both_ways(
    (from_client, to_client): Halves<impl AsyncRead + Unpin, impl AsyncWrite + Unpin>,
    (from_replica, to_replica): Halves<impl AsyncRead + Unpin, impl AsyncWrite + Unpin>,
) -> bool {
    let asking = one_way(from_client, to_replica);
    let answering = one_way(from_replica, to_client);
    tokio::pin!(asking, answering);
    tokio::select! {
        asked = asking.as_mut() => match asked {
            Ok(()) => answering.await.is_ok(),
            Err(Broken::From) => false,
            Err(Broken::To) => {
                let _ = answering.await;
                false
            }
        },
        answered = answering.as_mut() => answered.is_ok() && asking.await.is_ok(),
    }
}

async fn one_way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Result<(), Broken> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk).await.map_err(|_| Broken::From)? {
            0 => return to.shutdown().await.map_err(|_| Broken::To),
            length => to.write_all(&chunk[..length]).await.map_err(|_| Broken::To)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::split;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (here, there) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (here.unwrap(), there.unwrap().0)
    }

    /// Found by the fuzzer: a client that was still sending saw a reset in place of the 404.
    #[tokio::test]
    async fn an_answer_that_came_before_a_reset_is_passed_on() {
        for _ in 0..20 {
            let (mut client, to_us) = connection().await;
            let (from_us, mut replica) = connection().await;
            let passing = tokio::spawn(both_ways(split(to_us), split(from_us)));
            let refusing = tokio::spawn(async move {
                replica.read_exact(&mut [0; 10]).await.unwrap();
                replica.write_all(b"404").await.unwrap();
                // What is left unread makes this a reset.
            });
            // It may take no more before all is sent.
            let _ = client.write_all(&vec![0; 8 << 20]).await;
            let mut answer = [0; 3];
            client.read_exact(&mut answer).await.expect("the answer comes first");
            assert_eq!(&answer, b"404");
            refusing.await.unwrap();
            passing.await.unwrap();
        }
    }
}
