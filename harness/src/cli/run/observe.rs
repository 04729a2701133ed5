//! The flags that say which pods stand behind a URL.

use super::super::RunArgs;
use super::super::bad_input::CommandError;
use crate::run::Rig;
use crate::run::rig::{Observed, Somewhere};

/// Lets the rig read the pods that the flags name.
pub(super) fn observe(rig: &mut Rig, args: &RunArgs) -> Result<(), CommandError> {
    let Some(given) = &args.observe else { return Ok(()) };
    let what: Observed = given.parse().map_err(|hint: String| {
        CommandError::usage(format!("`--observe {given}` names no pods")).hint(hint)
    })?;
    let place = Somewhere {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        namespace: args.namespace.clone(),
    };
    rig.observe(place, what);
    Ok(())
}
