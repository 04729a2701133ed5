//! A cluster that cannot be used is told in one clear line, with exit code 3: no cluster, a wrong kubeconfig, expired
//! credentials. No real cluster is needed to see that.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use insta::assert_snapshot;

#[test]
fn a_context_must_be_named() {
    let folder = with_kubeconfig("http://127.0.0.1:9", "");
    assert_snapshot!(told(folder.path(), &["--kubeconfig", "config"]), @"
    exit code: 2
    error: `--backend kube` runs only on a cluster that is named

    hint: give `--context NAME`, one of `kubectl config get-contexts`: the current one is not taken for granted
    ");
}

#[test]
fn an_unknown_context_names_the_known_ones() {
    let folder = with_kubeconfig("http://127.0.0.1:9", "");
    assert_snapshot!(told(folder.path(), &["--kubeconfig", "config", "--context", "prod"]), @"
    exit code: 3
    error: the kubeconfig has no context `prod`; it has dev
    ");
}

#[test]
fn pods_behind_a_url_that_cannot_be_read_are_told() {
    let folder = with_kubeconfig("http://127.0.0.1:9", "");
    let url = ["run", "--url", "http://127.0.0.1:9/mcp", "--observe", "hub"];
    let told =
        run(folder.path(), &[url.as_slice(), &["--kubeconfig", "config", "--context", "prod"]].concat(), &[]);
    assert_snapshot!(told, @"
    exit code: 2
    error: `--observe`: the kubeconfig has no context `prod`; it has dev

    hint: `kubectl get pods` must work with the same `--context`, `--kubeconfig` and `--namespace`; without the flag, replicas are told apart by what they answer
    ");
}

#[test]
fn a_kubeconfig_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_snapshot!(told(folder.path(), &["--kubeconfig", "no-such-file", "--context", "dev"]), @"
    exit code: 3
    error: the kubeconfig: no-such-file: No such file or directory (os error 2)
    ");
}

#[test]
fn a_file_that_is_no_kubeconfig_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config"), "contexts: 7\n").expect("a file");
    let told = told(folder.path(), &["--kubeconfig", "config", "--context", "dev"]);
    assert!(told.starts_with("exit code: 3\nerror: the kubeconfig: not a kubeconfig: "), "{told}");
    assert_eq!(told.lines().count(), 2, "one line: {told}");
}

#[test]
fn a_port_that_nobody_listens_on_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let addr = taken.local_addr().expect("it has an address");
    drop(taken);
    let folder = with_kubeconfig(&format!("https://{addr}"), "");
    let told = told(folder.path(), &DEV).replace(&addr.to_string(), "ADDR");
    assert_snapshot!(told, @"
    exit code: 3
    error: the cluster of context `dev` (https://ADDR/) cannot be used: Connection refused (os error 111)
    ");
}

#[test]
fn credentials_that_are_refused_are_told() {
    let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#;
    let answer = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let addr = server(move |mut client| {
        let mut request = [0; 4096];
        let _ = client.read(&mut request);
        let _ = client.write_all(answer.as_bytes());
    });
    let folder = with_kubeconfig(&format!("http://{addr}"), "token: long-gone");
    let told = told(folder.path(), &DEV).replace(&addr, "ADDR");
    assert_snapshot!(told, @"
    exit code: 3
    error: the cluster of context `dev` (http://ADDR/) cannot be used: it does not accept the credentials (401 Unauthorized): they are wrong or have expired
    ");
}

#[test]
fn a_server_on_this_machine_is_reached_past_a_proxy() {
    let addr = server(|mut client| {
        let _ = client.read(&mut [0; 4096]);
        let _ = client.write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    });
    let folder = with_kubeconfig(&format!("http://{addr}"), "");
    let args = [&["run", "--backend", "kube", "--image", "hub:1"], DEV.as_slice()].concat();
    let told = run(folder.path(), &args, &[("HTTPS_PROXY", "http://192.0.2.1:3128")]).replace(&addr, "ADDR");
    assert!(told.contains("(http://ADDR/) cannot be used: it answers 500"), "{told}");
}

#[test]
fn credentials_that_cannot_be_had_are_told() {
    let addr = server(drop);
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: no-such-login, interactiveMode: Never}";
    let folder = with_kubeconfig(&format!("http://{addr}"), exec);
    let told = told(folder.path(), &DEV).replace(&addr, "ADDR");
    assert_snapshot!(told, @"
    exit code: 3
    error: the cluster of context `dev` (http://ADDR/) cannot be used: its credentials cannot be had: unable to run auth exec: No such file or directory (os error 2)
    ");
}

#[test]
fn a_certificate_that_has_expired_is_told() {
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], der.into())
        .expect("a certificate and its key");
    let config = Arc::new(config);
    let addr = server(move |mut client| {
        let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
        let _ = tls.complete_io(&mut client);
    });
    let folder = with_kubeconfig(&format!("https://{addr}"), "");
    std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("a file");
    let told = told(folder.path(), &DEV).replace(&addr, "ADDR");
    assert!(told.starts_with("exit code: 3\n"), "{told}");
    assert!(told.contains("(https://ADDR/) cannot be used: ") && told.contains("expired"), "{told}");
    assert_eq!(told.lines().count(), 2, "one line: {told}");
}

#[test]
fn a_server_that_says_nothing_is_told() {
    let addr = server(|mut client| {
        let _ = client.read_to_end(&mut Vec::new());
    });
    let folder = with_kubeconfig(&format!("http://{addr}"), "");
    let told = told(folder.path(), &DEV).replace(&addr, "ADDR");
    assert_snapshot!(told, @"
    exit code: 3
    error: the cluster of context `dev` (http://ADDR/) cannot be used: it does not answer within 10 s
    ");
}

#[test]
fn a_docker_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let docker = format!("unix://{}/no-docker.sock", folder.path().display());
    let told = run(folder.path(), &["run", "--backend", "kind"], &[("DOCKER_HOST", &docker)]);
    assert!(told.starts_with("exit code: 3\nerror: "), "{told}");
    assert!(told.contains("\n\nhint: `docker info` says") && told.lines().count() == 4, "{told}");
}

#[test]
fn a_cluster_that_somebody_else_made_is_left_alone_and_that_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("docker.sock");
    docker(&socket, |mut client| {
        let mut request = [0; 4096];
        // One request a connection: what is asked for says what is answered.
        let length = client.read(&mut request).unwrap_or_default();
        let asked = String::from_utf8_lossy(&request[..length]).into_owned();
        let body = match asked.split(' ').nth(1).unwrap_or_default() {
            path if path.contains("/containers/json") => r#"[{"Id":"n1","Labels":{}}]"#,
            path if path.contains("/containers/n1/json") => r#"{"Id":"n1","Name":"/theirs-control-plane"}"#,
            path if path.contains("/version") => r#"{"Version":"25.0.0","ApiVersion":"1.44"}"#,
            path => panic!("nothing else may be asked of Docker, and nothing changed: {path}"),
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        let _ = write!(client, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    });
    let docker = format!("unix://{}", socket.display());
    let told = run(folder.path(), &["down", "--cluster", "theirs"], &[("DOCKER_HOST", &docker)]);
    assert_snapshot!(told, @"
    exit code: 2
    error: there is a KIND cluster `theirs` that hubcheck did not make, which is not touched

    hint: give `--cluster NAME`, one that hubcheck made or a new one
    ");
}

const DEV: [&str; 4] = ["--kubeconfig", "config", "--context", "dev"];

/// A folder with a kubeconfig whose context `dev` leads to this server with this user.
fn with_kubeconfig(server: &str, user: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = if server.starts_with("https") { ", certificate-authority: ca.pem" } else { "" };
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dev\n\
         clusters: [{{name: far, cluster: {{server: '{server}'{ca}}}}}]\n\
         users: [{{name: me, user: {{{user}}}}}]\n\
         contexts: [{{name: dev, context: {{cluster: far, user: me}}}}]\n"
    );
    std::fs::write(folder.path().join("config"), text).expect("a file");
    std::fs::write(folder.path().join("ca.pem"), some_certificate()).expect("a file");
    folder
}

fn some_certificate() -> String {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate").cert.pem()
}

/// A server that does this with every connection, until the test ends; its address.
fn server(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let addr = listener.local_addr().expect("it has an address").to_string();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(client));
        }
    });
    addr
}

/// A Docker that does this with every connection, until the test ends.
fn docker(socket: &Path, answer: impl Fn(UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(socket).expect("a socket");
    thread::spawn(move || listener.incoming().flatten().for_each(answer));
}

fn told(folder: &Path, args: &[&str]) -> String {
    let args = [&["run", "--backend", "kube", "--image", "hub:1"], args].concat();
    run(folder, &args, &[])
}

/// Runs `hubcheck`; its exit code and what it said, progress aside.
fn run(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hubcheck"))
        .args(args)
        .env_remove("HUBCHECK_BACKEND")
        .env_remove("HUBCHECK_CONTEXT")
        .env_remove("KUBECONFIG")
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .env("HOME", folder)
        .env("XDG_STATE_HOME", folder)
        .envs(env.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("hubcheck runs");
    assert!(output.stdout.is_empty(), "nothing belongs on standard output");
    let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.trim_start().starts_with("Surveying")).collect();
    format!("exit code: {code}\n{}\n", said.join("\n"))
}
