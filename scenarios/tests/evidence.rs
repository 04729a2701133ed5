//! What a cell that did not pass leaves for people: readable, named in its report, and without any secret's value.

mod support;

use std::path::{Path, PathBuf};

use harness::check::Verdict;
use harness::cluster::manifest::Manifests;
use harness::timeouts::Timeouts;

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_cell_leaves_evidence_without_secrets() {
    // This hub prints its secrets and sends them to clients: the worst case.
    let clean = support::rig(&[]).await;
    let rig = support::rig_like(
        &clean,
        &[("DEFECT", "shows-secrets"), ("SOME_TOKEN", "value-of-some-token")],
        Timeouts::default(),
    );
    let planned = support::planned(&rig, &["wrong-replica-answers-fast@sse"]);
    let (report, _) = support::cell(&rig, planned[0].cell).await;
    assert_ne!(report.verdict, Verdict::Pass);
    let folder = report.evidence.expect("the report names the folder");
    let transcript = report.transcript.expect("there is a transcript");
    assert_eq!(folder, transcript.with_extension(""), "it stands beside the transcript");
    let pages = files(&folder);
    let name = |path: &PathBuf| path.strip_prefix(&folder).expect("below it").display().to_string();
    let names: Vec<String> = pages.iter().map(name).collect();
    for wanted in ["summary.txt", "timeline.txt", "endpoints-over-time.txt", "events.txt", "pods.txt"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is not among {names:?}");
    }
    assert_eq!(names.iter().filter(|name| name.starts_with("logs/")).count(), 2, "{names:?}");
    let summary = std::fs::read_to_string(folder.join("summary.txt")).expect("it is text");
    assert!(summary.contains("no-secret-shown") && summary.contains("timeline.txt"), "{summary}");
    let secrets = Manifests::embedded().expect("our manifests are readable").secret_values();
    let values = secrets.iter().map(|secret| secret.value.as_str()).filter(|value| value.len() >= 4);
    let values: Vec<&str> = values.chain(["value-of-some-token"]).collect();
    assert!(values.len() > 1, "there are secrets to look for");
    for page in pages.iter().chain([&transcript]) {
        let text = std::fs::read_to_string(page).expect("it is text");
        let shown: Vec<&&str> = values.iter().filter(|value| text.contains(**value)).collect();
        assert!(shown.is_empty(), "{} shows {shown:?}", page.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there").flatten();
    let paths = entries.map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
