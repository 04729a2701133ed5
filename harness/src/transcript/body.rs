//! The body of a request or an answer, as far as a transcript keeps it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::recorder::mask_value;

/// The largest body kept whole, in bytes; of a longer one the beginning is kept and its length.
pub const BODY_KEPT: usize = 64 * 1024;

/// How many bytes of a long body are kept, and how many characters of each string of a long message.
const BEGINNING: usize = 256;

/// A body, kept as what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Valid JSON.
    Json(Value),
    /// Other text.
    Text(String),
    /// Longer than [`BODY_KEPT`], or not UTF-8: its length in bytes and its beginning.
    Long {
        /// Length in bytes.
        length: u64,
        /// The first bytes, as text.
        beginning: String,
        /// Of a JSON-RPC message: what is left of it when every long string is cut to its beginning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<Value>,
    },
}

// === impl Body ===

impl Body {
    /// Keeps these bytes as what they are, each text through `mask`: before it is cut, so that no secret's beginning is left.
    pub(super) fn from_bytes(bytes: &[u8], mask: &impl Fn(&str) -> String) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= BODY_KEPT => match serde_json::from_str(text) {
                Ok(mut value) => {
                    mask_value(&mut value, mask);
                    Self::Json(value)
                }
                Err(_) => Self::Text(mask(text)),
            },
            _ => Self::long(bytes, mask),
        }
    }

    fn long(bytes: &[u8], mask: &impl Fn(&str) -> String) -> Self {
        let text = mask(&String::from_utf8_lossy(bytes));
        let beginning = text[..text.floor_char_boundary(BEGINNING)].to_owned();
        let message = serde_json::from_slice(bytes).ok().filter(Value::is_object).map(|mut message| {
            mask_value(&mut message, mask);
            shortened(message)
        });
        // Long for another reason than its strings: then it stays unread.
        let message = message.filter(|message| message.to_string().len() <= BODY_KEPT);
        Self::Long { length: bytes.len() as u64, beginning, message }
    }
    /// The JSON that it is; of a long message, what was kept of it.
    pub fn json(&self) -> Option<&Value> {
        match self {
            Body::Json(value) => Some(value),
            Body::Long { message, .. } => message.as_ref(),
            Body::Text(_) => None,
        }
    }
}

// === helpers ===

/// The same JSON with every long string cut to its beginning.
fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > BEGINNING => {
            let beginning: String = text.chars().take(BEGINNING).collect();
            Value::String(format!("{beginning}.."))
        }
        Value::Array(items) => items.into_iter().map(shortened).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, field)| (key, shortened(field))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(bytes: &[u8]) -> Body {
        Body::from_bytes(bytes, &str::to_owned)
    }

    #[test]
    fn of_a_long_message_is_kept_what_tells_whose_it_is() {
        let padding = "x".repeat(BODY_KEPT);
        let message = json!({ "id": 7, "method": "ping", "params": { "_meta": { "padding": padding } } });
        let body = of(message.to_string().as_bytes());
        assert!(matches!(body, Body::Long { length: 65_590.., .. }), "{body:?}");
        let kept = body.json().expect("a message is kept");
        assert_eq!((&kept["id"], &kept["method"]), (&json!(7), &json!("ping")));
        assert_eq!(kept["params"]["_meta"]["padding"].as_str().map(str::len), Some(BEGINNING + 2));
        let text = of(&vec![b'x'; BODY_KEPT + 1]);
        assert_eq!(text.json(), None);
    }
}
