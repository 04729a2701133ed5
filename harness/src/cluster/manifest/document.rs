//! One object of a file: what it says, and on which line.

use granit_parser::{Event, Parser, Span};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ManifestError;

/// One object, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Document<'a> {
    /// The file.
    pub(super) file: &'a str,
    /// What it says.
    pub(super) value: Value,
    /// The line before its text, and the text.
    skipped: u64,
    text: &'a str,
    /// Where it stands in the text: `["items", "0"]` in a List.
    within: Vec<String>,
}

/// What an API server writes into an object, and refuses, or takes for another object, when it is given back.
const SERVERS_OWN: &[&str] = &[
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "ownerReferences",
    "selfLink",
];

/// The objects of a file, those of a List one by one. Documents that say nothing are left out.
pub(super) fn documents<'a>(file: &'a str, text: &'a str) -> Result<Vec<Document<'a>>, ManifestError> {
    let mut found = Vec::new();
    for (skipped, text) in parts(text) {
        let value = parsed(file, skipped, text)?;
        if value.is_null() {
            continue;
        }
        let document = Document { file, value, skipped, text, within: Vec::new() };
        document.expand(&mut found);
    }
    Ok(found)
}

// === impl Document ===

impl<'a> Document<'a> {
    /// A List is its items, as `kubectl get -o yaml` prints them.
    fn expand(self, found: &mut Vec<Document<'a>>) {
        let is_list = self.kind().ends_with("List") && self.value.get("items").is_some_and(Value::is_array);
        if !is_list {
            found.push(self.without_servers_own());
            return;
        }
        let items = self.value["items"].as_array().cloned().unwrap_or_default();
        for (idx, value) in items.into_iter().enumerate() {
            let within = [&self.within[..], &["items".to_owned(), idx.to_string()]].concat();
            Document { value, within, ..self.clone() }.expand(found);
        }
    }

    /// Without what `kubectl get -o yaml` prints beside what somebody wrote.
    fn without_servers_own(mut self) -> Self {
        if let Some(object) = self.value.as_object_mut() {
            object.remove("status");
        }
        if let Some(metadata) = self.value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|field, _| !SERVERS_OWN.contains(&field.as_str()));
        }
        self
    }

    /// Its `kind`; empty when there is none.
    pub(super) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// Its `apiVersion`; empty when there is none.
    pub(super) fn version(&self) -> &str {
        self.value["apiVersion"].as_str().unwrap_or_default()
    }

    /// Its name; empty when there is none.
    pub(super) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `file:line` of its beginning.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line(&[]))
    }

    /// The typed object.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Document`], which names the field and its line. Values of a Secret are not repeated.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        serde_path_to_error::deserialize(&self.value).map_err(|error| {
            let path: Vec<String> = error.path().iter().map(ToString::to_string).collect();
            let path: Vec<&str> =
                path.iter().map(|part| part.trim_matches(['[', ']'])).filter(|part| *part != "?").collect();
            let field = field(&path);
            let what = match (self.kind(), path.first()) {
                ("Secret", Some(&"data")) => format!("`{field}` is not base64"),
                ("Secret", _) => format!("`{field}` is of the wrong type"),
                _ => format!("`{field}` {}", wrong(&error.into_inner().to_string())),
            };
            self.error(&path, &what)
        })
    }

    /// What is wrong with a field.
    pub(super) fn error(&self, path: &[&str], what: &str) -> ManifestError {
        ManifestError::Document {
            file: self.file.to_owned(),
            line: self.line(path),
            what: format!("{}: {what}", shown(format!("{} {}", self.kind(), self.name()).trim())),
        }
    }

    /// What is wrong with the whole, whatever it is.
    pub(super) fn no_object(&self, what: &str) -> ManifestError {
        self.no_object_at(&[], what)
    }

    /// The same, where one field says so.
    pub(super) fn no_object_at(&self, path: &[&str], what: &str) -> ManifestError {
        ManifestError::Document { file: self.file.to_owned(), line: self.line(path), what: what.to_owned() }
    }

    /// The line of a field, or of what is nearest to it and there.
    pub(super) fn line(&self, path: &[&str]) -> u64 {
        let within: Vec<&str> = self.within.iter().map(String::as_str).chain(path.iter().copied()).collect();
        self.skipped + line_of(self.text, &within)
    }
}

