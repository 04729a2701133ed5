//! An API server: objects as a test puts them there, watches of them, and a note of all that was asked.
//!
//! It has no controllers, so that nothing happens that a test did not say; only that what a namespace or a Service
//! gets from one as soon as it is made, without which nothing would begin.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::ages::Age;
use super::forwarded;

/// How long anything may take here; conditions come true much sooner.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server that goes with the runtime of its test.
pub(crate) struct Api {
    pub(crate) addr: SocketAddr,
    age: Age,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) token: String,
    pub(crate) body: Value,
}

#[derive(Default)]
struct State {
    /// What was changed last.
    version: u64,
    /// By collection, and by name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    changes: Vec<Change>,
    /// From here on the changes are known.
    known_from: u64,
    asked: Vec<Asked>,
    /// What is answered in place of what would be, by the path.
    answers: BTreeMap<(Method, String), VecDeque<(u16, Value)>>,
}

struct Change {
    version: u64,
    collection: String,
    kind: &'static str,
    object: Value,
}

/// What a path names.
struct Place {
    collection: String,
    name: Option<String>,
    subresource: Option<String>,
}

// === impl Asked ===

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|watch| watch == "true" || watch == "1")
    }

    /// Whether it is about this kind of object.
    pub(crate) fn is_of(&self, plural: &str) -> bool {
        place(&self.path).collection.ends_with(&format!("/{plural}"))
    }
}

// === impl Api ===

