//! λ_min along flows: right against an independent eigenvalue solver, found in dips narrower than a step, and never claimed positive
//! where rounding or structure says otherwise.

mod common;

use common::{Case, activations, naive, options, run};
use gradflow::flow::FlowField;
use gradflow::net::{Activation, Network};
use gradflow::ntk::spectrum::spectrum;
use gradflow::ntk::{GramEvaluator, Verdict};
use gradflow::ode::PiecewiseField;
use nalgebra::DMatrix;

/// J by dual numbers, on all samples (duplicates included), pieces read off the values.
fn jacobian(case: &Case, theta: &[f64]) -> DMatrix<f64> {
    let activation = case.network.activation();
    let rows: Vec<Vec<f64>> = case
        .rows()
        .0
        .iter()
        .flat_map(|x| {
            let piece = |_: usize, _: usize, z: f64| naive::Unit::Piece(naive::piece_of(activation, z));
            naive::forward(&case.network, theta, x, piece).1
        })
        .map(|f| f.d)
        .collect();
    DMatrix::from_fn(rows.len(), theta.len(), |r, c| rows[r][c])
}

#[test]
fn extreme_eigenvalues_agree_with_an_independent_solver() {
    let mut n_checked = 0;
    for (name, activation) in activations() {
        for (widths, bias, n_samples) in [
            (vec![3, 6, 1], true, 5),
            (vec![5, 9, 7, 2], true, 10),
            (vec![4, 12, 3], false, 6),
            (vec![2, 1], true, 2),
            (vec![9, 12, 10, 3], true, 15),
        ] {
            for seed in 0..3 {
                let case = Case::random(&widths, bias, activation.clone(), n_samples, seed);
                let mut field = FlowField::new(case.network.clone(), &case.data);
                let mode = field.mode_from_values(&case.theta0);
                field.eval(&case.theta0, &mode, &mut vec![0.0; case.theta0.len()]).expect("finite");
                let jacobian = jacobian(&case, &case.theta0);
                let eigenvalues = (&jacobian * jacobian.transpose()).symmetric_eigenvalues();
                let (low, high) = (eigenvalues.min(), eigenvalues.max());
                let n = case.data.n_targets();
                let got = spectrum(&field, n, &mut GramEvaluator::default(), true, f64::INFINITY).expect("finite");
                // Both solvers are backward stable: n ε ‖G‖ each.
                let tol = 4.0 * n as f64 * f64::EPSILON * high;
                let what = format!("{name}, {widths:?}, seed {seed}");
                // From 32 targets on Lanczos iterations give λ_max, which sets scales, to eight digits.
                let digits = if n >= 32 { 1e-8 * high } else { 0.0 };
                assert!(
                    (got.lambda_max - high).abs() <= tol + digits,
                    "{what}: λ_max {} against {high}",
                    got.lambda_max
                );
                assert!((got.lambda_min - low).abs() <= tol, "{what}: λ_min {} against {low}", got.lambda_min);
                let rank = eigenvalues.iter().filter(|&&l| l > tol).count();
                if low > 1e3 * tol {
                    assert!(got.is_resolved() && got.rank == n, "{what}: {got:?} against {low}");
                    n_checked += 1;
                } else if low.abs() < tol && got.rank_is_clear {
                    assert!(got.rank >= rank && got.lambda_min <= tol, "{what}: {got:?}, {rank} of {n}");
                }
            }
        }
    }
    assert!(n_checked > 50, "only {n_checked} regular matrices");
}

