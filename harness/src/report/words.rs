//! Plurals and durations, in one place.

use std::time::Duration;

/// `1 cell`, `2 cells`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("{n} {noun}") } else { format!("{n} {}", plural(noun)) }
}

/// Seconds with three decimals, right-aligned to eight characters.
pub fn seconds(duration: Duration) -> String {
    format!("{:8.3}s", duration.as_secs_f64())
}

fn plural(noun: &str) -> String {
    if let Some(stem) = noun.strip_suffix('y').filter(|stem| !stem.ends_with('a')) {
        return format!("{stem}ies");
    }
    format!("{noun}s")
}
