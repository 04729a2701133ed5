//! Manifests in the shapes that people have: what is chosen among many objects, and what is refused in which words.

use std::fs;

use harness::cluster::manifest::{Choice, ManifestError, Manifests};
use rstest::rstest;

/// A workload of this kind with this pod.
fn workload(kind: &str, name: &str, pod: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {pod}\n"
    )
}

fn deployment(name: &str) -> String {
    workload("Deployment", name, &format!("{{containers: [{{name: {name}, image: '{name}:1'}}]}}"))
}

fn service(name: &str, app: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {app}}}{rest}}}\n"
    )
}

fn read(text: &str, choice: &Choice) -> Result<Manifests, ManifestError> {
    Manifests::parse_for(&[("all.yaml", text)], choice)
}

fn named(manifests: &Manifests) -> (&str, &str) {
    let name = |name: &Option<String>| name.clone().unwrap_or_default().leak() as &str;
    (name(&manifests.deployment.metadata.name), name(&manifests.service.metadata.name))
}

fn image(image: &str) -> Choice {
    Choice { images: vec![image.to_owned()], ..Choice::default() }
}

const PORTS: &str = ", ports: [{port: 80}]";

#[test]
fn the_hub_is_the_workload_whose_image_is_named() {
    let text = [
        deployment("hub"),
        deployment("cache"),
        service("cache-svc", "cache", PORTS),
        service("hub-svc", "hub", PORTS),
    ]
    .concat();
    let found = read(&text, &image("hub:1")).unwrap();
    assert_eq!(named(&found), ("hub", "hub-svc"));
    assert_eq!(found.others, ["deployment/cache", "service/cache-svc"]);
    let by_name = Choice { deployment: Some("cache".to_owned()), ..Choice::default() };
    assert_eq!(named(&read(&text, &by_name).unwrap()), ("cache", "cache-svc"));
    let error = read(&text, &Choice::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the hub could be Deployment hub (hub:1, all.yaml:2), Deployment cache (cache:1, all.yaml:11)"
    );
    assert_eq!(error.hint().as_deref(), Some("choose by `--deployment NAME`"));
    let wrong = Choice { deployment: Some("hubb".to_owned()), ..Choice::default() };
    assert!(
        read(&text, &wrong)
            .unwrap_err()
            .to_string()
            .starts_with("`--deployment hubb` is not in the manifests")
    );
}

#[test]
fn a_stateful_set_is_a_hub_and_a_headless_service_is_not_its_way_in() {
    let pod = "{containers: [{name: hub, image: 'hub:1', ports: [{name: http, containerPort: 8000}]}]}";
    let text = [
        workload("StatefulSet", "hub", pod),
        service("hub-headless", "hub", ", clusterIP: None, ports: [{port: 8000}]"),
        service("hub", "hub", ", ports: [{port: 80, targetPort: http}]"),
    ]
    .concat();
    let found = read(&text, &Choice::default()).unwrap();
    assert_eq!(named(&found), ("hub", "hub"));
    assert!(
        found.remarks()[0].starts_with("the StatefulSet hub is run as a Deployment"),
        "{:?}",
        found.remarks()
    );
}

#[test]
fn the_port_for_mcp_and_the_container_of_the_hub_come_first() {
    let pod = "{containers: [{name: side, image: 'side:1'}, {name: hub, image: 'hub:1', ports: [{name: metrics, containerPort: 9090}, \
               {name: http, containerPort: 8000}]}]}";
    let ports = ", ports: [{name: metrics, port: 9090, targetPort: metrics}, {name: http, port: 80, targetPort: http}]";
    let text = [workload("Deployment", "hub", pod), service("hub", "hub", ports)].concat();
    let found = read(&text, &image("hub:1")).unwrap();
    let containers = &found.deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers;
    assert_eq!((containers[0].name.as_str(), containers[1].name.as_str()), ("hub", "side"));
    assert_eq!(containers[0].ports.as_ref().unwrap()[0].container_port, 8000);
    assert_eq!(found.service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port, 80);
    let side = Choice { container: Some("side".to_owned()), ..Choice::default() };
    let found = read(&text, &side).unwrap();
    assert_eq!(found.image(), Some("side:1"));
}

#[test]
fn lists_json_byte_order_marks_and_windows_line_ends_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("base");
    fs::create_dir(&inner).unwrap();
    let list = "\u{feff}apiVersion: v1\r\nkind: List\r\nitems:\r\n- apiVersion: apps/v1\r\n  kind: Deployment\r\n  metadata: {name: hub}\r\n  \
                spec: {template: {spec: {containers: [{name: hub, image: 'hub:1'}]}}}\r\n---\r\n\r\n---\r\n# nothing\r\n";
    let json = "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"hub\"}, \"spec\": {\"ports\": [{\"port\": 80}]}\n}";
    fs::write(inner.join("a.yml"), list).unwrap();
    fs::write(inner.join("b.json"), json).unwrap();
    let found = Manifests::read(&[folder.path().to_owned()]).unwrap();
    assert_eq!(named(&found), ("hub", "hub"), "what has no file of its own is read with its subfolders");
    fs::write(folder.path().join("all.yaml"), deployment("top") + &service("top", "top", PORTS)).unwrap();
    let found = Manifests::read(&[folder.path().to_owned()]).unwrap();
    assert_eq!(named(&found), ("top", "top"));
    assert!(found.remarks()[0].contains("base/"), "{:?}", found.remarks());
}

#[test]
fn an_autoscaler_says_how_many_replicas() {
    let scaler = "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec: {minReplicas: 3, \
                  scaleTargetRef: {kind: Deployment, name: hub}}\n";
    let text = [&deployment("hub"), scaler, &service("hub", "hub", PORTS)].concat();
    assert_eq!(read(&text, &Choice::default()).unwrap().replicas(), 3);
}