/// f = w₂w₁x on one sample: λ_min = x²(w₁² + w₂²), and w₂² − w₁² is conserved. When w₁ goes through zero (target of the other sign),
/// λ_min dips to x²|w₂² − w₁²|.
#[test]
fn a_dip_of_lambda_min_narrower_than_a_step_is_found() {
    for (w1, w2, x, y) in [(0.9, 1.0, 1.0, -2.0), (1.5, 1.51, 0.8, -1.0), (0.3, 1.2, 2.0, -0.5)] {
        let network = Network::dense(1, &[1], 1, false, Activation::identity()).expect("widths");
        let case = Case::new(network, &[vec![x]], &[vec![y]], vec![w1, w2]);
        let dip = x * x * f64::abs(w2 * w2 - w1 * w1);
        for rtol in [1e-2, 1e-4, 1e-8] {
            let run = run(&case, "Tsit5", options(6.0, rtol), &mut [], &[]);
            let found = run.observed.lambda0.expect("tracked").value;
            // The conserved quantity itself drifts with the tolerance; λ is of size x²(w₁² + w₂²).
            let tol = 10.0 * rtol * x * x * (w1 * w1 + w2 * w2);
            let sampled = run.kept.rows.iter().filter_map(|r| r.lambda_min).fold(f64::INFINITY, f64::min);
            assert!(
                (found - dip).abs() <= tol,
                "w = {w1}, {w2}, rtol {rtol:e}: λ₀ = {found}, closed form {dip}, least at step ends {sampled}"
            );
        }
    }
}

/// f = w₂(w₁x + b₁) + b₂ with 17 outputs: G = (1 + h²)·1 + (1 + x²)w₂w₂ᵀ with h = w₁x + b₁, so that λ_min = 1 + h² dips to exactly 1
/// when h goes through zero. With nM = 17 the tracker looks inside a step only where λ_min could get lower there.
#[test]
fn dips_are_found_also_where_midpoints_are_not_sampled_by_default() {
    const M: usize = 17;
    let network = Network::dense(1, &[1], M, true, Activation::identity()).expect("widths");
    let w2: Vec<f64> = (0..M).map(|k| 0.3 + 0.02 * k as f64).collect();
    for (h, pull) in [(0.5, 3.0), (1.0, 6.0), (2.0, 20.0)] {
        let y: Vec<f64> = w2.iter().map(|w| -pull * w).collect();
        let mut theta0 = vec![0.4 * h, 0.6 * h];
        theta0.extend(w2.iter().chain(&[0.0; M]));
        let case = Case::new(network.clone(), &[vec![1.0]], &[y], theta0);
        for rtol in [1e-1, 1e-2, 1e-4, 1e-8] {
            let run = run(&case, "Tsit5", options(4.0, rtol), &mut [], &[]);
            assert!(run.outcome.y[0] + run.outcome.y[1] < 0.0, "h does not go through zero: {:?}", run.outcome.y);
            let lambda0 = run.observed.lambda0.expect("tracked");
            let sampled = run.kept.rows.iter().filter_map(|r| r.lambda_min).fold(f64::INFINITY, f64::min);
            // λ_min is exact on the dense output whatever its error; the search stops at 1e-9 of it.
            assert!(
                (lambda0.value - 1.0).abs() < 1e-8,
                "h = {h}, rtol {rtol:e}: λ₀ = {} at {}, least at step ends {sampled}",
                lambda0.value,
                lambda0.t
            );
        }
    }
}

fn short(case: &Case) -> common::Watched {
    run(case, "Tsit5", options(0.05, 1e-8), &mut [], &[])
}

