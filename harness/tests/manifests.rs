//! Manifests: what is read, what is refused, and what the local backend leaves out.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::cluster::manifest::Manifests;

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: hub}\nspec:\n  template:\n    spec:\n      containers: [{name: hub, image: hub}]\n";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: hub}\nspec:\n  ports: [{port: 80}]\n";

fn refused(text: &str) -> String {
    Manifests::parse(&[("kind/foo.yaml", text)]).expect_err("it is wrong").to_string()
}

#[test]
fn what_is_wrong_is_one_line_with_its_place() {
    let cases = [
        (SERVICE.to_owned(), "there is no Deployment in kind/foo.yaml"),
        (DEPLOYMENT.to_owned(), "there is no Service in kind/foo.yaml"),
        (
            format!("# twice\n{DEPLOYMENT}---\n{DEPLOYMENT}---\n{SERVICE}"),
            "Deployment hub stands twice, at kind/foo.yaml:2 and at kind/foo.yaml:10; leave one",
        ),
        ("a: 1\n".to_owned(), "kind/foo.yaml:1: no apiVersion and kind: not a Kubernetes object"),
        (
            format!("{SERVICE}---\n\nkind: Deployment\napiVersion: apps/v1beta1\n"),
            "kind/foo.yaml:9: Deployment of apps/v1beta1 is not supported",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(&text), expected);
    }
}

#[test]
fn a_syntax_error_names_its_line() {
    let text = format!("{SERVICE}---\napiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: many\n");
    let message = refused(&text);
    assert_eq!(
        message,
        "kind/foo.yaml:10: Deployment: `spec.replicas` is \"many\" and must be a whole number"
    );
    let message = refused("apiVersion: v1\nkind: [Service\nspec: 1\n");
    assert!(message.starts_with("kind/foo.yaml:3: not YAML: "), "{message}");
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn an_error_in_a_secret_does_not_show_it() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  A: hunter2!!\n";
    assert_eq!(refused(text), "kind/foo.yaml:5: Secret s: `data.A` is not base64");
}

#[test]
fn our_own_are_read_from_the_binary_and_from_their_directory() {
    let ours = Manifests::embedded().unwrap();
    assert_eq!((ours.replicas(), ours.image()), (2, Some("mcp-hub:dev")));
    assert_eq!(ours.secret_values().len(), 4);
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../kind");
    let whole = Manifests::read(std::slice::from_ref(&dir)).unwrap();
    assert_eq!((&whole.deployment, &whole.service), (&ours.deployment, &ours.service));
    assert_eq!(whole.others, [""; 0], "the definition of the cluster is not one of them");
    let files = ["deployment.yaml", "affinity/client-ip.yaml", "secret.yaml"].map(|name| dir.join(name));
    let read = Manifests::read(&files).unwrap();
    let mut edited = ours.clone();
    edited.set_affinity(Some(Duration::from_secs(10_800)));
    assert_eq!(edited.service, read.service, "the variant is the same Service with affinity");
    let shown = format!("{ours:?}");
    assert!(ours.secret_values().iter().all(|secret| !shown.contains(&secret.value)), "{shown}");
}

#[test]
fn a_directory_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {A: b}\n";
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\n";
    fs::write(dir.path().join("all.yaml"), format!("---\n{DEPLOYMENT}---\n# nothing\n---\n{SERVICE}"))
        .unwrap();
    fs::write(dir.path().join("more.yml"), format!("{config_map}---\n{ingress}")).unwrap();
    fs::write(dir.path().join("README.md"), "not: [yaml").unwrap();
    let read = Manifests::read(&[dir.path().to_owned()]).unwrap();
    assert_eq!((read.config_maps.len(), read.others), (1, vec!["ingress/i".to_owned()]));
    let missing = Manifests::read(&[dir.path().join("none.yaml")]).unwrap_err().to_string();
    assert!(missing.contains("none.yaml: No such file"), "{missing}");
}

#[test]
fn fields_that_are_not_honoured_are_listed_once() {
    let ours = Manifests::embedded().unwrap();
    assert_eq!(
        ours.not_simulated(),
        [
            "deployment mcp-hub: spec.template.spec.automountServiceAccountToken",
            "deployment mcp-hub: spec.template.spec.containers[].imagePullPolicy",
            "deployment mcp-hub: spec.template.spec.containers[].resources.requests",
            "deployment mcp-hub: spec.template.spec.containers[].securityContext",
            "deployment mcp-hub: spec.template.spec.securityContext",
            "deployment mcp-hub: spec.template.spec.topologySpreadConstraints",
            "service mcp-hub-service: spec.ports[].nodePort",
            "service mcp-hub-service: spec.type",
        ]
    );
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: hub}\nspec:\n  minReadySeconds: 3\n  \
        template:\n    spec:\n      containers:\n      - name: hub\n        image: hub\n        readinesProbe: {}\n        \
        readinessProbe: {httpGet: {port: 1, scheme: HTTPS, host: a}}\n        env:\n        \
        - {name: A, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}\n      \
        - {name: sidecar, image: side}\n";
    let read = Manifests::parse(&[("a.yaml", text), ("b.yaml", SERVICE)]).unwrap();
    assert_eq!(
        read.not_simulated(),
        [
            "deployment hub: spec.minReadySeconds",
            "deployment hub: spec.template.spec.containers[].env[].valueFrom.fieldRef.fieldPath: spec.nodeName",
            "deployment hub: spec.template.spec.containers[].readinessProbe.httpGet.host",
            "deployment hub: spec.template.spec.containers[].readinessProbe.httpGet.scheme: HTTPS",
            "deployment hub: spec.template.spec.containers[1]",
            "deployment hub: spec.template.spec.containers[].readinesProbe (no such field in Kubernetes)",
        ]
    );
}

#[test]
fn a_secret_that_stands_in_clear_is_one_too() {
    let env = "env: [{name: API_TOKEN, value: hush-1}, {name: NEEDED_SECRETS, value: 'API_TOKEN,DB_URL'}, {name: DB_URL, value: 'db://u:hush-2@h'}]";
    let deployment = DEPLOYMENT.replace("image: hub", &format!("image: hub, {env}"));
    let map =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hub}\ndata: {GITHUB_PAT: hush-3, MODE: fast}\n";
    let text = format!("{deployment}---\n{SERVICE}---\n{map}");
    let manifests = Manifests::parse(&[("kind/foo.yaml", &text)]).expect("they are right");
    let secrets = manifests.secret_values();
    let told: Vec<_> = secrets.iter().map(|secret| (secret.name.as_str(), secret.value.as_str())).collect();
    assert_eq!(told, [("API_TOKEN", "hush-1"), ("DB_URL", "hush-2"), ("GITHUB_PAT", "hush-3")]);
}
