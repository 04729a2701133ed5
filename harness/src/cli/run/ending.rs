//! The end of a run, which the user may not want to wait for.

use crate::cluster::kind::KindError;
use crate::run::kind_hub::Hurry;

/// What became of what the run made beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CleanedUp {
    /// It is gone.
    Whole,
    /// It goes, and nobody waited for that.
    InAHurry,
    /// Something may be left.
    Not,
}

/// Ends what the run made beside its cells. An interrupt makes it hurry, the next one leaves things as they are.
pub(super) async fn clean_up(
    hurry: Hurry,
    finish: impl AsyncFn(Hurry) -> Result<(), KindError>,
    mut interrupted: impl AsyncFnMut(),
) -> CleanedUp {
    let mut cleaned_up = CleanedUp::Whole;
    if hurry == Hurry::No {
        tokio::select! {
            biased;
            finished = finish(Hurry::No) => {
                tell(finished);
                return cleaned_up;
            }
            () = interrupted() => cleaned_up = CleanedUp::InAHurry,
        }
    }
    tokio::select! {
        biased;
        finished = finish(Hurry::Yes) => tell(finished),
        () = interrupted() => cleaned_up = CleanedUp::Not,
    }
    cleaned_up
}

/// Why a run that came so far ended before its time, if it did.
pub(super) fn why_interrupted(was_whole: bool, cleaned_up: CleanedUp) -> Option<&'static str> {
    match (was_whole, cleaned_up) {
        (true, CleanedUp::Whole) => None,
        (false, CleanedUp::Whole) => Some("interrupted; every replica was ended"),
        (_, CleanedUp::InAHurry) => Some("interrupted while cleaning up"),
        (_, CleanedUp::Not) => Some("interrupted while cleaning up, and something may be left"),
    }
}

fn tell(finished: Result<(), KindError>) {
    if let Err(error) = finished {
        tracing::warn!("cleaning up: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;

    /// The end of a run whose cleaning up hangs in these ways, after so many interrupts.
    async fn ended(hurry: Hurry, hangs: &[Hurry], interrupts: usize) -> (CleanedUp, Vec<Hurry>) {
        let begun = RefCell::new(Vec::new());
        let mut left = interrupts;
        let finish = async |hurry| {
            begun.borrow_mut().push(hurry);
            if hangs.contains(&hurry) { pending().await } else { Ok(()) }
        };
        let interrupted = async || {
            if left == 0 {
                pending::<()>().await;
            }
            left -= 1;
        };
        let cleaned_up = clean_up(hurry, finish, interrupted).await;
        (cleaned_up, begun.into_inner())
    }

    #[tokio::test]
    async fn the_first_interrupt_makes_it_hurry_and_the_next_one_is_the_last() {
        let all = [Hurry::No, Hurry::Yes];
        assert_eq!(ended(Hurry::No, &[], 0).await, (CleanedUp::Whole, vec![Hurry::No]));
        assert_eq!(ended(Hurry::No, &[Hurry::No], 1).await, (CleanedUp::InAHurry, all.to_vec()));
        assert_eq!(ended(Hurry::No, &all, 2).await, (CleanedUp::Not, all.to_vec()));
        assert_eq!(ended(Hurry::Yes, &[], 0).await, (CleanedUp::Whole, vec![Hurry::Yes]));
        assert_eq!(ended(Hurry::Yes, &all, 1).await, (CleanedUp::Not, vec![Hurry::Yes]));
    }
}
