//! A straight line through points.

/// The line with the least squares.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    /// How much y grows with x.
    pub(crate) slope: f64,
    /// The mean of y.
    pub(crate) mean: f64,
}

/// The line through points; level if there are fewer than two.
pub(crate) fn line(points: &[(f64, f64)]) -> Line {
    let count = points.len().max(1) as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean)).sum();
    Line { slope: if spread > 0.0 { together / spread } else { 0.0 }, mean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again_through_noise_that_cancels() {
        let points: Vec<_> = (0..100)
            .map(|x| {
                (f64::from(x), 5.0 + 0.25 * f64::from(x) + if x % 4 == 1 || x % 4 == 2 { 1.0 } else { -1.0 })
            })
            .collect();
        let line = line(&points);
        assert!((line.slope - 0.25).abs() < 0.005, "{line:?}");
        assert!((line.mean - 17.375).abs() < 0.001, "{line:?}");
    }

    #[test]
    fn without_points_it_is_level() {
        assert!(line(&[]).slope.abs() < 1e-9 && line(&[(1.0, 2.0)]).slope.abs() < 1e-9);
    }
}
