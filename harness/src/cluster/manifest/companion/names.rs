//! Names of Services in other objects: what says `redis.tools.svc` must say the cell's namespace.

/// The Services of the files, and the namespace that they are written for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(super) services: Vec<String>,
    pub(super) namespace: String,
    /// The hub's own workload.
    pub(super) hub: String,
    /// Workloads that are not the hub.
    pub(super) workloads: Vec<String>,
}

// === impl Names ===

impl Names {
    /// The text with each `SERVICE.NAMESPACE` of the files in this namespace.
    pub(crate) fn placed(&self, text: &str, namespace: &str) -> String {
        let mut text = text.to_owned();
        for service in &self.services {
            let wanted = format!("{service}.{}", self.namespace);
            if text.contains(&wanted) {
                text = replaced(&text, &wanted, &format!("{service}.{namespace}"));
            }
        }
        text
    }

    /// Whether an object, such as `Pod/redis-0`, belongs to a workload that is not the hub: pods and ReplicaSets are called after
    /// their workload.
    pub(crate) fn is_of_companion(&self, object: &str) -> bool {
        let name = object.split_once('/').map_or(object, |(_, name)| name);
        let is_of = |workload: &str| {
            name.strip_prefix(workload).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let longest = |found: Option<&String>| found.map_or(0, String::len);
        let companion =
            self.workloads.iter().filter(|workload| is_of(workload)).max_by_key(|name| name.len());
        let hub = Some(&self.hub).filter(|hub| is_of(hub));
        companion.is_some() && longest(companion) > longest(hub)
    }
}

/// Replaces whole names: `my-redis.tools` and `redis.tools2` are others, and `redis.tools.svc` is the same.
fn replaced(text: &str, wanted: &str, by: &str) -> String {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(wanted) {
        let (before, after) = (&rest[..at], &rest[at + wanted.len()..]);
        let last = before.chars().last().or_else(|| made.chars().last());
        let is_whole = !last.is_some_and(|last| is_of_name(last) || last == '.')
            && !after.starts_with(is_of_name)
            && (!after.starts_with('.') || after.starts_with(".svc"));
        made.push_str(before);
        made.push_str(if is_whole { by } else { wanted });
        rest = after;
    }
    made + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Names {
            services: owned(&["redis", "hub"]),
            namespace: "tools".to_owned(),
            hub: "hub".to_owned(),
            workloads: owned(&["redis", "hub-db"]),
        }
    }

    #[test]
    fn names_of_services_follow_into_the_cells_namespace() {
        for (text, expected) in [
            ("redis://redis.tools.svc.cluster.local:6379/0", "redis://redis.cell.svc.cluster.local:6379/0"),
            ("redis.tools:6379,hub.tools.svc", "redis.cell:6379,hub.cell.svc"),
            ("my-redis.tools.svc", "my-redis.tools.svc"),
            ("redis.tools.example.com", "redis.tools.example.com"),
            ("redis.tools2.svc a.redis.tools", "redis.tools2.svc a.redis.tools"),
            ("redis:6379", "redis:6379"),
        ] {
            assert_eq!(names().placed(text, "cell"), expected);
        }
    }

    #[test]
    fn what_belongs_to_a_companion_is_told_from_the_hubs() {
        for object in ["Pod/redis-0", "StatefulSet/redis", "Pod/hub-db-7f9-x", "Deployment/hub-db"] {
            assert!(names().is_of_companion(object), "{object}");
        }
        for object in
            ["Pod/hub-7f9-x", "Deployment/hub", "ReplicaSet/hub-7f9", "Service/other", "Pod/redisx-0"]
        {
            assert!(!names().is_of_companion(object), "{object}");
        }
    }
}