#[test]
fn singular_pieces_are_vacuous_with_their_rank() {
    let points = |n: usize| (0..n).map(|k| vec![-0.9 + 1.8 * k as f64 / (n - 1) as f64]).collect::<Vec<_>>();
    let targets = |n: usize| (0..n).map(|k| vec![(3.0 * k as f64).sin()]).collect::<Vec<_>>();
    let network = |bias, activation| Network::dense(1, &[6], 1, bias, activation).expect("widths");
    let w = [0.4, -0.3, 0.2, 0.5, -0.1, 0.3];
    let with_bias = |b: f64| w.iter().copied().chain([b; 6]).chain(w).chain([0.1]).collect::<Vec<f64>>();
    let without: Vec<f64> = w.iter().chain(&w).copied().collect();
    let leaky = || Activation::leaky_relu(0.1);
    // Kinks outside the data: f is affine in x. No bias: one line on each side of 0, or one line. All dead: the output bias alone.
    let cases = [
        ("affine", Case::new(network(true, leaky()), &points(7), &targets(7), with_bias(5.0)), 2),
        ("two rays", Case::new(network(false, leaky()), &points(8), &targets(8), without.clone()), 2),
        ("one ray", Case::new(network(false, leaky()), &points(8)[4..], &targets(4), without), 1),
        ("dead", Case::new(network(true, Activation::relu()), &points(7), &targets(7), with_bias(-5.0)), 1),
    ];
    for (name, case, rank) in cases {
        let run = short(&case);
        let lambda0 = run.observed.lambda0.expect("tracked");
        let bound = &run.observed.bound;
        assert_eq!((bound.verdict, lambda0.rank), (Verdict::Vacuous, rank), "{name}: {}", bound.reason);
        assert!(lambda0.structural_zero.is_none() && !lambda0.is_resolved, "{name}");
        assert!(bound.reason.contains(&format!("rank {rank} of {}", case.data.n_targets())), "{}", bound.reason);
    }
}

#[test]
fn too_few_parameters_and_duplicates_are_vacuous_by_structure() {
    let few = Case::random(&[2, 2, 1], true, Activation::leaky_relu(0.1), 12, 3);
    assert!(few.network.n_parameters() < few.data.n_targets());
    let many = Case::random(&[2, 30, 1], true, Activation::leaky_relu(0.1), 5, 3);
    let (mut x, mut y) = many.rows();
    x.push(x[2].clone());
    y.push(vec![0.7]);
    let duplicates = Case::new(many.network.clone(), &x, &y, many.theta0.clone());
    for (case, rank, word) in [(few, 9, "fewer parameters"), (duplicates, 5, "share an input")] {
        let run = short(&case);
        let (lambda0, bound) = (run.observed.lambda0.expect("tracked"), &run.observed.bound);
        assert_eq!((bound.verdict, lambda0.value), (Verdict::Vacuous, 0.0), "{}", bound.reason);
        assert!(bound.reason.contains(word), "{}", bound.reason);
        assert!(lambda0.rank <= rank && run.kept.rows.iter().all(|r| r.lambda_min == Some(0.0)), "{lambda0:?}");
    }
    // Without the copy, the same net says something.
    let run = short(&many);
    assert_eq!(run.observed.bound.verdict, Verdict::Holds, "{}", run.observed.bound.reason);
    assert_eq!(run.observed.bound.integral_verdict, Verdict::Holds, "{}", run.observed.bound.integral_reason);
}

/// Tangent kernels of smooth nets in one dimension are analytic: their spectra fall geometrically, through rounding, without a gap.
#[test]
fn spectra_that_run_into_rounding_without_a_gap_are_unresolved() {
    for (activation, seed) in [(gradflow::net::Smooth::Tanh, 1), (gradflow::net::Smooth::Softplus, 2)] {
        let network = Network::dense(1, &[40], 1, true, Activation::Smooth(activation)).expect("widths");
        let drawn = Case::random(&[1, 40, 1], true, Activation::Smooth(activation), 2, seed);
        for n in [20, 25, 30] {
            let x: Vec<Vec<f64>> = (0..n).map(|k| vec![-1.0 + 2.0 * f64::from(k) / f64::from(n - 1)]).collect();
            let y: Vec<Vec<f64>> = x.iter().map(|x| vec![(2.0 * x[0]).sin()]).collect();
            let case = Case::new(network.clone(), &x, &y, drawn.theta0.clone());
            let run = short(&case);
            let (lambda0, bound) = (run.observed.lambda0.expect("tracked"), &run.observed.bound);
            assert_eq!(bound.verdict, Verdict::Unresolved, "n = {n}: {}", bound.reason);
            assert!(!lambda0.is_resolved && !lambda0.rank_is_clear, "{lambda0:?}");
        }
    }
}

