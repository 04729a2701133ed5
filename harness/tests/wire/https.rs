//! HTTPS, with a root that this machine trusts because `SSL_CERT_FILE` says so.

use std::process::Command;
use std::sync::Arc;

use harness::transcript::End;
use harness::wire::{Raw, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::fake::{client, finished, target};

const FILE: &str = "HUBCHECK_TEST_CERT";

/// The client reads the variable once per process, so the conversation has a process of its own.
#[test]
fn a_root_from_ssl_cert_file_is_trusted_for_its_name_only() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(["hub.example".to_owned()]).unwrap();
    let cert = dir.path().join("cert.pem");
    std::fs::write(&cert, key.cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.der"), key.signing_key.serialize_der()).unwrap();
    std::fs::write(dir.path().join("cert.der"), key.cert.der()).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "https::conversation", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", &cert)
        .env(FILE, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by the test above, in a process with another environment"]
async fn conversation() {
    let dir = std::path::PathBuf::from(std::env::var(FILE).unwrap());
    let cert = std::fs::read(dir.join("cert.der")).unwrap();
    let key = std::fs::read(dir.join("key.der")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.into()], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.45.1.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            assert!(String::from_utf8(head).unwrap().contains("host: hub.example\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });

    let (client, recorder) = client("127.45.1.2");
    let named = |name: &str| Target {
        authority: "hub.example".to_owned(),
        tls: Some(name.to_owned()),
        ..target(addr)
    };
    let raw = || Raw {
        method: "GET".to_owned(),
        target: "/".to_owned(),
        headers: Vec::new(),
        body: bytes::Bytes::new(),
    };
    let answer = client.exchange(&named("hub.example"), raw()).await;
    assert_eq!((answer.status, answer.end), (Some(200), End::Complete));
    let answer = client.exchange(&named("other.example"), raw()).await;
    assert!(matches!(&answer.end, End::Refused { why } if why.starts_with("tls: ")), "{:?}", answer.end);
    finished(&recorder).await;
}
