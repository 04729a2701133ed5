//! The hub's image, built of a folder by the program that the user has for it.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::super::bad_input::CommandError;

/// The programs that build images, the first that is there, and what stands before the names that they give.
const PROGRAMS: [(&str, &str); 2] = [("docker", ""), ("podman", "localhost/")];

/// The files by which images are built.
const FILES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// How many digits of a folder's hash are in the name of its image.
const DIGITS: usize = 12;

/// Builds the image of a folder; its name.
pub(super) fn image(folder: &Path) -> Result<String, CommandError> {
    let shown = folder.display();
    let unreadable = |error: std::io::Error| CommandError::usage(format!("`--build {shown}`: {error}"));
    let whole = folder.canonicalize().map_err(unreadable)?;
    let Some(file) = FILES.iter().find(|name| whole.join(name).is_file()) else {
        return Err(CommandError::usage(format!("`--build {shown}`: the folder has no Dockerfile")));
    };
    let name = name(&whole);
    for (program, before) in PROGRAMS {
        let mut command = Command::new(program);
        command.arg("build").arg("--tag").arg(&name).arg("--file").arg(whole.join(file)).arg(&whole);
        // What it says is for the user, and standard output is for reports.
        command.stdin(Stdio::null()).stdout(std::io::stderr());
        match command.status() {
            Ok(status) if status.success() => return Ok(format!("{before}{name}")),
            Ok(status) => {
                let code = status.code().map_or("a signal".to_owned(), |code| format!("exit code {code}"));
                return Err(CommandError::usage(format!("`{program} build {shown}` ended with {code}"))
                    .hint("what it said stands above"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(CommandError::usage(format!("starting `{program}`: {error}"))),
        }
    }
    Err(CommandError::usage("`--build` needs `docker` or `podman`, and neither is installed")
        .hint("install one, or build the image elsewhere and name it by `--image`"))
}

/// The same for the same folder, so that a build takes up the one before.
fn name(folder: &Path) -> String {
    let hash = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hubcheck-build:{}", &digits[..DIGITS])
}
