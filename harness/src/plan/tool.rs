//! The parts that tools of a hub play in scenarios.

use std::fmt;
use std::str::FromStr;

/// The part that a hub's tool plays in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// Names the replica that answers.
    Whoami,
    /// Returns its argument `text`.
    Echo,
    /// Sends `n` progress notifications, `interval_ms` apart.
    Count,
    /// Adds `add` to a counter named `key`, reports progress once, holds for `hold_ms`, returns the counter.
    Tally,
    /// Adds 1 to the counter named `key` `n` times, `interval_ms` apart, and reports progress each time.
    Work,
    /// Allocates `mib` MiB and keeps them.
    Allocate,
    /// Answers after `ms` milliseconds.
    Sleep,
    /// Sends the client a `ping` on the stream of its call, and answers when the client has answered that.
    Ask,
}

impl Tool {
    /// Every part a tool can play.
    pub const ALL: [Tool; 8] = [
        Tool::Whoami,
        Tool::Echo,
        Tool::Count,
        Tool::Tally,
        Tool::Work,
        Tool::Allocate,
        Tool::Sleep,
        Tool::Ask,
    ];
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tool::Whoami => "whoami",
            Tool::Echo => "echo",
            Tool::Count => "count",
            Tool::Tally => "tally",
            Tool::Work => "work",
            Tool::Allocate => "allocate",
            Tool::Sleep => "sleep",
            Tool::Ask => "ask",
        })
    }
}

impl FromStr for Tool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Tool::ALL.map(|tool| tool.to_string()).join(", ");
        Tool::ALL
            .into_iter()
            .find(|tool| tool.to_string() == text)
            .ok_or_else(|| format!("no scenario needs a tool `{text}`; known are {}", known()))
    }
}
