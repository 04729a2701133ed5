//! What a cluster refuses, in one clear line.

use std::time::Duration;

use harness::cluster::Condition;
use harness::transcript::What;
use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::ages::V1_37;
use super::api::{Api, Asked, failure};
use super::cell::{USER, core, of, site, up, up_on};
use super::objects::{ended, pod};

fn unauthorized() -> Value {
    failure(401, "Unauthorized", "Unauthorized")
}

fn forbidden(message: &str) -> Value {
    failure(403, "Forbidden", message)
}

#[tokio::test]
async fn credentials_that_have_expired() {
    for path in ["/apis", "/api/v1"] {
        let api = Api::start(V1_37).await;
        api.answer(Method::GET, path, 401, unauthorized());
        let folder = tempfile::tempdir().unwrap();
        let error = site(&api, folder.path(), USER).await.map(drop).unwrap_err().to_string();
        let cluster = format!("the cluster of context `dev` (http://{}/)", api.addr);
        assert_eq!(
            error,
            format!(
                "{cluster} cannot be used: it does not accept the credentials (401 Unauthorized): they are wrong or have expired"
            )
        );
    }
}

#[tokio::test]
async fn whoever_may_not_ask_what_is_served() {
    let api = Api::start(V1_37).await;
    api.answer(Method::GET, "/apis", 403, forbidden("forbidden: User \"me\" cannot get path \"/apis\""));
    let folder = tempfile::tempdir().unwrap();
    let error = site(&api, folder.path(), USER).await.map(drop).unwrap_err().to_string();
    let cluster = format!("the cluster of context `dev` (http://{}/)", api.addr);
    assert_eq!(
        error,
        format!(
            "{cluster} cannot be used: it does not let these credentials ask what it serves (403): forbidden: User \"me\" cannot get path \"/apis\""
        )
    );
}

#[tokio::test]
async fn whoever_may_not_make_namespaces() {
    let api = Api::start(V1_37).await;
    let path = "/api/v1/namespaces/hubcheck-run-clients";
    api.answer(
        Method::PATCH,
        path,
        403,
        forbidden("namespaces \"hubcheck-run-clients\" is forbidden: User \"me\" cannot patch it"),
    );
    let error = up_on(api).await.map(drop).unwrap_err().to_string();
    assert_eq!(
        error,
        "making namespace hubcheck-run-clients: namespaces \"hubcheck-run-clients\" is forbidden: User \"me\" cannot patch it (403)"
    );
}

#[tokio::test]
async fn whoever_may_not_forward_to_pods() {
    let api = Api::start(V1_37).await;
    let refused = "pods \"relay-0\" is forbidden: User \"me\" cannot create resource \"pods/portforward\"";
    let path = "/api/v1/namespaces/hubcheck-run-clients/pods/relay-0/portforward";
    api.answer(Method::GET, path, 403, forbidden(refused));
    let error = up_on(api).await.map(drop).unwrap_err().to_string();
    assert_eq!(error, format!("image hub:1 does not run as a relay: forwarding to relay-0: {refused} (403)"));
}

#[tokio::test]
async fn a_cluster_that_lets_no_such_pod_run() {
    let cell = up(V1_37).await;
    let mut deployment = cell.api.object(&of("apps/v1", "deployments"), "mcp-hub").unwrap();
    let refused = "pods \"mcp-hub-1-a\" is forbidden: violates PodSecurity \"restricted:latest\"";
    // None are wanted any more, so that there is something to wait for.
    deployment["spec"]["replicas"] = json!(0);
    let conditions =
        json!([{ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused }]);
    deployment["status"] = json!({ "observedGeneration": 1, "conditions": conditions });
    cell.api.put(&of("apps/v1", "deployments"), deployment);
    cell.wait(Condition::RolledOut).await;
    let seen = cell.cell.wait(&Condition::Ready(2), Duration::ZERO).await.unwrap_err().last_seen;
    assert_eq!(seen, format!("no more pods: FailedCreate ({refused}); no pods, 0 wanted"));
}

#[tokio::test]
async fn credentials_that_expire_while_a_cell_begins() {
    let api = Api::start(V1_37).await;
    api.answer(Method::PATCH, &format!("{}/mcp-hub-service", core("services")), 401, unauthorized());
    let error = up_on(api).await.map(drop).unwrap_err().to_string();
    assert_eq!(error, "applying service mcp-hub-service: Unauthorized (401)");
}

#[tokio::test]
async fn whoever_may_not_see_pods_as_long_as_it_is_so() {
    let api = Api::start(V1_37).await;
    let refused = "pods is forbidden: User \"me\" cannot list resource \"pods\"";
    for _ in 0..2 {
        api.answer(Method::GET, &core("pods"), 403, forbidden(refused));
    }
    let cell = up_on(api).await.unwrap();
    // When it asks again, it has heard the first answer.
    let listed = |asked: &[Asked]| asked.iter().filter(|asked| asked.path == core("pods")).count();
    cell.api.until("pods, again", |asked| listed(asked) == 2).await;
    let last_seen =
        || async { cell.cell.wait(&Condition::Ready(1), Duration::ZERO).await.unwrap_err().last_seen };
    let expected = format!("the API does not tell: {refused} (403); no pods, ");
    let seen = last_seen().await;
    assert!(seen.starts_with(&expected) && seen.lines().count() == 1, "{seen}");
    let gone = Condition::State { replica: "a".to_owned(), reason: "Completed".to_owned() };
    cell.put("pods", ended(pod("a", "10.244.1.5", false)));
    cell.wait(gone).await;
    let seen = last_seen().await;
    assert!(seen.starts_with("a Running"), "{seen}");
}

#[tokio::test]
async fn a_plugin_that_logs_in_is_asked_for_the_credentials() {
    let credential = json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                             "status": { "token": "of-the-plugin" } });
    let user = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['{credential}'], interactiveMode: Never}}"
    );
    let api = Api::start(V1_37).await;
    let folder = tempfile::tempdir().unwrap();
    site(&api, folder.path(), &user).await.map(drop).unwrap();
    let tokens: Vec<String> = api.asked().into_iter().map(|asked| asked.token).collect();
    assert_eq!(tokens, ["Bearer of-the-plugin", "Bearer of-the-plugin"]);
}

#[tokio::test]
async fn a_token_of_the_kubeconfig_is_sent_with_everything() {
    let cell = up(V1_37).await;
    assert!(cell.api.asked().iter().all(|asked| asked.token == "Bearer let-me-in"));
}

#[tokio::test]
async fn a_client_whose_relay_is_lost_is_not_the_hubs_fault() {
    let cell = up(V1_37).await;
    let path = "/api/v1/namespaces/hubcheck-run-clients/pods/relay-0/portforward";
    let lost = json!({ "kind": "Status", "status": "Failure", "code": 404, "message": "pods \"relay-0\" not found" });
    let connect = || async {
        let mut client = TcpStream::connect(cell.cell.service()).await.unwrap();
        client.read(&mut [0]).await.unwrap_err()
    };
    let broken = || {
        let entries = cell.recorder.entries().into_iter();
        let reason = |what| if let What::Broken { reason } = what { Some(reason) } else { None };
        entries.filter_map(|entry| reason(entry.what)).collect::<Vec<_>>()
    };
    // The relay is there, and nobody is where it is to connect to.
    connect().await;
    assert_eq!(broken(), Vec::<String>::new());
    cell.api.answer(Method::GET, path, 404, lost);
    connect().await;
    assert_eq!(
        broken(),
        [
            "a wire client has no way into the cluster: forwarding to relay-0: pods \"relay-0\" not found (404)"
        ]
    );
}
