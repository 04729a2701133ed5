//! What an edit changed, in a line for each field.

use serde_json::Value;

use super::Manifests;

/// How much of a value is shown.
const SHOWN: usize = 80;

impl Manifests {
    /// The fields of Deployment and Service that differ in `edited`, and the names of Secrets that do, as
    /// `Service spec.sessionAffinity: None -> ClientIP`. Holds no value of a variable nor of a Secret.
    pub fn differences(&self, edited: &Manifests) -> Vec<String> {
        let mut lines = Vec::new();
        let value = |typed: Result<Value, serde_json::Error>| typed.unwrap_or_default();
        let deployments = [&self.deployment, &edited.deployment].map(|one| value(serde_json::to_value(one)));
        let services = [&self.service, &edited.service].map(|one| value(serde_json::to_value(one)));
        for (kind, [before, after]) in [("Deployment", deployments), ("Service", services)] {
            compare(&before, &after, &mut Vec::new(), &mut |path, change| {
                lines.push(format!("{kind} {}: {change}", path.join(".")));
            });
        }
        let names = |manifests: &Manifests| -> Vec<String> {
            manifests.secrets.iter().filter_map(|secret| secret.metadata.name.clone()).collect()
        };
        let (before, after) = (names(self), names(edited));
        lines.extend(
            before.iter().filter(|name| !after.contains(name)).map(|name| format!("Secret {name}: removed")),
        );
        lines.extend(
            after.iter().filter(|name| !before.contains(name)).map(|name| format!("Secret {name}: added")),
        );
        lines
    }
}

fn compare(before: &Value, after: &Value, path: &mut Vec<String>, tell: &mut dyn FnMut(&[String], String)) {
    match (before, after) {
        (before, after) if before == after => {}
        // A variable may be a secret.
        _ if path.last().is_some_and(|field| field == "env") => tell(path, "changed".to_owned()),
        (Value::Object(left), Value::Object(right)) => {
            let mut fields: Vec<&String> = left.keys().chain(right.keys()).collect();
            fields.sort_unstable();
            fields.dedup();
            for field in fields {
                path.push(field.clone());
                let of =
                    |object: &serde_json::Map<String, Value>| object.get(field).cloned().unwrap_or_default();
                compare(&of(left), &of(right), path, tell);
                path.pop();
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (idx, (left, right)) in left.iter().zip(right).enumerate() {
                let name = left["name"].as_str().map_or_else(|| idx.to_string(), str::to_owned);
                path.push(name);
                compare(left, right, path, tell);
                path.pop();
            }
        }
        (before, Value::Null) => tell(path, format!("{} removed", shown(before))),
        (Value::Null, after) => tell(path, format!("{} added", shown(after))),
        (before, after) => tell(path, format!("{} -> {}", shown(before), shown(after))),
    }
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_an_edit_changes_is_told_by_field_and_without_values_of_variables() {
        let before = Manifests::embedded().expect("our manifests");
        let mut after = before.clone();
        assert_eq!(before.differences(&after), Vec::<String>::new());
        after.set_replicas(3);
        after.set_affinity(Some(Duration::from_secs(10)));
        after.set_env("API_KEY", "hush");
        after.secrets.clear();
        let told = before.differences(&after);
        let container = "Deployment spec.template.spec.containers.mcp-hub";
        assert!(told.contains(&"Deployment spec.replicas: 2 -> 3".to_owned()), "{told:?}");
        assert!(told.contains(&format!("{container}.env: changed")), "{told:?}");
        assert!(told.contains(&"Service spec.sessionAffinity: None -> ClientIP".to_owned()), "{told:?}");
        assert!(
            told.iter().any(|line| line.starts_with("Secret ") && line.ends_with(": removed")),
            "{told:?}"
        );
        assert!(!told.concat().contains("hush"), "{told:?}");
    }
}
