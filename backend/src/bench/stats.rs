//! Percentiles of many samples and medians of a few rounds.

/// The value below or at which `per_mille` thousandths of the sorted `samples` lie (nearest rank); 0 if there are none.
pub(super) fn percentile(samples: &[u64], per_mille: usize) -> u64 {
    debug_assert!(samples.is_sorted());
    let rank = (samples.len() * per_mille).div_ceil(1000).max(1);
    samples.get(rank - 1).copied().unwrap_or(0)
}

/// The median: of an even number of values the lower one of the middle, so that it is always one that was measured.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let samples: Vec<u64> = (1..=1000).collect();
        assert_eq!(
            [500, 990, 999, 1000].map(|per_mille| percentile(&samples, per_mille)),
            [500, 990, 999, 1000]
        );
        assert_eq!(percentile(&[7], 990), 7);
        assert_eq!(percentile(&[], 500), 0);
    }

    #[test]
    fn a_median_is_a_value_that_was_measured() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
