//! What may happen in a case, one thing after another.

use std::fmt;

use harness::plan::Transport;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::post::{Post, posts};
use crate::twist::{Twist, twists};

/// Steps over one era. A step names sessions, calls and replicas by numbers of which only the remainder counts, so that every
/// step means something wherever it stands.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) era: Transport,
    pub(crate) steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A client opens a session.
    Open(Way),
    /// A session calls `echo`.
    Call(usize, Way),
    /// Every session calls `echo`, all at once.
    Burst(Way),
    /// A session calls `tally` and has it held: it runs while the next steps are done.
    Hold(usize, Way),
    /// A call that runs is cancelled.
    Cancel(usize, Way),
    /// A session sends a second request with the id of one that runs.
    Repeat(usize, Way),
    /// A call that runs is waited for.
    Finish(usize),
    /// A session opens its stream.
    Listen(usize, Way),
    /// A session posts something odd.
    Post(usize, Way, Post),
    /// A session sends a request with an odd head.
    Twist(usize, Way, Vec<Twist>),
    /// A client ends its session.
    End(usize, Way),
    /// A replica's process is killed, while every session calls or not.
    Kill(usize, Meanwhile),
    /// There are to be so many replicas from now on.
    Scale(usize, Meanwhile),
    /// Whatever changes is waited for.
    Settle,
}

/// The way of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// To the session's owner; to any replica when there is none.
    Owner,
    /// To a replica that is not the owner.
    Other,
    /// Wherever the balancer sends it.
    Service,
}

/// What clients do while the cluster changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    Nothing,
    Calls,
}

/// The most replicas that a case has.
pub(crate) const MOST: usize = 3;

/// A line per step, as the transcript has them.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "over {}", self.era)?;
        let mut steps = self.steps.iter().enumerate();
        steps.try_for_each(|(nth, step)| write!(f, "\n{}. {step:?}", nth + 1))
    }
}

// === strategies ===

/// Clients that do what they may, and replicas that come and go.
pub(crate) fn storms(era: Transport, most: usize) -> impl Strategy<Value = Case> {
    let step = prop_oneof![
        6 => ordinary(),
        1 => odd(),
        3 => changes(),
    ];
    vec(step, 1..=most).prop_map(move |steps| Case { era, steps })
}

/// Clients that send what they should not, at one replica that stays.
pub(crate) fn noise(era: Transport, most: usize) -> impl Strategy<Value = Case> {
    let step = prop_oneof![
        1 => ordinary(),
        3 => odd(),
    ];
    vec(step, 1..=most).prop_map(move |steps| Case { era, steps })
}

fn ordinary() -> impl Strategy<Value = Step> {
    let which = 0_usize..4;
    prop_oneof![
        4 => ways().prop_map(Step::Open),
        4 => (which.clone(), ways()).prop_map(|(session, way)| Step::Call(session, way)),
        1 => ways().prop_map(Step::Burst),
        4 => (which.clone(), ways()).prop_map(|(session, way)| Step::Hold(session, way)),
        1 => (which.clone(), ways()).prop_map(|(call, way)| Step::Cancel(call, way)),
        1 => (which.clone(), ways()).prop_map(|(session, way)| Step::Repeat(session, way)),
        1 => which.clone().prop_map(Step::Finish),
        2 => (which.clone(), ways()).prop_map(|(session, way)| Step::Listen(session, way)),
        1 => (which, ways()).prop_map(|(session, way)| Step::End(session, way)),
    ]
}

fn odd() -> impl Strategy<Value = Step> {
    let at = || (0_usize..4, ways());
    prop_oneof![
        (at(), posts()).prop_map(|((session, way), post)| Step::Post(session, way, post)),
        (at(), vec(twists(), 1..3)).prop_map(|((session, way), twists)| Step::Twist(session, way, twists)),
    ]
}

fn changes() -> impl Strategy<Value = Step> {
    let meanwhile = || prop_oneof![Just(Meanwhile::Nothing), Just(Meanwhile::Calls)];
    prop_oneof![
        2 => (0..MOST, meanwhile()).prop_map(|(replica, meanwhile)| Step::Kill(replica, meanwhile)),
        2 => (1..=MOST, meanwhile()).prop_map(|(count, meanwhile)| Step::Scale(count, meanwhile)),
        1 => Just(Step::Settle),
    ]
}

fn ways() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Owner), Just(Way::Other), Just(Way::Service)]
}
