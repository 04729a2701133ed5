//! Where `hubcheck` was built, and where what is installed for it is kept.

use std::path::PathBuf;

use anyhow::Context;

/// The `hubcheck` beside this example, and the folder for what is installed.
///
/// # Errors
///
/// When it was not built.
pub(crate) fn hubcheck_and_cache() -> anyhow::Result<(PathBuf, PathBuf)> {
    // TARGET/PROFILE/examples/NAME
    let here = std::env::current_exe()?;
    let profile = here.ancestors().nth(2).context("an example stands in the target folder")?;
    let hubcheck = profile.join("hubcheck");
    anyhow::ensure!(hubcheck.is_file(), "{} is not there: `cargo build --bin hubcheck`", hubcheck.display());
    let cache = profile.parent().context("a profile's folder stands in the target folder")?.join("peers");
    Ok((hubcheck, cache))
}
