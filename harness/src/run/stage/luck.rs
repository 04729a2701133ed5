//! How many clients or requests it takes for luck to have no part in a verdict.

/// The probability below which luck is no longer a worry.
pub const NO_LUCK: f64 = 1e-6;

/// The number of clients after which every one of `replicas` has got one, but for a chance below [`NO_LUCK`]:
/// the smallest k with N * ((N-1)/N)^k < 1e-6.
pub fn clients_to_spread(replicas: usize) -> usize {
    if replicas < 2 {
        return 1;
    }
    let n = replicas as f64;
    (1..).find(|k| n * ((n - 1.0) / n).powi(*k) < NO_LUCK).map_or(1, |k| usize::try_from(k).unwrap_or(1))
}

/// The number of requests that all reach one of `replicas` by luck with a chance below [`NO_LUCK`].
pub fn requests_without_luck(replicas: usize) -> usize {
    if replicas < 2 {
        return 1;
    }
    let n = replicas as f64;
    (1..).find(|k| (1.0 / n).powi(*k) < NO_LUCK).map_or(1, |k| usize::try_from(k).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_design() {
        assert_eq!([2, 3].map(clients_to_spread), [21, 37]);
        assert_eq!([2, 3].map(requests_without_luck), [20, 13]);
        assert_eq!((clients_to_spread(1), requests_without_luck(1)), (1, 1));
    }
}