// === helpers ===

/// Splits at `---`, since a fault in one document must not hide where the next one begins: lines before, and text.
fn parts(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut skipped, mut offset) = (0, 0, 0);
    for (number, line) in (1_u64..).zip(text.split_inclusive('\n')) {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_marker {
            parts.push((skipped, &text[start..offset]));
            (start, skipped) = (offset + line.len(), number);
        }
        offset += line.len();
    }
    parts.push((skipped, &text[start..]));
    let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    parts.retain(|(_, text)| !text.lines().all(is_empty));
    parts
}

fn parsed(file: &str, skipped: u64, text: &str) -> Result<Value, ManifestError> {
    let wrong = |line: u64, what: String| ManifestError::Document { file: file.to_owned(), line, what };
    if text.trim_start().starts_with('{') && file.to_lowercase().ends_with(".json") {
        return serde_json::from_str(text)
            .map_err(|error| wrong(skipped + error.line() as u64, "not JSON".to_owned()));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let line = skipped + error.location().map_or(1, |location| location.line().max(1));
        if let Some(template) =
            (1..).zip(text.lines()).find_map(|(line, text)| is_template(text).then_some(line))
        {
            return ManifestError::Template { file: file.to_owned(), line: skipped + template };
        }
        wrong(line, format!("not YAML: {}", without_place(&error.without_snippet().to_string())))
    })
}

/// Whether a line is one of a Helm chart, which is no YAML before it is rendered.
fn is_template(line: &str) -> bool {
    line.contains("{{") && line.contains("}}")
}

/// The first sentence of the parser's words: they may quote the file, and a Secret may stand there.
fn without_place(said: &str) -> String {
    let first = said.lines().next().unwrap_or_default();
    let first = first.split(" at line ").next().unwrap_or_default();
    let first = first.split(", set ").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first
        .split_once(": ")
        .filter(|(place, _)| place.starts_with("line "))
        .map_or(first, |(_, what)| what)
        .trim()
        .to_owned()
}

/// `spec.ports[0].port`.
fn field(path: &[&str]) -> String {
    let mut field = String::new();
    for part in path {
        if part.parse::<usize>().is_ok() {
            field += &format!("[{part}]");
        } else {
            field += if field.is_empty() { "" } else { "." };
            field += part;
        }
    }
    field
}

/// serde's words in ours: `invalid type: string "many", expected i32` as `is "many" and must be a whole number`.
fn wrong(said: &str) -> String {
    let missing = said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    if let Some(missing) = missing {
        return format!("has no `{missing}`");
    }
    let parted = said
        .strip_prefix("invalid type: ")
        .or_else(|| said.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "));
    let Some((is, must)) = parted else { return format!("is wrong: {}", shown(said)) };
    let is = is.strip_prefix("string ").or(is.strip_prefix("integer ")).unwrap_or(is).replace('`', "");
    let must = match must {
        "i32" | "i64" | "u16" | "u32" | "u64" => "a whole number",
        "a string" | "string" => "text: write it in quotes",
        "a boolean" => "true or false",
        "a sequence" | "Vec" => "a list",
        other if other.starts_with("struct ") || other.starts_with("map") || other == "a map" => {
            "a map of fields"
        }
        other if other.chars().next().is_some_and(char::is_uppercase) => "a map of fields",
        other => other,
    };
    format!("is {} and must be {must}", shown(&is))
}

/// Text of a file as a terminal may show it.
pub(super) fn shown(text: &str) -> String {
    let is_plain = |character: &char| !character.is_control();
    if text.chars().all(|character| is_plain(&character)) {
        return text.to_owned();
    }
    text.chars()
        .map(|character| {
            if is_plain(&character) { character.to_string() } else { character.escape_default().to_string() }
        })
        .collect()
}

/// The line, from 1, on which the node of this path begins, or the last of its parents that is there. An anchored node stands where
/// it was written.
fn line_of(text: &str, path: &[&str]) -> u64 {
    let mut walk = Walk { path, best: 0, line: 1, stack: Vec::new() };
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        walk.take(&event, &span);
    }
    walk.line
}

