//! A hub that is already running, by its URL.

use std::net::ToSocketAddrs;

use super::RigError;
use crate::cluster::backend::Address;

/// The address that a URL without a path names.
pub(super) fn address(url: &str) -> Result<Address, RigError> {
    let wrong = |why: String| RigError::Url { url: url.to_owned(), why };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme".to_owned()))?;
    let (tls, port) = match scheme {
        "http" => (false, 80),
        "https" => (true, 443),
        other => return Err(wrong(format!("scheme `{other}` is neither http nor https"))),
    };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    if !path.is_empty() {
        return Err(wrong(format!(
            "it has a path; give `--sse-path /{path}` or `--mcp-path /{path}` instead"
        )));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let dialled = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let mut found = dialled.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    let addr = found.next().ok_or_else(|| wrong("the name has no address".to_owned()))?;
    let host = dialled.rsplit_once(':').map_or(dialled.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Address { addr, authority: authority.to_owned(), tls: tls.then_some(host) })
}