/// f = w·x on three inputs in 30 dimensions of which two differ by 2⁻⁴² in one entry: G is XXᵀ, and with integers everything is known exactly.
#[test]
fn a_lambda_min_of_ten_to_the_minus_twenty_six_is_measured() {
    let entry = |i: usize, j: usize| ((7 * i + 11 * j * j + 3) as f64).sin();
    let round = |x: f64| (x * 256.0).round() / 256.0;
    let gap = 2f64.powi(-42);
    let mut x: Vec<Vec<f64>> = (0..3).map(|j| (0..30).map(|i| round(entry(i, j))).collect()).collect();
    x[1] = x[0].clone();
    x[1][0] += gap;
    let network = Network::dense(30, &[], 1, false, Activation::identity()).expect("widths");
    let y = [vec![1.0], vec![2.0], vec![3.0]];
    let case = Case::new(network, &x, &y, vec![0.0; 30]);
    // The determinant of the Gram matrix of (x₀, e₀, x₂) times gap² is that of XXᵀ, and λ_max and λ_mid are those of (√2 x₀, x₂) up to the gap.
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (a, b, c) = (dot(&x[0], &x[0]), dot(&x[0], &x[2]), dot(&x[2], &x[2]));
    let (p, q) = (x[0][0], x[2][0]);
    let volume = a * (c - q * q) - p * (p * c - q * b) + b * (p * q - b);
    let others = 2.0 * (a * c - b * b);
    let expected = gap * gap * volume / others;
    let run = run(&case, "Tsit5", options(0.1, 1e-8), &mut [], &[]);
    let lambda0 = run.observed.lambda0.expect("tracked");
    assert!(lambda0.is_resolved && lambda0.rank == 3, "{lambda0:?} against {expected:e}");
    let off = (lambda0.value - expected).abs();
    assert!(off <= lambda0.resolution, "{:e} against {expected:e}: off by {off:e}, {lambda0:?}", lambda0.value);
    assert!(lambda0.resolution < expected, "{lambda0:?}");
    assert_eq!(run.observed.bound.verdict, Verdict::Holds, "{}", run.observed.bound.reason);
}

/// What is said of λ₀ covers what looser tolerances make of it, and is no empty phrase.
#[test]
fn the_accuracy_of_lambda0_contains_the_error_of_the_run() {
    let mut parts = Vec::new();
    for (k, activation) in
        [Activation::leaky_relu(0.1), Activation::Smooth(gradflow::net::Smooth::Tanh)].into_iter().enumerate()
    {
        for seed in 0..6 {
            for widths in [[3, 8, 1], [3, 20, 1]] {
                let case = Case::random(&widths, true, activation.clone(), 6, 40 + seed);
                let exact = run(&case, "Dop853", options(2.0, 1e-11), &mut [], &[]).observed.lambda0.expect("tracked");
                for rtol in [1e-3, 1e-5, 1e-7] {
                    let found =
                        run(&case, "Tsit5", options(2.0, rtol), &mut [], &[]).observed.lambda0.expect("tracked");
                    if !found.is_resolved || found.t == 0.0 || !exact.is_resolved {
                        continue;
                    }
                    let off = (found.value - exact.value).abs();
                    let what = format!("{k}, {widths:?}, seed {seed}, rtol {rtol:e}: off by {off:e}, {found:?}");
                    assert!(off <= 2.0 * found.known_to() + exact.known_to(), "{what}");
                    parts.push(off / found.known_to());
                }
            }
        }
    }
    parts.sort_by(f64::total_cmp);
    assert!(parts.len() > 20, "{parts:?}");
    // An order-of-magnitude estimate of the worst case: not a thousand times what happens in the better half of the runs.
    assert!(parts[parts.len() / 2] > 1e-4, "{parts:?}");
}
