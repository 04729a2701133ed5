//! How many clients or requests it takes for luck to have no part in a verdict, and the chance that it had one.

use super::Stage;
use crate::check::NO_LUCK;
use crate::transcript::What;

/// The number of clients after which every one of `replicas` has got one, but for a chance below [`NO_LUCK`]:
/// the smallest k with N * ((N-1)/N)^k < 1e-6.
pub fn clients_to_spread(replicas: usize) -> usize {
    if replicas < 2 {
        return 1;
    }
    (1..).find(|clients| chance_of_missing(replicas, *clients) < NO_LUCK).unwrap_or(1)
}

/// The number of requests that all reach one of `replicas` by luck with a chance below [`NO_LUCK`].
pub fn requests_without_luck(replicas: usize) -> usize {
    if replicas < 2 {
        return 1;
    }
    (1..).find(|requests| chance_of_staying(replicas, *requests) < NO_LUCK).unwrap_or(1)
}

/// The chance that so many clients all miss one of the replicas, whichever.
fn chance_of_missing(replicas: usize, clients: usize) -> f64 {
    let n = replicas as f64;
    n * power((n - 1.0) / n, clients)
}

/// The chance that so many requests all reach one replica, which is given.
pub fn chance_of_staying(replicas: usize, requests: usize) -> f64 {
    power(1.0 / replicas as f64, requests)
}

fn power(base: f64, exponent: usize) -> f64 {
    base.powi(i32::try_from(exponent).unwrap_or(i32::MAX))
}

impl Stage {
    /// Notes the probability of passing by luck.
    pub fn luck(&self, of: impl Into<String>, probability: f64) {
        self.recorder.record(What::Luck { of: of.into(), probability });
    }

    /// Notes the chance that so many clients all missed one of the replicas.
    pub fn luck_of_missing(&self, clients: usize) {
        let replicas = self.replica_count();
        let chance = chance_of_missing(replicas, clients);
        self.luck(format!("{clients} clients that all miss one of {replicas} replicas"), chance);
    }

    /// Notes the chance that so many requests, given any replica each, all reached the same one.
    pub fn luck_of_staying(&self, requests: usize) {
        let replicas = self.replica_count();
        let chance = chance_of_staying(replicas, requests);
        self.luck(format!("{requests} requests that all reach one of {replicas} replicas"), chance);
    }
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
