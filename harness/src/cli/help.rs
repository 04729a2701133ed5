//! What `--help` says below the flags.

/// Below the list of commands.
pub(super) const COMMANDS: &str = "\
Without a command, hubcheck runs the quick profile on the hub that you name:
  hubcheck http://localhost:3000/mcp    a hub that is running
  hubcheck -- node server.mjs           its command: hubcheck starts the replicas
  hubcheck k8s/                         its manifests

Environment:
  HUBCHECK_LOG  What is logged, such as `harness=debug`; without it, warnings alone
  NO_COLOR      No colours

`hubcheck run --help` says what exit codes mean, and has examples.";

/// Below the flags of `run`.
pub(super) const RUN: &str = "\
Examples:
  hubcheck run
      the reference hub, every cell, on this machine
  hubcheck run http://localhost:3000/mcp
      a hub that is already running
  hubcheck run --quick -- node server.mjs
      the quick profile on replicas of a command
  hubcheck run --command 'python server.py --host {host} --port {port}' --transport sse
      a hub of your own
  hubcheck run https://mcp.example.com/sse --header Authorization=\"Bearer $TOKEN\"
      the same with a token
  hubcheck run k8s/ --backend kind --image my-hub:1 --report junit=hubcheck.xml routing
      the family `routing` on a KIND cluster, with a report for CI

Exit codes:
  0    the hub conforms (there may be warnings)
  1    it does not, or an expected failure is stale; or the hub or a proxy answers and cannot be used
  2    wrong input: the command line, a file, a program that is missing, nothing that listens; a report could not be written
  3    not decided: too slow, or the harness or the cluster could not tell
  4    nothing was selected, or nothing applies
  130  interrupted

The file of `--expected`:
  [[failure]]
  cell = \"routing/session-survives-any-replica@off-sse\"
  reason = \"sessions are in one process's memory\"

Environment:
  HUBCHECK_BACKEND, HUBCHECK_CLUSTER, HUBCHECK_CONTEXT, HUBCHECK_HEADER  In place of their flags
  HUBCHECK_LOG     What is logged, such as `harness=debug`; without it, warnings alone
  KIND_NODE_IMAGE  The node image of a KIND cluster
  DOCKER_HOST      The Docker that KIND runs on
  KUBECONFIG       The kubeconfig of `--backend kube`, without `--kubeconfig`
  NO_COLOR         No colours";
