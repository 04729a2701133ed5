# The only task runner. `just` lists what there is.

set shell := ["bash", "-euo", "pipefail", "-c"]

_default:
    @just --list

# === checks ===

# Format, lints, dependencies
check:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo deny check

# Every test, the matrix on the embedded cluster included
test *args:
    cargo test --workspace {{args}}

# The matrix many times: every run must be the same
test-many times="20":
    cargo test --no-run -p scenarios --test matrix
    for run in $(seq {{times}}); do INSTA_UPDATE=no cargo test -q -p scenarios --test matrix; done

# The same matrix and the same snapshots on a real cluster (KIND: needs Docker and `kind`)
e2e:
    trap 'cargo run --release -- down' EXIT; \
        cargo run --release -- up; \
        HUBCHECK_BACKEND=kind INSTA_UPDATE=no cargo test -p scenarios --test matrix

# The same cells on `local` and on a KIND cluster, which stays: verdicts and transcripts must be the same
parity *filters:
    rm -rf target/parity
    -cargo run --release -- run --evidence target/parity/local {{filters}}
    -cargo run --release -- run --backend kind --keep --evidence target/parity/kind {{filters}}
    cargo run --release -- parity target/parity/local target/parity/kind --accepted scenarios/expected/parity.toml

# What a run leaves on a KIND cluster however it ends: makes and removes a cluster of its own, three times
e2e-cleanup:
    HUBCHECK_BACKEND=kind cargo test -p scenarios --test on_kind_cleanup

# The reference hub's image as a user's Docker runs it: needs Docker and no cluster
e2e-image:
    HUBCHECK_BACKEND=kind cargo test -p scenarios --test on_docker_image

# The official conformance suite (npm, pinned) against the reference hub: one replica, and two without affinity
official:
    python3 scenarios/clients/official.py

# Clients that people use, 100 sessions each, against two replicas without affinity (several minutes)
clients *args:
    python3 scenarios/clients/real.py {{args}}

# Real servers against their committed verdicts: `just peers [PEER..] [--jobs N] [--bless] [-- FILTER..]` (Python 3.10, Node 20)
peers *args:
    cargo build -p scenarios --bin hubcheck --example peers
    cargo run -q -p scenarios --example peers -- {{args}}

# Faults and hubs of other people against the table of right verdicts: `just strangers [--quick] [--cases DIR] [ROW..]`
strangers *args:
    cargo build -p scenarios --bin hubcheck --example strangers
    cargo run -q -p scenarios --example strangers -- {{args}}

# === snapshots ===

# Rewrite the snapshots; then read `git diff snapshots/`
bless:
    INSTA_UPDATE=always cargo test -p scenarios --test matrix
    git diff --stat snapshots/

# Rewrite docs/CONFORMANCE.md from the catalogue
conformance:
    mkdir -p docs
    cargo run -- list --markdown > docs/CONFORMANCE.md

# === running ===

# hubcheck, as a user runs it
run *args:
    cargo run --release -- run {{args}}

# Bringing an image into the KIND cluster, against `kind load` (makes the cluster, which stays)
bench-load:
    cargo bench -p harness --bench load

# What the reference hub costs
bench *args:
    cargo bench -p hub -- {{args}}
