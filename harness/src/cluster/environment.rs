//! The environment of a container, as the kubelet makes it from `env` and `envFrom`.
//!
//! Later wins: what is passed on from the harness, service links, `envFrom`, `env`, then HOST and PORT (a replica's address here
//! is not what the manifest says), then what the user gave with `--env`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Secret};

/// Variables of the harness that a replica gets: what programs need to start at all.
///
/// Everything else stays behind, because a secret in the developer's shell must not stand in for one that the
/// manifests lack. `--env NAME=VALUE` passes more.
const PASSED_ON: [&str; 26] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "NODE_PATH",
    "NODE_OPTIONS",
    "NVM_DIR",
    "JAVA_HOME",
    "GOPATH",
    "DOTNET_ROOT",
    "GEM_HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];

/// Families of variables that are passed on.
const PASSED_ON_PREFIXES: [&str; 3] = ["LC_", "PYENV_", "UV_"];

/// What can be said of a pod in `fieldRef`.
#[derive(Clone, Debug)]
pub(crate) struct PodFields {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The Secrets and ConfigMaps of the namespace.
#[derive(Clone, Default)]
pub(crate) struct Configs {
    pub(crate) secrets: Vec<Secret>,
    pub(crate) config_maps: Vec<ConfigMap>,
}

/// Why a container cannot be made, in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey { kind: &'static str, key: String, namespace: String, name: String },
}

/// The whole environment of a container.
pub(crate) fn environment(
    container: &Container,
    pod: &PodFields,
    configs: &Configs,
    links: &[(String, String)],
    given: &[(String, String)],
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut made: BTreeMap<String, String> = harness_environment().into_iter().collect();
    // Known before `env`, so that `$(HOST)` and `$(PORT)` can be used there.
    let address = [("HOST".to_owned(), pod.host.clone()), ("PORT".to_owned(), pod.port.to_string())];
    let mut expandable: BTreeMap<String, String> = links.iter().chain(&address).cloned().collect();
    made.extend(links.iter().cloned());
    for (name, value) in env_from(container, pod, configs)? {
        expandable.insert(name.clone(), value.clone());
        made.insert(name, value);
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &expandable)),
            Some(source) => from_source(source, pod, configs)?,
        };
        let Some(value) = value else { continue };
        expandable.insert(variable.name.clone(), value.clone());
        made.insert(variable.name.clone(), value);
    }
    made.extend(address);
    made.extend(given.iter().cloned());
    Ok(made.into_iter().collect())
}

/// The variables of the harness that a process gets.
pub(crate) fn harness_environment() -> Vec<(String, String)> {
    let harness = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    harness.filter(|(name, _)| is_passed_on(name)).collect()
}

/// Replaces `$(NAME)` by the variable's value; `$$` stands for `$`, and unknown names stay as they are.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|open| open.split_once(')')) {
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

fn is_passed_on(name: &str) -> bool {
    PASSED_ON.contains(&name) || PASSED_ON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn env_from(
    container: &Container,
    pod: &PodFields,
    configs: &Configs,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut made = Vec::new();
    for source in container.env_from.iter().flatten() {
        let secret = source.secret_ref.as_ref().map(|from| ("secret", &from.name, from.optional));
        let map = source.config_map_ref.as_ref().map(|from| ("configmap", &from.name, from.optional));
        let Some((kind, name, optional)) = secret.or(map) else { continue };
        let values = if kind == "secret" { configs.secret(name) } else { configs.config_map(name) };
        match values {
            Some(values) => {
                let prefix = source.prefix.as_deref().unwrap_or_default();
                made.extend(values.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
            }
            None if optional == Some(true) => {}
            None => return Err(ConfigError::Missing { kind, name: name.clone() }),
        }
    }
    let _ = pod;
    Ok(made)
}

fn from_source(
    source: &EnvVarSource,
    pod: &PodFields,
    configs: &Configs,
) -> Result<Option<String>, ConfigError> {
    if let Some(from) = &source.secret_key_ref {
        let values = configs.secret(&from.name);
        return pick(("secret", "Secret"), values, &from.name, &from.key, from.optional, pod);
    }
    if let Some(from) = &source.config_map_key_ref {
        let values = configs.config_map(&from.name);
        return pick(("configmap", "ConfigMap"), values, &from.name, &from.key, from.optional, pod);
    }
    Ok(source.field_ref.as_ref().and_then(|field| pod.field(&field.field_path)))
}

fn pick(
    (low, kind): (&'static str, &'static str),
    values: Option<BTreeMap<String, String>>,
    name: &str,
    key: &str,
    optional: Option<bool>,
    pod: &PodFields,
) -> Result<Option<String>, ConfigError> {
    let known = values.is_some();
    match values.and_then(|mut values| values.remove(key)) {
        Some(value) => Ok(Some(value)),
        None if optional == Some(true) => Ok(None),
        None if known => Err(ConfigError::MissingKey {
            kind,
            key: key.to_owned(),
            namespace: pod.namespace.clone(),
            name: name.to_owned(),
        }),
        None => Err(ConfigError::Missing { kind: low, name: name.to_owned() }),
    }
}

// === impl PodFields ===

impl PodFields {
    /// The value of a `fieldPath`, of those that exist here.
    fn field(&self, path: &str) -> Option<String> {
        let entry = |map: &BTreeMap<String, String>, rest: &str| {
            map.get(rest.trim_end_matches("']")).cloned().or_else(|| Some(String::new()))
        };
        if let Some(rest) = path.strip_prefix("metadata.labels['") {
            return entry(&self.labels, rest);
        }
        if let Some(rest) = path.strip_prefix("metadata.annotations['") {
            return entry(&self.annotations, rest);
        }
        match path {
            "metadata.name" => Some(self.name.clone()),
            "metadata.namespace" => Some(self.namespace.clone()),
            "metadata.uid" => Some(self.uid.clone()),
            "status.podIP" | "status.podIPs" => Some(self.host.clone()),
            "status.hostIP" | "status.hostIPs" => Some("127.0.0.1".to_owned()),
            _ => None,
        }
    }
}

// === impl Configs ===

impl Configs {
    fn secret(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name))?;
        Some(secret_values(secret))
    }

    fn config_map(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let map = self.config_maps.iter().find(|map| map.metadata.name.as_deref() == Some(name))?;
        Some(map.data.clone().unwrap_or_default())
    }
}

/// A Secret's values by key; `stringData` wins over `data`, as when it is written.
pub(crate) fn secret_values(secret: &Secret) -> BTreeMap<String, String> {
    let encoded = secret.data.iter().flatten();
    let mut values: BTreeMap<String, String> =
        encoded.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned())).collect();
    values.extend(secret.string_data.clone().unwrap_or_default());
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_parentheses_expand_as_in_kubernetes() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expected) in
            [("x$(A)y", "x1y"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A $", "$A $"), ("$(A", "$(A")]
        {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}
