//! The command line and the environment, and what they mean together.
//!
//! Everything that can be wrong is found here, before the hub listens, and is one line on stderr.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::defect::Defects;
use crate::replica::{Ids, Limits};
use crate::session_id::{self, Keyring};

/// The reference MCP hub of hubcheck: HTTP+SSE, Streamable HTTP and 2026-07-28 on one port.
#[derive(Debug, Parser)]
#[command(version, name = "hub")]
pub struct Args {
    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    pub host: String,
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// Where sessions live
    #[arg(long, env = "SESSIONS", default_value = "forward")]
    pub sessions: Sessions,
    /// What clients can call
    #[arg(long, env = "TOOLSET", default_value = "reference")]
    pub toolset: Toolset,
    /// Seal session ids with a random key: for a single replica only
    #[arg(long)]
    pub ephemeral_key: bool,
    /// Where other replicas reach this one [default: POD_IP and the port]
    #[arg(long, value_name = "ADDR:PORT", env = "ADVERTISE")]
    pub advertise: Option<SocketAddr>,
    /// After SIGTERM: how long the listener stays open at least
    #[arg(long, value_name = "TIME", env = "DRAIN_DELAY", default_value = "2s")]
    pub drain_delay: Time,
    /// After SIGTERM: how long calls in flight may take at most
    #[arg(long, value_name = "TIME", env = "GRACE", default_value = "25s")]
    pub grace: Time,
    /// Time before it listens, as a hub takes that imports much
    #[arg(long, value_name = "TIME", env = "START_DELAY", default_value = "0s")]
    pub start_delay: Time,
    /// How long a session lives that nothing uses
    #[arg(long, value_name = "TIME", env = "SESSION_IDLE", default_value = "30m")]
    pub session_idle: Time,
    /// Sessions at a time
    #[arg(long, value_name = "N", env = "MAX_SESSIONS", default_value_t = 10_000)]
    pub max_sessions: usize,
    /// Bytes of a request body
    #[arg(long, value_name = "BYTES", env = "BODY_LIMIT", default_value_t = 4 << 20)]
    pub body_limit: usize,
    /// How long a request body may take to arrive
    #[arg(long, value_name = "TIME", env = "BODY_TIME", default_value = "60s")]
    pub body_time: Time,
    /// Calls in flight per session
    #[arg(long, value_name = "N", env = "QUEUE", default_value_t = 256)]
    pub queue: usize,
    /// Origin that may call from a browser; repeatable
    #[arg(long, value_name = "URL", env = "ALLOW_ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<String>,
    /// Bearer token that every MCP request must carry [default: none]
    #[arg(long, value_name = "TOKEN", env = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Environment variable that must not be empty; repeatable
    #[arg(long, value_name = "NAME", env = "REQUIRED_SECRETS", value_delimiter = ',')]
    pub require_secret: Vec<String>,
    /// Deliberate fault; repeatable
    #[arg(long, value_name = "NAME", env = "DEFECT", value_delimiter = ',')]
    pub defect: Vec<String>,
    /// Print every defect and what it does
    #[arg(long)]
    pub list_defects: bool,
}

/// Where sessions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sessions {
    /// Any replica finds the owner from the session id and forwards
    Forward,
    /// In the memory of one process
    Memory,
}

/// What clients can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Toolset {
    /// The tools that the README asks of any hub
    Reference,
    /// Also the tools, prompts and resources that the official conformance suite expects
    Official,
}

/// A duration as people write it: `500ms`, `2s`, `30m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err("give a time such as 500ms, 2s, 30m or 1h".to_owned()),
        };
        let number =
            u64::from_str(number).map_err(|_| "give a time such as 500ms, 2s, 30m or 1h".to_owned())?;
        Ok(Self(Duration::from_millis(number.saturating_mul(millis))))
    }
}

