//! TLS for hubs behind `https://`: rustls with ring, trusting what this machine trusts.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the machine's roots, as they do for OpenSSL.

use std::io;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why there is no TLS on a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// This machine, not the hub, is to blame.
    #[error("cannot prepare tls: {0}")]
    Setup(String),
    /// The handshake failed.
    #[error("tls: {0}")]
    Handshake(#[from] io::Error),
}

/// Shakes hands over a connection; `name` is the name that the certificate must have.
pub(super) async fn wrap(stream: TcpStream, name: &str) -> Result<TlsStream<TcpStream>, TlsError> {
    let config = config().map_err(TlsError::Setup)?;
    let name = ServerName::try_from(name.to_owned()).map_err(|error| TlsError::Setup(error.to_string()))?;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

/// Read once: the roots of a machine do not change during a run.
fn config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG.get_or_init(load).clone()
}

fn load() -> Result<Arc<ClientConfig>, String> {
    let native = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        let errors: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
        return Err(format!("no trusted root certificates found {}", errors.join(", ")));
    }
    // Set explicitly: other crates of the process may enable a second provider, and then there is no default.
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