/// A walk over a parser's events that looks for one path.
struct Walk<'p> {
    path: &'p [&'p str],
    /// How many parts of the path were found, and the line of the last.
    best: usize,
    line: u64,
    stack: Vec<Level>,
}

/// A mapping or a sequence that is open.
struct Level {
    is_mapping: bool,
    /// Of a mapping, the key whose value comes next; of a sequence, how many items there were.
    key: Option<(String, u64)>,
    items: usize,
    /// Whether the path leads here.
    is_on_path: bool,
}

impl Walk<'_> {
    fn take(&mut self, event: &Event<'_>, span: &Span) {
        let line = span.start.line() as u64;
        match event {
            Event::MappingStart(..) => {
                let is_on_path = self.node(line);
                self.stack.push(Level { is_mapping: true, key: None, items: 0, is_on_path });
            }
            Event::SequenceStart(..) => {
                let is_on_path = self.node(line);
                self.stack.push(Level { is_mapping: false, key: None, items: 0, is_on_path });
            }
            Event::MappingEnd | Event::SequenceEnd => drop(self.stack.pop()),
            Event::Scalar(text, ..) => {
                if let Some(level) =
                    self.stack.last_mut().filter(|level| level.is_mapping && level.key.is_none())
                {
                    level.key = Some((text.to_string(), line));
                } else {
                    self.node(line);
                }
            }
            Event::Alias(_) => drop(self.node(line)),
            _ => {}
        }
    }

    /// Whether the path leads to the node that begins here.
    fn node(&mut self, line: u64) -> bool {
        let depth = self.stack.len();
        let Some(level) = self.stack.last_mut() else {
            self.line = line;
            return true;
        };
        let (name, line) = match level.key.take() {
            // A key says better where a field stands than its value.
            Some((key, at)) => (key, at),
            None => {
                level.items += 1;
                ((level.items - 1).to_string(), line)
            }
        };
        let fits = level.is_on_path && self.path.get(depth - 1).is_some_and(|part| *part == name);
        if fits && depth > self.best {
            (self.best, self.line) = (depth, line);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;

    #[test]
    fn what_an_api_server_wrote_is_left_out() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- kind: Service\n  metadata: {name: hub, uid: 1-2, resourceVersion: '5', labels: {a: b}}\n  \
                    status: {loadBalancer: {}}\n";
        let found = documents("list.yaml", text).unwrap();
        assert_eq!(
            found[0].value,
            serde_json::json!({ "kind": "Service", "metadata": { "name": "hub", "labels": { "a": "b" } } })
        );
        assert_eq!(documents("a.yaml", "just words").unwrap().len(), 1, "what is no object stays what it is");
    }

    #[test]
    fn a_field_is_found_on_its_line_in_every_style() {
        let text = "# first\na: 1\nb:\n  - c: x\n    d: [1, {e: 2}]\n  -\n    c: |\n      text\n";
        for (path, line) in [
            (&[][..], 2),
            (&["a"], 2),
            (&["b"], 3),
            (&["b", "0", "c"], 4),
            (&["b", "0", "d", "1", "e"], 5),
            (&["b", "1", "c"], 7),
            (&["b", "1", "none"], 7),
        ] {
            assert_eq!(line_of(text, path), line, "{path:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_our_words() {
        let text = "kind: List\nitems:\n- kind: Service\n  metadata: {name: s}\n  spec:\n    ports:\n    - port: many\n";
        let found = documents("a.yaml", text).unwrap();
        let error = found[0].read::<Service>().unwrap_err().to_string();
        assert_eq!(error, "a.yaml:7: Service s: `spec.ports[0].port` is \"many\" and must be a whole number");
    }

    #[test]
    fn a_template_is_named_as_one() {
        let error = documents("t.yaml", "kind: Service\nname: {{ .Values.name }}\n").unwrap_err();
        assert!(matches!(error, ManifestError::Template { line: 2, .. }), "{error}");
    }
}
