//! Where manifests come from: files, folders, standard input, and what `kubectl`, `kustomize` or `helm` print.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ManifestError;

/// The largest file that is read, in bytes: manifests of a large gateway have a tenth of it.
const LARGEST: u64 = 8 << 20;

/// The files that make a folder a kustomization.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// A file that was read: its name, as errors say it, and its text.
pub(super) type Source = (String, String);

/// Reads files and folders; `-` is standard input. Also returns which subfolders of a folder were left out.
pub(super) fn sources(paths: &[PathBuf]) -> Result<(Vec<Source>, Vec<String>), ManifestError> {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for path in paths {
        if path.as_os_str() == "-" {
            found.push(("standard input".to_owned(), standard_input()?));
        } else if path.is_dir() {
            left_out.extend(folder(path, &mut found)?);
        } else {
            found.push(file(path)?);
        }
    }
    Ok((found, left_out))
}

/// What the installed `kubectl` or `kustomize` builds of a folder.
pub(super) fn kustomized(folder: &Path) -> Result<Source, ManifestError> {
    let programs = [("kubectl", &["kustomize"][..]), ("kustomize", &["build"][..])];
    for (program, words) in programs {
        let mut command = Command::new(program);
        command.args(words).arg(folder);
        if let Some(text) = printed(command, program)? {
            return Ok((format!("kustomization {}", folder.display()), text));
        }
    }
    Err(ManifestError::Program { what: "a kustomization", programs: "`kubectl` or `kustomize`" })
}

/// What the installed `helm` renders of a chart, with these files of values.
pub(super) fn templated(chart: &Path, values: &[PathBuf]) -> Result<Source, ManifestError> {
    let mut command = Command::new("helm");
    command.args(["template", "hub"]).arg(chart);
    for file in values {
        command.arg("--values").arg(file);
    }
    match printed(command, "helm")? {
        Some(text) => Ok((format!("chart {}", chart.display()), text)),
        None => Err(ManifestError::Program { what: "a chart", programs: "`helm`" }),
    }
}

/// The files of a folder, as `kubectl apply -f` takes them; those of its subfolders, as with `-R`, where it has none itself.
fn folder(dir: &Path, found: &mut Vec<Source>) -> Result<Vec<String>, ManifestError> {
    if let Some(chart) = [Some(dir), dir.parent()].into_iter().flatten().find(|dir| is_chart(dir)) {
        return Err(ManifestError::Chart { folder: chart.to_owned() });
    }
    if KUSTOMIZATIONS.iter().any(|name| dir.join(name).is_file()) {
        return Err(ManifestError::Kustomization { folder: dir.to_owned() });
    }
    let (files, folders) = entries(dir)?;
    for path in &files {
        found.push(file(path)?);
    }
    if !files.is_empty() {
        return Ok(folders.iter().map(|path| format!("{}/", path.display())).collect());
    }
    let mut left_out = Vec::new();
    for path in folders {
        left_out.extend(folder(&path, found)?);
    }
    Ok(left_out)
}

fn is_chart(dir: &Path) -> bool {
    dir.join("Chart.yaml").is_file()
}

/// The files that `kubectl` would read, and the folders, each sorted by name.
fn entries(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ManifestError> {
    let failed = |error| ManifestError::Read { path: dir.to_owned(), error };
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        if path.is_dir() && !is_hidden && !path.ends_with("node_modules") {
            folders.push(path);
        } else if matches!(extension.as_deref(), Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

fn file(path: &Path) -> Result<Source, ManifestError> {
    let failed = |error| ManifestError::Read { path: path.to_owned(), error };
    let metadata = fs::metadata(path).map_err(failed)?;
    refuse_odd(path, &metadata)?;
    let text = text_of(File::open(path).map_err(failed)?).map_err(failed)?;
    Ok((path.display().to_string(), text))
}

/// A FIFO would be waited for, and a device has no end.
fn refuse_odd(path: &Path, metadata: &Metadata) -> Result<(), ManifestError> {
    if !metadata.is_file() {
        return Err(ManifestError::NoFile { path: path.to_owned() });
    }
    Ok(())
}

fn standard_input() -> Result<String, ManifestError> {
    text_of(io::stdin().lock()).map_err(|error| ManifestError::Read { path: "standard input".into(), error })
}

/// Text without the byte order mark with which some editors begin it.
fn text_of(reader: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("larger than {} MiB, so no manifest", LARGEST >> 20)));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8 text: save the file as UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// What a program prints; `None` where it is not installed.
fn printed(mut command: Command, program: &'static str) -> Result<Option<String>, ManifestError> {
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ManifestError::Read { path: program.into(), error }),
    };
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_owned();
    Err(ManifestError::Refused { program, said })
}