#[rstest]
#[case::chart_template(
    "kind: Service\nmetadata: {name: {{ .Values.name }}}\n",
    "all.yaml:2: this is a template of a Helm chart"
)]
#[case::no_name(
    "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{image: a}]}}}\n",
    "has no `metadata.name`"
)]
#[case::no_container(&workload("Deployment", "hub", "{containers: []}"), "all.yaml:9: Deployment hub: has no container")]
#[case::no_image(&workload("Deployment", "hub", "{containers: [{name: a}]}"), "`spec.template.spec.containers[0]` has no `image`")]
#[case::port_beyond(&workload("Deployment", "hub", "{containers: [{name: a, image: a, ports: [{containerPort: 99999}]}]}"), "`containerPort` is 99999; ports are 1 to 65535")]
#[case::port_in_quotes(&workload("Deployment", "hub", "{containers: [{name: a, image: a, ports: [{containerPort: '80'}]}]}"), "`spec.template.spec.containers[0].ports[0].containerPort` is \"80\" and must be a whole number")]
#[case::number_as_env(&workload("Deployment", "hub", "{containers: [{name: a, image: a, env: [{name: A, value: 8}]}]}"), "is 8 and must be text: write it in quotes")]
#[case::no_quantity(&workload("Deployment", "hub", "{containers: [{name: a, image: a, resources: {limits: {memory: lots}}}]}"), "`resources.limits.memory` is `lots`, which is no quantity such as 512Mi")]
#[case::selector(
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: hub}\nspec:\n  selector: {matchLabels: {app: a}}\n  template: {metadata: {labels: {app: b}}, spec: {containers: [{image: a}]}}\n",
    "all.yaml:5: Deployment hub: the selector wants `app: a`"
)]
#[case::target_port(&service("s", "hub", ", ports: [{port: 80, targetPort: 99999}]"), "`targetPort` is 99999; ports are 1 to 65535")]
#[case::escape_codes(
    "apiVersion: v1\nkind: \"\\e[31mred\"\nmetadata: {name: x}\n",
    "there is \\u{1b}[31mred/x"
)]
fn bad_values_are_told_with_their_place(#[case] text: &str, #[case] expected: &str) {
    let told = read(text, &Choice::default()).unwrap_err().to_string();
    assert!(told.contains(expected), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn what_is_named_and_in_no_file_is_told_where_it_is_named() {
    let pod = "{containers: [{name: hub, image: 'hub:1', envFrom: [{secretRef: {name: db}}, {configMapRef: {name: c, optional: true}}]}]}";
    let text = workload("Deployment", "hub", pod) + &service("hub", "hub", PORTS);
    let error = read(&text, &Choice::default()).unwrap_err();
    assert_eq!(error.to_string(), "all.yaml:9: Secret `db` is named here and is in no file");
    assert!(error.hint().unwrap().contains("kubectl create secret generic db"), "{:?}", error.hint());
    let pod = "{containers: [{name: hub, image: 'hub:1'}], volumes: [{name: v, secret: {secretName: key}}]}";
    let text = workload("Deployment", "hub", pod) + &service("hub", "hub", PORTS);
    let error = read(&text, &Choice::default()).unwrap().mounts_are_there().unwrap_err();
    assert!(error.to_string().contains("Secret `key` is named here"), "{error}");
}

#[test]
fn a_service_in_another_namespace_selects_nothing() {
    let text = deployment("hub").replace("{name: hub}\nspec", "{name: hub, namespace: a}\nspec")
        + &service("hub", "hub", PORTS).replace("{name: hub}", "{name: hub, namespace: b}");
    let told = read(&text, &Choice::default()).unwrap_err().to_string();
    assert!(told.contains("in the namespace b and the Deployment hub in a"), "{told}");
}

#[test]
fn folders_that_need_a_program_first_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("templates")).unwrap();
    fs::write(folder.path().join("Chart.yaml"), "name: x\n").unwrap();
    fs::write(folder.path().join("templates/d.yaml"), "kind: {{ .Values.x }}\n").unwrap();
    for path in [folder.path().to_owned(), folder.path().join("templates")] {
        let error = Manifests::read(&[path]).unwrap_err();
        assert!(matches!(error, ManifestError::Chart { .. }), "{error}");
        assert!(error.hint().unwrap().contains("--chart"), "{:?}", error.hint());
    }
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("kustomization.yaml"), "resources: []\n").unwrap();
    let error = Manifests::read(&[other.path().to_owned()]).unwrap_err();
    assert!(matches!(error, ManifestError::Kustomization { .. }), "{error}");
}

#[test]
fn a_pipe_and_a_giant_are_no_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.yaml");
    fs::write(&large, vec![b'#'; 9 << 20]).unwrap();
    let error = Manifests::read(&[large]).unwrap_err().to_string();
    assert!(error.contains("larger than 8 MiB"), "{error}");
    let error = Manifests::read(&["/dev/null".into()]).unwrap_err().to_string();
    assert_eq!(error, "/dev/null is no file");
}

#[test]
fn anchors_that_explode_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let of = level - 1;
        text += &format!(
            "a{level}: &a{level} [*a{of}, *a{of}, *a{of}, *a{of}, *a{of}, *a{of}, *a{of}, *a{of}, *a{of}]\n"
        );
    }
    let error = read(&text, &Choice::default()).unwrap_err().to_string();
    assert!(error.starts_with("all.yaml:"), "{error}");
    assert!(error.len() < 300, "{error}");
}
