//! How the first request of a connection spells its header names, for `knows-lower-case-only`: hyper does not tell.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How much of a request is looked at.
const LOOKED_AT: usize = 16 * 1024;

/// The headers that the defect looks up in lower case only.
const LOOKED_UP: &[&str] =
    &["accept", "content-type", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"];

/// Names that a connection's first request has, and not in lower case.
#[derive(Clone, Debug, Default)]
pub struct Misspelled(Vec<HeaderName>);

impl Misspelled {
    /// Looks at the head of the first request, which stays unread.
    pub async fn look(stream: &TcpStream, limit: Duration) -> Self {
        let mut start = vec![0; LOOKED_AT];
        let whole = async {
            loop {
                match stream.peek(&mut start).await {
                    Ok(read @ 1..) if read < LOOKED_AT && !has_end(&start[..read]) => {
                        tokio::task::yield_now().await;
                    }
                    Ok(read) => return read,
                    Err(_) => return 0,
                }
            }
        };
        let read = timeout(limit, whole).await.unwrap_or_default();
        Self::of(&String::from_utf8_lossy(&start[..read]))
    }

    fn of(start: &str) -> Self {
        let names = start.lines().skip(1).map_while(|line| line.split_once(':')).map(|(name, _)| name);
        let is_missed = |name: &&str| {
            let lower = name.to_ascii_lowercase();
            lower != *name && LOOKED_UP.contains(&lower.as_str())
        };
        Self(names.filter(is_missed).filter_map(|name| name.parse().ok()).collect())
    }

    /// Takes them out of a request.
    pub fn take_from(&self, headers: &mut HeaderMap) {
        for name in &self.0 {
            headers.remove(name);
        }
    }
}

fn has_end(start: &[u8]) -> bool {
    start.windows(4).any(|end| end == b"\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_until_the_head_ends() {
        let start =
            "POST /mcp HTTP/1.1\r\nHost: h\r\nMcp-Session-Id: 1\r\naccept: a\r\n\r\nContent-Type: x\r\n";
        assert_eq!(Misspelled::of(start).0, ["mcp-session-id"]);
        assert!(Misspelled::of(&start.to_ascii_lowercase()).0.is_empty());
    }
}
