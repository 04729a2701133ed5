//! A hub that is already running, by its URL.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::{Position, Url};

use super::RigError;
use crate::cluster::backend::Address;
use crate::plan::Transport;
use crate::transcript::Secret;
use crate::transcript::secret::decoded;

/// A URL as users copy it: where the hub is, and maybe the path of one transport, a query and who asks.
#[derive(Clone, Debug)]
pub struct RunningHub {
    url: Url,
}

// === impl RunningHub ===

impl RunningHub {
    /// Takes the URL apart.
    ///
    /// # Errors
    ///
    /// [`RigError::Url`] for what is no URL of a server.
    pub fn parse(given: &str) -> Result<Self, RigError> {
        let wrong = |why: String| RigError::Url { url: without_secrets(given), why };
        if !given.contains("://") {
            return Err(wrong("it has no scheme".to_owned()));
        }
        let url = Url::parse(given).map_err(|error| wrong(error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(Self { url }),
            other => Err(wrong(format!("scheme `{other}` is neither http nor https"))),
        }
    }

    /// Where it is, without path, query and user.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Path and query, if there is more than `/`, and the transport that the path is of.
    pub fn path(&self) -> Option<(Transport, String)> {
        let path = self.url.path();
        if path == "/" && self.url.query().is_none() {
            return None;
        }
        let is_sse = path.trim_end_matches('/').ends_with("/sse");
        let transport = if is_sse { Transport::Sse } else { Transport::Streamable };
        Some((transport, self.url[Position::BeforePath..Position::AfterQuery].to_owned()))
    }

    /// The header that says who asks, when the URL has a user.
    pub fn authorization(&self) -> Option<(String, String)> {
        let (user, password) = (self.url.username(), self.url.password());
        if user.is_empty() && password.is_none() {
            return None;
        }
        let said = format!("{}:{}", decoded(user), decoded(password.unwrap_or_default()));
        Some(("Authorization".to_owned(), format!("Basic {}", STANDARD.encode(said))))
    }

    /// What its user authenticates with; its query is part of a path.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        Secret::of_userinfo(&self.url, "url")
    }

    /// Its address: of several the first one that accepts a connection within the limit.
    pub(super) fn address(&self, limit: Duration) -> Result<Address, RigError> {
        let wrong = |why: String| RigError::Url { url: self.origin(), why };
        let host = self.url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = self.url.port_or_known_default().unwrap_or_default();
        let unknown = |error: std::io::Error| RigError::UnknownHost {
            url: self.origin(),
            host: host.clone(),
            why: error.to_string(),
        };
        let found = (host.as_str(), port).to_socket_addrs().map_err(unknown)?;
        let found: Vec<SocketAddr> = found.collect();
        let addr = match found.as_slice() {
            [] => return Err(wrong("the name has no address".to_owned())),
            [only] => *only,
            // A hub that listens on 127.0.0.1 alone is not at `::1`, which `localhost` may name first.
            [first, ..] => accepting(&found, limit).unwrap_or(*first),
        };
        let authority = self.url[Position::BeforeHost..Position::AfterPort].to_owned();
        let tls = (self.url.scheme() == "https").then_some(host);
        Ok(Address { addr, authority, tls })
    }
}

// === helpers ===

fn accepting(addrs: &[SocketAddr], limit: Duration) -> Option<SocketAddr> {
    addrs.iter().copied().find(|addr| TcpStream::connect_timeout(addr, limit).is_ok())
}

/// As much of what was given as can be shown when it cannot be taken apart.
fn without_secrets(given: &str) -> String {
    let shown = given.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = shown.split_once("://").unwrap_or(("", shown));
    let slash = rest.find('/').unwrap_or(rest.len());
    let host = rest[..slash].rfind('@').map_or(0, |at| at + 1);
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    format!("{scheme}{}", &rest[host..])
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn hub(url: &str) -> RunningHub {
        RunningHub::parse(url).expect("a URL")
    }

    #[test]
    fn the_path_alone_decides_the_transport() {
        let path = |url: &str| hub(url).path();
        assert_eq!(path("http://h:8000"), None);
        assert_eq!(path("http://h:8000/"), None);
        assert_eq!(path("https://h/sse?token=S"), Some((Transport::Sse, "/sse?token=S".to_owned())));
        assert_eq!(path("https://h/a/sse/"), Some((Transport::Sse, "/a/sse/".to_owned())));
        assert_eq!(path("https://h/mcp?to=/sse"), Some((Transport::Streamable, "/mcp?to=/sse".to_owned())));
        assert_eq!(path("https://h/?token=S"), Some((Transport::Streamable, "/?token=S".to_owned())));
    }

    #[test]
    fn a_user_becomes_a_header_and_is_not_part_of_the_name() {
        let hub = hub("https://me:p%40ss@h:8443/mcp?token=S");
        assert_eq!(hub.origin(), "https://h:8443");
        let header = ("Authorization".to_owned(), "Basic bWU6cEBzcw==".to_owned());
        assert_eq!(hub.authorization(), Some(header));
        assert_eq!(self::hub("https://h/mcp").authorization(), None);
    }

    #[test]
    fn what_is_no_url_is_told_without_its_secrets() {
        let told = |given: &str| RunningHub::parse(given).expect_err("no URL of a server").to_string();
        assert_eq!(told("h:8000/mcp?token=S"), "`--url h:8000/mcp`: it has no scheme");
        assert_eq!(told("ftp://me:hush@h/x"), "`--url ftp://h/x`: scheme `ftp` is neither http nor https");
        assert_eq!(told("http://me:hush@h:x/mcp"), "`--url http://h:x/mcp`: invalid port number");
    }

    #[test]
    fn an_address_that_refuses_gives_way_to_one_that_accepts() {
        let listening = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let there = listening.local_addr().expect("it has an address");
        let gone = TcpListener::bind("127.0.0.2:0").and_then(|gone| gone.local_addr()).expect("some port");
        let limit = Duration::from_secs(2);
        assert_eq!(accepting(&[gone, there], limit), Some(there));
        assert_eq!(accepting(&[gone], limit), None);
    }

    #[test]
    fn an_address_keeps_the_name_that_clients_use() {
        let address = hub("https://[::1]/mcp").address(Duration::ZERO).expect("an address");
        let expected = ("[::1]", Some("::1".to_owned()), 443);
        assert_eq!((address.authority.as_str(), address.tls, address.addr.port()), expected);
    }
}
