//! Names of companions in a hub's environment, replaced by where they are. Pure.

use std::net::SocketAddr;

use crate::cluster::links;
use crate::cluster::manifest::ServicePorts;

/// Words in the name of a variable whose whole value is a host.
const HOST_WORDS: [&str; 6] = ["HOST", "ADDR", "SERVER", "ENDPOINT", "NODE", "URL"];

/// What stands before a host in a connection string.
const HOST_KEYS: [&str; 4] = ["host=", "server=", "hostaddr=", "data source="];

/// A companion and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The names of its Services, or its own.
    pub(crate) names: Vec<String>,
    /// Its Services, where the manifests have any.
    pub(crate) services: Vec<ServicePorts>,
    /// Where it is reached by a hub that names no port.
    pub(crate) at: SocketAddr,
    /// The ports of its Service that lead to it at this address.
    pub(crate) ports: Vec<u16>,
}

/// Every companion of a cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resolver {
    entries: Vec<Entry>,
    namespace: String,
}

/// A name found in a text: where it ends, and the port behind it.
struct Found {
    end: usize,
    port: Option<(u16, usize)>,
    /// Whether it is written with its namespace and `svc`.
    is_full: bool,
}

// === impl Resolver ===

impl Resolver {
    pub(crate) fn new(entries: Vec<Entry>, namespace: String) -> Self {
        Self { entries, namespace }
    }

    /// The variables by which Kubernetes tells a container of these Services.
    pub(crate) fn links(&self) -> Vec<(String, String)> {
        let mut links = Vec::new();
        for entry in &self.entries {
            for service in entry.services.iter().filter(|service| service.has_address) {
                links::add(&mut links, &service.name, &service.ports, entry.at);
            }
        }
        links
    }

    /// The environment with the names of companions replaced.
    pub(crate) fn environment(&self, env: Vec<(String, String)>) -> Vec<(String, String)> {
        if self.entries.is_empty() {
            return env;
        }
        let mut ports = Vec::new();
        let mut made: Vec<(String, String)> = env
            .into_iter()
            .map(|(name, value)| {
                if let Some(entry) = self.whole(&name, &value) {
                    let port = name.to_ascii_uppercase().replace("HOST", "PORT");
                    ports.push((port, entry.clone()));
                    return (name, entry.at.ip().to_string());
                }
                let value = self.text(&value);
                (name, value)
            })
            .collect();
        // A port that is not served beside the host is the companion's own.
        for (name, value) in &mut made {
            let of = ports.iter().find(|(port, _)| *port == name.to_ascii_uppercase());
            if let Some((_, entry)) = of
                && value.parse().is_ok_and(|port: u16| !entry.ports.contains(&port))
            {
                *value = entry.at.port().to_string();
            }
        }
        made
    }

    /// The companion that a variable names as its whole value.
    fn whole(&self, name: &str, value: &str) -> Option<&Entry> {
        let name = name.to_ascii_uppercase();
        if !HOST_WORDS.iter().any(|word| name.contains(word)) {
            return None;
        }
        let names = |entry: &&Entry| {
            entry.names.iter().any(|known| {
                self.found(value.trim(), 0, known)
                    .is_some_and(|found| found.end == value.trim().len() && found.port.is_none())
            })
        };
        self.entries.iter().find(names)
    }

    /// The text with every host that is a companion replaced.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for entry in &self.entries {
            for name in &entry.names {
                text = self.replaced(&text, name, entry);
            }
        }
        text
    }

    fn replaced(&self, text: &str, name: &str, entry: &Entry) -> String {
        let mut made = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(next) = text[at..].find(name).map(|next| at + next) {
            made.push_str(&text[at..next]);
            let before = &text[..next];
            let found = self.found(text, next, name).filter(|found| is_host(before, found));
            let Some(found) = found else {
                made.push_str(name);
                at = next + name.len();
                continue;
            };
            made.push_str(&entry.at.ip().to_string());
            let is_in_url = before.ends_with("//") || before.ends_with('@');
            at = match found.port {
                Some((port, end)) => {
                    let port = if entry.ports.contains(&port) { port } else { entry.at.port() };
                    made.push_str(&format!(":{port}"));
                    end
                }
                None => {
                    if is_in_url && entry.ports.is_empty() {
                        made.push_str(&format!(":{}", entry.at.port()));
                    }
                    found.end
                }
            };
        }
        made + &text[at..]
    }

    /// The name at this place, as a whole host.
    fn found(&self, text: &str, at: usize, name: &str) -> Option<Found> {
        let rest = text[at..].strip_prefix(name)?;
        let last = text[..at].chars().last();
        if last.is_some_and(|last| is_of_name(last) || last == '.') {
            return None;
        }
        let (suffix, rest) = self.suffix(rest);
        if rest.starts_with(|next: char| is_of_name(next) || next == '.') {
            return None;
        }
        let end = text.len() - rest.len();
        let digits = rest
            .strip_prefix(':')
            .map(|rest| rest.split(|next: char| !next.is_ascii_digit()).next().unwrap_or_default());
        let port = digits.and_then(|digits| Some((digits.parse().ok()?, end + 1 + digits.len())));
        Some(Found { end, port, is_full: suffix.contains(".svc") })
    }

    /// Parts a namespace, and what may follow it in the name of a Service, from what comes after.
    fn suffix<'t>(&self, text: &'t str) -> (&'t str, &'t str) {
        let Some(after_dot) = text.strip_prefix('.') else { return ("", text) };
        let namespace = after_dot.split(|next: char| !is_of_name(next)).next().unwrap_or_default();
        let rest = &after_dot[namespace.len()..];
        let rest = match rest.strip_prefix(".svc") {
            Some(rest) => rest.strip_prefix(".cluster.local").unwrap_or(rest),
            None if namespace == self.namespace => rest,
            None => return ("", text),
        };
        text.split_at(text.len() - rest.len())
    }
}