impl Api {
    pub(crate) async fn start(age: Age) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let api = Arc::new(Self { addr, age, state: Mutex::default(), changed: watch::Sender::new(0) });
        let served = Arc::clone(&api);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let api = Arc::clone(&served);
                let service = service_fn(move |request| {
                    let api = Arc::clone(&api);
                    async move { Ok::<_, Infallible>(api.serve(request).await) }
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection.with_upgrades());
            }
        });
        api
    }

    /// Makes or changes an object.
    pub(crate) fn put(&self, collection: &str, object: Value) {
        self.lock().put(collection, object);
        self.tell();
    }

    /// Changes objects in a way that no watch is told of, and ends every watch with 410, as a server does that no longer
    /// has the changes since.
    pub(crate) fn lose(&self, gone: &[(&str, &str)], made: Vec<(&str, Value)>) {
        let mut state = self.lock();
        gone.iter().for_each(|(collection, name)| state.remove(collection, name));
        for (collection, object) in made {
            state.put(collection, object);
        }
        state.changes.clear();
        state.version += 1;
        state.known_from = state.version;
        drop(state);
        self.tell();
    }

    /// Answers the next request of this kind so; a string is text, with 200.
    pub(crate) fn answer(&self, method: Method, path: &str, code: u16, body: Value) {
        self.lock().answers.entry((method, path.to_owned())).or_default().push_back((code, body));
    }

    pub(crate) fn object(&self, collection: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(collection)?.get(name).cloned()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Waits until what was asked is this.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&[Asked]) -> bool) {
        let mut changed = self.changed.subscribe();
        let until = changed.wait_for(|_| holds(&self.lock().asked));
        let held = tokio::time::timeout(LIMIT, until).await.is_ok();
        assert!(held, "it was never asked for {what}");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    async fn serve(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let pairs = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
        let query: BTreeMap<String, String> = pairs.into_owned().collect();
        let token = request.headers().get("authorization").and_then(|token| token.to_str().ok());
        let token = token.unwrap_or_default().to_owned();
        let mut asked = Asked { method, path, query, token, body: Value::Null };
        if asked.path.ends_with("/portforward") {
            return match self.note(asked) {
                Some((code, body)) => answer(code, &body),
                None => forwarded::upgraded(request),
            };
        }
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        asked.body = serde_json::from_slice(&body).unwrap_or_default();
        let planned = self.note(asked.clone());
        match planned {
            Some((_, Value::String(lines))) => text(Bytes::from(lines)),
            Some((code, body)) => answer(code, &body),
            None => self.answered(&asked),
        }
    }

    fn note(&self, asked: Asked) -> Option<(u16, Value)> {
        let mut state = self.lock();
        let key = (asked.method.clone(), asked.path.clone());
        state.asked.push(asked);
        let planned = state.answers.get_mut(&key).and_then(VecDeque::pop_front);
        drop(state);
        self.tell();
        planned
    }

    fn answered(self: &Arc<Self>, asked: &Asked) -> Response<Body> {
        match asked.path.as_str() {
            "/apis" => return answer(200, &self.age.groups()),
            "/api/v1" => return answer(200, &self.age.core()),
            _ => {}
        }
        let place = place(&asked.path);
        let (collection, name) = (place.collection.as_str(), place.name.as_deref());
        let mut state = self.lock();
        let answered = match (asked.method.as_str(), name, place.subresource.as_deref()) {
            ("GET", Some(_), Some("log")) => text(Bytes::new()),
            ("POST", Some(_), Some("eviction")) => answer(201, &success()),
            ("GET", None, None) if asked.is_watch() => {
                let from = asked.query.get("resourceVersion").and_then(|from| from.parse().ok());
                drop(state);
                return self.watched(asked, from.unwrap_or(0));
            }
            ("GET", None, None) => answer(200, &state.list(asked)),
            ("GET", Some(name), None) => match state.objects.get(collection).and_then(|all| all.get(name)) {
                Some(object) => answer(200, object),
                None => answer(404, &failure(404, "NotFound", &format!("{name} not found"))),
            },
            ("PATCH", Some(name), None) => answer(200, &state.apply(collection, name, asked.body.clone())),
            ("POST", None, None) => answer(201, &state.put(collection, started(asked.body.clone()))),
            ("DELETE", Some(name), None) => {
                state.remove(collection, name);
                answer(200, &success())
            }
            ("DELETE", None, None) => {
                let all = state.objects.get(collection).cloned().unwrap_or_default();
                all.keys().for_each(|name| state.remove(collection, name));
                answer(200, &success())
            }
            _ => answer(405, &failure(405, "MethodNotAllowed", "no test asks for this")),
        };
        drop(state);
        self.tell();
        answered
    }

    fn watched(self: &Arc<Self>, asked: &Asked, from: u64) -> Response<Body> {
        let told = (Arc::clone(self), self.changed.subscribe(), asked.clone(), Some(from));
        let told = stream::unfold(told, |(api, mut changed, asked, from)| async move {
            let from = from?;
            loop {
                changed.borrow_and_update();
                let (text, next) = api.lock().since(&asked, from);
                if !text.is_empty() {
                    let frame = Ok::<_, Infallible>(Frame::data(Bytes::from(text)));
                    return Some((frame, (api, changed, asked, next)));
                }
                changed.changed().await.ok()?;
            }
        });
        let body = StreamBody::new(told).boxed_unsync();
        Response::builder().header("content-type", "application/json").body(body).unwrap()
    }
}

// === impl State ===

impl State {
    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        self.version += 1;
        let version = self.version;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let known = self.objects.entry(collection.to_owned()).or_default();
        let kind = if known.insert(name, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        let collection = collection.to_owned();
        self.changes.push(Change { version, collection, kind, object: object.clone() });
        object
    }

    fn remove(&mut self, collection: &str, name: &str) {
        let Some(mut object) = self.objects.get_mut(collection).and_then(|all| all.remove(name)) else {
            return;
        };
        self.version += 1;
        let version = self.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let collection = collection.to_owned();
        self.changes.push(Change { version, collection, kind: "DELETED", object });
    }