impl Args {
    /// Checks that every required secret is there.
    ///
    /// # Errors
    /// One line that names all that are missing, and no value.
    pub fn check_secrets(&self, env: impl Fn(&str) -> Option<OsString>) -> Result<(), String> {
        let missing: Vec<&str> = self
            .require_secret
            .iter()
            .map(|name| name.trim())
            .filter(|name| !name.is_empty() && env(name).is_none_or(|value| value.is_empty()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("required secrets are missing or empty in the environment: {}", missing.join(", ")))
    }

    /// The faults of `--defect`.
    ///
    /// # Errors
    /// A name that is no defect.
    pub fn defects(&self) -> Result<Defects, String> {
        Defects::parse(self.defect.iter().map(String::as_str))
    }

    /// The keys of `SESSION_KEY` and `SESSION_KEY_PREVIOUS`; `None` when sessions stay in memory.
    ///
    /// # Errors
    /// One line about a key that is missing or no key, without its value.
    pub fn keyring(&self, env: impl Fn(&str) -> Option<OsString>) -> Result<Option<Keyring>, String> {
        if self.sessions == Sessions::Memory {
            return Ok(None);
        }
        let text = |name: &str| {
            env(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
        };
        let keyring = match text("SESSION_KEY") {
            Some(key) => Keyring::parse(&key).map_err(|error| format!("SESSION_KEY {error}"))?,
            None if self.ephemeral_key => Keyring::ephemeral(),
            None => {
                return Err("SESSION_KEY is missing: all replicas need the same 32 random bytes as base64 or hex \
                            (openssl rand -base64 32); --ephemeral-key or --sessions memory do for a single one"
                    .to_owned());
            }
        };
        let keyring = match text("SESSION_KEY_PREVIOUS") {
            Some(previous) => {
                keyring.with_previous(&previous).map_err(|error| format!("SESSION_KEY_PREVIOUS {error}"))?
            }
            None => keyring,
        };
        Ok(Some(keyring))
    }

    /// How ids are made, once the port is known.
    ///
    /// # Errors
    /// When `POD_IP` is no address.
    pub fn ids(
        &self,
        keyring: Option<Keyring>,
        bound: SocketAddr,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Ids, String> {
        let Some(keyring) = keyring else {
            return Ok(Ids::Memory);
        };
        let advertise = self.address(bound, env)?;
        Ok(Ids::Forward { keyring, advertise, start: session_id::random() })
    }

    /// Where other replicas reach this one, once the port is known.
    ///
    /// # Errors
    /// When `POD_IP` is no address.
    pub fn address(
        &self,
        bound: SocketAddr,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<SocketAddr, String> {
        Ok(match (self.advertise, env("POD_IP").filter(|ip| !ip.is_empty())) {
            (Some(advertise), _) => advertise,
            (None, Some(ip)) => {
                let ip = ip.to_string_lossy();
                let ip = IpAddr::from_str(&ip).map_err(|_| format!("POD_IP is no address: {ip}"))?;
                SocketAddr::new(ip, bound.port())
            }
            (None, None) if bound.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, bound.port()).into(),
            (None, None) => bound,
        })
    }

    /// What bounds the replica.
    pub fn limits(&self) -> Limits {
        Limits {
            body: self.body_limit,
            body_time: self.body_time.0,
            queue: self.queue,
            sessions: self.max_sessions,
            session_idle: self.session_idle.0,
        }
    }
}

/// The replica's name: the pod's, else the host's, else one of this process.
pub fn replica_name(env: impl Fn(&str) -> Option<OsString>) -> Arc<str> {
    ["POD_NAME", "HOSTNAME"]
        .into_iter()
        .filter_map(env)
        .find(|value| !value.is_empty())
        .map_or_else(|| format!("hub-{}", std::process::id()), |value| value.to_string_lossy().into_owned())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn times() {
        assert_eq!("500ms".parse(), Ok(Time(Duration::from_millis(500))));
        assert_eq!("30m".parse(), Ok(Time(Duration::from_secs(1800))));
        for wrong in ["", "2", "s", "2 s", "-1s", "1.5s", "2d"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_missing_secrets_are_named_and_no_value_is() {
        let args = Args::parse_from(["hub", "--require-secret", "A,B", "--require-secret", "C"]);
        let env = |name: &str| match name {
            "A" => Some("value of a".into()),
            "B" => Some("".into()),
            _ => None,
        };
        let error = args.check_secrets(env).unwrap_err();
        assert!(error.ends_with(": B, C"), "{error}");
    }

    #[test]
    fn other_replicas_reach_this_one_at() {
        let keyring = || Some(Keyring::ephemeral());
        let advertised = |args: &[&str], bound: &str, pod_ip: Option<&str>| {
            let args = Args::parse_from([&["hub"], args].concat());
            match args.ids(keyring(), bound.parse().unwrap(), |_| pod_ip.map(Into::into)) {
                Ok(Ids::Forward { advertise, .. }) => advertise.to_string(),
                other => panic!("{:?}", other.err()),
            }
        };
        assert_eq!(advertised(&[], "0.0.0.0:8000", Some("10.0.0.7")), "10.0.0.7:8000");
        assert_eq!(
            advertised(&["--advertise", "10.0.0.9:80"], "0.0.0.0:8000", Some("10.0.0.7")),
            "10.0.0.9:80"
        );
        assert_eq!(advertised(&[], "127.1.2.3:8000", None), "127.1.2.3:8000");
        assert_eq!(advertised(&[], "0.0.0.0:8000", None), "127.0.0.1:8000");
    }
}
