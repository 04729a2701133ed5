//! What the user wants to run, and what becomes of a filter that names nothing.

use super::{Affinity, Cell, Transport};

/// What the user wants to run. Empty fields select everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Families, scenario ids, scenario names, or whole cell ids.
    pub filters: Vec<String>,
    /// Only cells that one of these names: those of a profile. Empty for all.
    pub within: Vec<String>,
    /// Only cells of these affinities, and those that do not vary with it.
    pub affinities: Vec<Affinity>,
    /// Only cells of these transports, and those that do not vary with it.
    pub transports: Vec<Transport>,
}

/// A filter that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no scenario or cell is called `{filter}`{}", nearest.as_ref().map(|near| format!("; the nearest is `{near}`")).unwrap_or_default())]
pub struct UnknownFilter {
    /// What the user wrote.
    pub filter: String,
    /// The nearest thing that exists, when one is near.
    pub nearest: Option<String>,
}

/// From this similarity on a name is taken for what was meant (Jaro and Winkler, 0 to 1).
const NEAR: f64 = 0.6;

// === impl Selection ===

impl Selection {
    pub(super) fn admits(&self, cell: &Cell) -> bool {
        let named = self.filters.is_empty() || self.filters.iter().any(|filter| cell.is_named(filter));
        let within = self.within.is_empty() || self.within.iter().any(|name| cell.is_named(name));
        let affinity = admits_axis(&self.affinities, cell.affinity);
        let transport = admits_axis(&self.transports, cell.transport);
        named && within && affinity && transport
    }

    /// Whether every filter, and every name of the profile, names a cell.
    pub(super) fn names_cells<'c>(
        &self,
        all: impl Iterator<Item = &'c Cell> + Clone,
    ) -> Result<(), UnknownFilter> {
        let names_none = |filter: &&String| !all.clone().any(|cell| cell.is_named(filter));
        match self.filters.iter().chain(&self.within).find(names_none) {
            Some(filter) => {
                Err(UnknownFilter { filter: filter.clone(), nearest: nearest(filter, all.clone()) })
            }
            None => Ok(()),
        }
    }
}

// === helpers ===

fn admits_axis<T: PartialEq>(wanted: &[T], value: Option<T>) -> bool {
    wanted.is_empty() || value.is_none_or(|value| wanted.contains(&value))
}

fn nearest<'c>(filter: &str, all: impl Iterator<Item = &'c Cell>) -> Option<String> {
    let names = all.flat_map(|cell| {
        [cell.to_string(), cell.scenario.to_owned(), cell.name().to_owned(), cell.family().to_owned()]
    });
    nearest_of(filter, names)
}

/// The name that is nearest to what the user wrote, when one is near.
pub(crate) fn nearest_of(word: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let scored = names.map(|name| (strsim::jaro_winkler(word, &name), name));
    let (score, name) = scored.max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (score > NEAR).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{ROUTES, STARTS};
    use crate::plan::{Offers, plan};

    #[test]
    fn a_profile_narrows_what_the_filters_choose() {
        let chosen = |filters: &[&str], within: &[&str]| -> Vec<String> {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let selection =
                Selection { filters: owned(filters), within: owned(within), ..Selection::default() };
            let planned = plan(&[ROUTES, STARTS], &selection, &Offers::every_cell()).unwrap();
            planned.into_iter().map(|planned| planned.cell.to_string()).collect()
        };
        let quick = ["routing/routes@off", "starts"];
        let all = ["routing/routes@off-sse", "routing/routes@off-stateless", "lifecycle/starts"];
        assert_eq!(chosen(&[], &quick), all);
        assert_eq!(chosen(&["@sse"], &quick), all[..1]);
        assert_eq!(chosen(&["routes@client-ip"], &quick), [""; 0]);
    }

    #[test]
    fn a_filter_that_names_nothing_names_the_nearest() {
        let unknown = |filter: &str| {
            let selection = Selection { filters: vec![filter.to_owned()], ..Selection::default() };
            plan(&[ROUTES, STARTS], &selection, &Offers::every_cell()).unwrap_err().to_string()
        };
        assert_eq!(
            unknown("routing/rotes"),
            "no scenario or cell is called `routing/rotes`; the nearest is `routing/routes`"
        );
        assert_eq!(unknown("%%%"), "no scenario or cell is called `%%%`");
    }
}