    /// Server-side apply by the only manager that there is.
    fn apply(&mut self, collection: &str, name: &str, mut object: Value) -> Value {
        let before = self.objects.get(collection).and_then(|all| all.get(name)).cloned().unwrap_or_default();
        let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
        let is_changed = before["spec"] != object["spec"];
        object["metadata"]["generation"] = json!(generation + i64::from(is_changed));
        if before["status"].is_object() {
            object["status"] = before["status"].clone();
        }
        match object["kind"].as_str() {
            Some("Namespace") => {
                let account = json!({ "metadata": { "name": "default", "namespace": name } });
                self.put(&format!("{collection}/{name}/serviceaccounts"), account);
            }
            Some("Service") => object["spec"]["clusterIP"] = json!("10.96.0.7"),
            _ => {}
        }
        self.put(collection, object)
    }

    fn list(&self, asked: &Asked) -> Value {
        let all = self.objects.get(&place(&asked.path).collection);
        let items: Vec<&Value> =
            all.into_iter().flat_map(BTreeMap::values).filter(|object| is_selected(object, asked)).collect();
        let version = self.version.max(1).to_string();
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": version }, "items": items })
    }

    /// The changes since a version, one a line, and since when to ask next; nowhere once they are not known.
    fn since(&self, asked: &Asked, from: u64) -> (String, Option<u64>) {
        if from < self.known_from {
            let gone = failure(410, "Expired", "too old resource version");
            return (format!("{}\n", json!({ "type": "ERROR", "object": gone })), None);
        }
        let collection = place(&asked.path).collection;
        let new =
            self.changes.iter().filter(|change| change.version > from && change.collection == collection);
        let new = new.filter(|change| is_selected(&change.object, asked));
        let lines =
            new.map(|change| format!("{}\n", json!({ "type": change.kind, "object": change.object })));
        (lines.collect(), Some(self.version))
    }
}

// === helpers ===

/// What the API says when it does not do what it was asked.
pub(crate) fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code })
}

fn success() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })
}

fn answer(code: u16, body: &Value) -> Response<Body> {
    let mut response = text(Bytes::from(body.to_string()));
    *response.status_mut() = code.try_into().unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn text(text: Bytes) -> Response<Body> {
    Response::new(Full::new(text).boxed_unsync())
}

/// A relay's pod as its kubelet has it soon; others are as they were made.
fn started(mut pod: Value) -> Value {
    if pod["spec"]["containers"][0]["name"] == "relay" {
        pod["status"] = json!({ "containerStatuses": [{ "name": "relay", "image": "", "imageID": "", "ready": true,
                                                        "restartCount": 0, "state": { "running": {} } }] });
    }
    pod
}

fn place(path: &str) -> Place {
    let segments: Vec<&str> = path.split('/').collect();
    // `/api/VERSION/..` or `/apis/GROUP/VERSION/..`, and then `namespaces/NAMESPACE/KIND/..` or `KIND/..`.
    let first = if segments.get(1) == Some(&"api") { 3 } else { 4 };
    let is_within = segments.get(first) == Some(&"namespaces") && segments.len() > first + 2;
    let kind = if is_within { first + 2 } else { first };
    let part = |idx: usize| segments.get(idx).map(|part| (*part).to_owned());
    let collection = segments.iter().take(kind + 1).copied().collect::<Vec<_>>().join("/");
    Place { collection, name: part(kind + 1), subresource: part(kind + 2) }
}

/// The selectors that the harness uses: one name, labels with their values, and labels that are not there.
fn is_selected(object: &Value, asked: &Asked) -> bool {
    let metadata = &object["metadata"];
    let is_named = |selector: &String| selector.strip_prefix("metadata.name=") == metadata["name"].as_str();
    let is_labelled = |selector: &str| match selector.split_once('=') {
        Some((label, value)) => metadata["labels"][label] == value,
        None => metadata["labels"].get(selector.trim_start_matches('!')).is_none(),
    };
    asked.query.get("fieldSelector").is_none_or(is_named)
        && asked.query.get("labelSelector").is_none_or(|all| all.split(',').all(is_labelled))
}
