//! What is wrong is said in one line before the hub listens.

mod support;

use std::net::TcpListener;

use support::{command, free_address};

fn fails(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = command(free_address(), args, env).output().expect("an end");
    let line = String::from_utf8(output.stderr).expect("text");
    assert_eq!(line.lines().count(), 1, "{line}");
    (output.status.code(), line.trim_end().to_owned())
}

#[test]
fn missing_secrets_are_named_and_values_never_are() {
    let env = [("REQUIRED_SECRETS", "POSTGRES_PASSWORD,QDRANT_API_KEY,"), ("QDRANT_API_KEY", "hidden")];
    let (code, line) = fails(&["--require-secret", "NEO4J_PASSWORD"], &env);
    assert_eq!(code, Some(2));
    assert_eq!(line, "required secrets are missing or empty in the environment: NEO4J_PASSWORD");
    let (_, line) = fails(&[], &env);
    assert_eq!(line, "required secrets are missing or empty in the environment: POSTGRES_PASSWORD");
}

#[test]
fn a_missing_or_short_key() {
    let (code, line) = fails(&[], &[("SESSION_KEY", "")]);
    assert_eq!(code, Some(2));
    assert!(line.starts_with("SESSION_KEY is missing: "), "{line}");
    let (code, line) = fails(&[], &[("SESSION_KEY", "secret")]);
    assert_eq!(code, Some(2));
    assert!(line.starts_with("SESSION_KEY is too short: ") && !line.contains("secret"), "{line}");
}

#[test]
fn an_unknown_defect() {
    let (code, line) = fails(&["--defect", "nope"], &[]);
    assert_eq!((code, line.as_str()), (Some(2), "unknown defect `nope`: see --list-defects"));
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind(free_address()).unwrap();
    let address = taken.local_addr().unwrap();
    let output = command(address, &[], &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("cannot listen on {address}: Address already in use (os error 98)\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}
