//! How far J has moved, computed from seeds and features, is held to the matrices themselves: never below ‖ΔJ‖₂, never above ‖ΔJ‖_F. With a bound
//! below the first a sample of λ_min could be left out wrongly.

use faer::Mat;
use gradflow::flow::FlowField;
use gradflow::net::JacobianMark;
use gradflow::ntk::GramEvaluator;
use gradflow::ode::{Contact, Mode, PiecewiseField};
use gradflow::scenario::Scenario;

/// Jᵀ with effective slopes, at θ in a mode.
fn jacobian(grams: &mut GramEvaluator, field: &mut FlowField, theta: &[f64], mode: &Mode) -> Mat<f64> {
    let mut dy = vec![0.0; theta.len()];
    field.eval(theta, mode, &mut dy).expect("finite");
    grams.visit(field);
    grams.jacobian_transposed(field)
}

/// Some switches held, spread over the network; they need not stand on a breakpoint for J to have a meaning.
fn with_sliding(mode: &Mode, field: &FlowField) -> Mode {
    let mut sliding = mode.clone();
    let n = field.n_switches();
    if !field.breakpoints(0).is_empty() {
        (0..4).for_each(|k| sliding.hold(Contact { switch: (2 * k + 1) * n / 8, breakpoint: 0 }));
    }
    sliding
}

#[test]
fn the_distance_of_two_jacobians_lies_between_their_norms() {
    let names = [
        "quickstart",
        "prelu",
        "residual",
        "conv",
        "conv-1d",
        "graph-conv",
        "chebyshev",
        "mobile-net",
        "unet",
        "siamese",
        "polynomial",
        "piecewise-polynomial",
        "tanh",
        "deep-linear",
        "graph-readout",
    ];
    for name in names {
        let problem = Scenario::load(name, &[]).expect("it has no faults").problem;
        let mut field = FlowField::with_loss(problem.network, &problem.data, problem.loss);
        if field.data().has_duplicates() {
            continue;
        }
        let start = problem.theta0;
        let (mut grams, mut mark) = (GramEvaluator::default(), JacobianMark::default());
        let mode = field.mode_from_values(&start);
        let before = jacobian(&mut grams, &mut field, &start, &mode);
        assert_eq!(grams.distance(&field, &mut mark), f64::INFINITY, "{name}: nothing to be far from");
        grams.mark(&field, &mut mark);
        let size = before.norm_l2();
        let mut seen = Vec::new();
        for far in [0.0, 1e-12, 1e-8, 1e-3, 0.5] {
            let moved: Vec<f64> =
                start.iter().enumerate().map(|(k, t)| t + far * (k as f64 * 0.618 + 0.3).sin()).collect();
            let there = field.mode_from_values(&moved);
            let slid = with_sliding(&mode, &field);
            for (what, mode) in [("frozen", &mode), ("as it is there", &there), ("sliding", &slid)] {
                let change = jacobian(&mut grams, &mut field, &moved, mode) - &before;
                let distance = grams.distance(&field, &mut mark);
                let whole = change.norm_l2();
                let largest = change.singular_values().expect("finite")[0];
                let at = format!("{name}, {what}, {far:e}: {distance:e} against {largest:e} and {whole:e}");
                // Products in another order: a few ε for every entry.
                let rounding = 1e2 * f64::EPSILON * size;
                assert!(distance >= largest * (1.0 - 1e-12), "below, {at}");
                assert!(distance <= whole * (1.0 + 1e-6) + rounding, "above, {at}");
                seen.push(distance);
            }
        }
        assert!(seen[0] <= 1e2 * f64::EPSILON * size, "{name}: no distance, {:e}", seen[0]);
    }
}
