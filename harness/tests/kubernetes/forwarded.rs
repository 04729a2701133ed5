//! What stands behind a forwarded port: a relay that answers each line, as `hub/`'s relay does where it cannot connect.

use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::api::Body;

/// The channels of the one port that is forwarded: its bytes, and why it cannot be.
const BYTES: u8 = 0;
const ERRORS: u8 = 1;

/// Takes the connection for a forwarded port.
pub(crate) fn upgraded(request: Request<Incoming>) -> Response<Body> {
    let key = request.headers().get("sec-websocket-key").unwrap();
    let accept = derive_accept_key(key.as_bytes());
    let query = request.uri().query().unwrap_or_default();
    let port: u16 = query.trim_start_matches(|char| char != '=').trim_matches(['=', '&']).parse().unwrap();
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        relay(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await, port).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-accept", accept)
        .header("sec-websocket-protocol", "v4.channel.k8s.io")
        .body(Empty::new().boxed_unsync())
        .unwrap()
}

async fn relay<S>(mut socket: WebSocketStream<S>, port: u16)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let [low, high] = port.to_le_bytes();
    for channel in [BYTES, ERRORS] {
        if socket.send(Message::binary(vec![channel, low, high])).await.is_err() {
            return;
        }
    }
    while let Some(Ok(message)) = socket.next().await {
        let is_line = matches!(&message, Message::Binary(bytes) if bytes.starts_with(&[BYTES]) && bytes.ends_with(b"\n"));
        if is_line
            && socket.send(Message::binary([&[BYTES], b"-nowhere\n".as_slice()].concat())).await.is_err()
        {
            return;
        }
    }
}
