//! Principal components of a path of few points in many dimensions, by the eigenvectors of the small Gram matrix of the points.

use faer::{Mat, Side};

/// A path in the plane of its first two principal components.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Coordinates of every point, with the first one at the origin.
    pub points: Vec<(f64, f64)>,
    /// Shares of the variance along the two directions.
    pub shares: (f64, f64),
}

/// Projects a path (K × P, point by point) on its first two principal components; signs are such that the path ends in the first
/// quadrant. `None` for fewer than two points, a path that does not move, or one that is not finite. O(K²P + K³).
pub fn principal_plane(theta: &[f64], n_parameters: usize) -> Option<Plane> {
    let k = theta.len().checked_div(n_parameters)?;
    if k < 2 || theta.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let points = Mat::from_fn(n_parameters, k, |i, j| theta[j * n_parameters + i]);
    let mean: Vec<f64> = (0..n_parameters).map(|i| (0..k).map(|j| points[(i, j)]).sum::<f64>() / k as f64).collect();
    let centred = Mat::from_fn(n_parameters, k, |i, j| points[(i, j)] - mean[i]);
    let gram = centred.transpose() * &centred;
    let eigen = gram.self_adjoint_eigen(Side::Lower).ok()?;
    let values: Vec<f64> = (0..k).map(|j| eigen.S()[j].max(0.0)).collect();
    let total: f64 = values.iter().sum();
    if total <= 0.0 {
        return None;
    }
    // Eigenvalues increase; the scores along a component are its eigenvector times the square root of its eigenvalue.
    let score = |rank: usize| -> Vec<f64> {
        let column = k - 1 - rank;
        let scores: Vec<f64> = (0..k).map(|j| eigen.U()[(j, column)] * values[column].sqrt()).collect();
        let sign = if scores[k - 1] < scores[0] { -1.0 } else { 1.0 };
        scores.iter().map(|s| sign * (s - scores[0])).collect()
    };
    let points = score(0).into_iter().zip(score(1)).collect();
    Some(Plane { points, shares: (values[k - 1] / total, values[k - 2] / total) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_plane_keeps_its_shape() {
        // A parabola in a plane of R⁴ with orthonormal directions (½, ½, ½, ½) and (½, −½, ½, −½): distances are those in the plane.
        let at = |t: f64| {
            let (u, v) = (3.0 * t, t * t);
            [0.5 * (u + v) + 7.0, 0.5 * (u - v), 0.5 * (u + v), 0.5 * (u - v) - 2.0]
        };
        let theta: Vec<f64> = (0..20).flat_map(|k| at(f64::from(k) / 19.0)).collect();
        let plane = principal_plane(&theta, 4).expect("it moves");
        assert!((plane.shares.0 + plane.shares.1 - 1.0).abs() < 1e-12, "{:?}", plane.shares);
        assert!(plane.shares.0 > plane.shares.1);
        for (j, p) in plane.points.iter().enumerate() {
            let t = j as f64 / 19.0;
            let (expected, found) = ((3.0 * t).hypot(t * t), p.0.hypot(p.1));
            assert!((expected - found).abs() < 1e-7, "{expected} against {found}");
        }
    }

    #[test]
    fn a_path_that_rests_has_no_plane() {
        assert_eq!(principal_plane(&[1.0, 2.0, 1.0, 2.0], 2), None);
        assert_eq!(principal_plane(&[1.0, 2.0], 2), None);
        assert_eq!(principal_plane(&[1.0, f64::NAN, 2.0, 2.0], 2), None);
        assert_eq!(principal_plane(&[], 0), None);
    }
}