// === helpers ===

/// The ports with which a name stands in these texts.
pub(super) fn ports_named(name: &str, texts: impl Iterator<Item = String>) -> Vec<u16> {
    let resolver = Resolver::default();
    let mut ports = Vec::new();
    for text in texts {
        let mut at = 0;
        while let Some(next) = text[at..].find(name).map(|next| at + next) {
            let found = resolver.found(&text, next, name).filter(|found| is_host(&text[..next], found));
            if let Some((port, _)) = found.and_then(|found| found.port)
                && !ports.contains(&port)
            {
                ports.push(port);
            }
            at = next + name.len();
        }
    }
    ports
}

/// Whether what stands around a name says that it is a host: `redis` alone may be the name of anything.
fn is_host(before: &str, found: &Found) -> bool {
    let is_in_path = before.ends_with('/') && !before.ends_with("//");
    let lower = before.to_ascii_lowercase();
    let is_keyed = HOST_KEYS.iter().any(|key| lower.ends_with(key));
    !is_in_path
        && (found.port.is_some()
            || found.is_full
            || before.ends_with("//")
            || before.ends_with('@')
            || is_keyed)
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || ['-', '_'].contains(&character)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServicePort;

    use super::*;

    /// A cache behind a Service, as the manifests have it.
    fn cache(ports: &[u16]) -> Resolver {
        let port = ServicePort { port: 6379, ..ServicePort::default() };
        let service = ServicePorts { name: "redis".to_owned(), ports: vec![port], has_address: true };
        let own = ports.first().copied().unwrap_or(10_250);
        let at = SocketAddr::from(([127, 9, 0, 3], own));
        let entry =
            Entry { names: vec!["redis".to_owned()], services: vec![service], at, ports: ports.to_vec() };
        Resolver::new(vec![entry], "tools".to_owned())
    }

    #[test]
    fn hosts_are_replaced_and_other_words_are_not() {
        let resolver = cache(&[6379]);
        for (text, expected) in [
            ("redis:6379", "127.9.0.3:6379"),
            ("redis://redis:6379/0", "redis://127.9.0.3:6379/0"),
            ("redis://:pw@redis/0", "redis://:pw@127.9.0.3/0"),
            ("redis.tools.svc.cluster.local:6379", "127.9.0.3:6379"),
            ("redis.tools.svc", "127.9.0.3"),
            ("redis.tools:6379,redis:6379", "127.9.0.3:6379,127.9.0.3:6379"),
            ("host=redis port=6379", "host=127.9.0.3 port=6379"),
            ("redis", "redis"),
            ("/opt/redis:/usr/bin", "/opt/redis:/usr/bin"),
            (
                "my-redis:6379 redis-2:6379 redis.example.com:6379",
                "my-redis:6379 redis-2:6379 redis.example.com:6379",
            ),
        ] {
            assert_eq!(resolver.text(text), expected, "{text}");
        }
    }

    #[test]
    fn a_port_that_cannot_be_served_is_the_companions_own() {
        let resolver = cache(&[]);
        for (text, expected) in
            [("redis:6379", "127.9.0.3:10250"), ("redis://redis/0", "redis://127.9.0.3:10250/0")]
        {
            assert_eq!(resolver.text(text), expected);
        }
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let env = pairs(&[
            ("REDIS_HOST", "redis"),
            ("REDIS_PORT", "6379"),
            ("CACHE", "redis"),
            ("OTHER_PORT", "6379"),
        ]);
        let expected = [
            ("REDIS_HOST", "127.9.0.3"),
            ("REDIS_PORT", "10250"),
            ("CACHE", "redis"),
            ("OTHER_PORT", "6379"),
        ];
        assert_eq!(resolver.environment(env.clone()), pairs(&expected));
        let served =
            [("REDIS_HOST", "127.9.0.3"), ("REDIS_PORT", "6379"), ("CACHE", "redis"), ("OTHER_PORT", "6379")];
        assert_eq!(cache(&[6379]).environment(env), pairs(&served));
    }

    #[test]
    fn kubernetes_tells_of_a_companions_service() {
        let links = cache(&[6379]).links();
        let told =
            |name: &str| links.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(told("REDIS_SERVICE_HOST"), Some("127.9.0.3"));
        assert_eq!(told("REDIS_SERVICE_PORT"), Some("6379"));
        assert_eq!(told("REDIS_PORT"), Some("tcp://127.9.0.3:6379"));
    }

    #[test]
    fn ports_are_those_that_settings_name() {
        let texts = ["redis://cache:6379/0", "cache:6380,cache:6379", "my-cache:1"].map(str::to_owned);
        assert_eq!(ports_named("cache", texts.into_iter()), [6379, 6380]);
    }
}
