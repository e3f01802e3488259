//! What every exact gradient flow keeps: conserved weights, energy, the displacement bound. Defects shrink with the tolerance, through
//! many events and slides, and are measured on the final θ by hand as well.

mod common;

use common::{Case, Watched, options, run_tracked};
use gradflow::net::Activation;
use gradflow::ode::StopReason;

const RTOLS: [f64; 3] = [1e-6, 1e-8, 1e-10];

/// Global errors of these runs are at most this many tolerances: a few hundred steps, each within one, hardly amplified.
const STEPS_PER_TOL: f64 = 200.0;

/// ‖W_l[u]‖² + b_u² − ‖W_{l+1}[·, u]‖² for all hidden units, from θ by index arithmetic alone.
fn conserved(widths: &[usize], bias: bool, learned: bool, theta: &[f64]) -> Vec<f64> {
    let n_layers = widths.len() - 1;
    let size = |l: usize| {
        widths[l] * widths[l + 1] + if bias { widths[l + 1] } else { 0 } + usize::from(learned && l + 1 < n_layers)
    };
    let mut all = Vec::new();
    let mut at = 0;
    for l in 0..n_layers - 1 {
        let (n_in, n_out, next) = (widths[l], widths[l + 1], at + size(l));
        for u in 0..n_out {
            let incoming: f64 = (0..n_in).map(|i| theta[at + u * n_in + i].powi(2)).sum();
            let own = if bias { theta[at + n_in * n_out + u].powi(2) } else { 0.0 };
            let outgoing: f64 = (0..widths[l + 2]).map(|o| theta[next + o * n_out + u].powi(2)).sum();
            all.push(incoming + own - outgoing);
        }
        at = next;
    }
    all
}

fn flow(case: &Case, t_end: f64, rtol: f64) -> Watched {
    let run = run_tracked(case, "Tsit5", options(t_end, rtol), &mut [], &[], false);
    assert_eq!(run.outcome.reason, StopReason::Horizon);
    run
}

/// Defects at the three tolerances are within a multiple of each, and the closest run is far better than the loosest.
fn assert_shrinks(what: &str, defects: [f64; 3]) {
    for (defect, rtol) in defects.iter().zip(RTOLS) {
        assert!(*defect <= STEPS_PER_TOL * rtol, "{what}: {defect:e} at rtol {rtol:e} ({defects:?})");
    }
    // Where even the loosest run is at rounding there is nothing to shrink.
    assert!(defects[2] <= (1e-2 * defects[0]).max(1e-12), "{what} does not shrink: {defects:?}");
}

#[test]
fn identities_of_homogeneous_nets_shrink_with_the_tolerance_through_events_and_slides() {
    let kinds = [
        ("leaky ReLU", Activation::leaky_relu(0.1)),
        ("ReLU", Activation::relu()),
        ("abs", Activation::abs()),
        ("PReLU", Activation::Prelu),
    ];
    for (name, activation) in kinds {
        let widths = [3, 8, 7, 2];
        let case = Case::random(&widths, true, activation, 15, 3);
        let learned = case.network.activation().has_learned_slope();
        let runs = RTOLS.map(|rtol| flow(&case, 3.0, rtol));
        for run in &runs {
            let events = run.observed.events;
            assert!(events.crossing >= 20 && events.slide_enter >= 10, "{name}: {events:?}");
            assert!(run.observed.identities.displacement_bound_ok, "{name}: {:?}", run.observed.identities);
        }
        let reports = [0, 1, 2].map(|k| runs[k].observed.identities);
        assert_shrinks(&format!("{name}: energy defect"), reports.map(|r| r.energy_defect));
        assert_shrinks(&format!("{name}: conservation drift"), reports.map(|r| r.conservation_drift.expect("given")));
        let at_start = conserved(&widths, true, learned, &case.theta0);
        let scale = at_start.iter().fold(0.0, |m: f64, c| m.max(c.abs()));
        let by_hand = [0, 1, 2].map(|k| {
            let at_end = conserved(&widths, true, learned, &runs[k].outcome.y);
            at_end.iter().zip(&at_start).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale
        });
        assert_shrinks(&format!("{name}: conservation by hand"), by_hand);
        for (k, by_hand) in by_hand.iter().enumerate() {
            let reported = reports[k].conservation_drift.expect("given");
            assert!(*by_hand <= reported * (1.0 + 1e-6) + 1e-14, "{name}: drift {by_hand:e}, reported {reported:e}");
        }
    }
}

#[test]
fn activations_that_are_not_homogeneous_claim_no_conservation() {
    for activation in [common::cubic_pieces(), Activation::Smooth(gradflow::net::Smooth::Tanh)] {
        let case = Case::random(&[2, 4, 1], true, activation, 5, 1);
        let runs = RTOLS.map(|rtol| flow(&case, 2.0, rtol));
        assert!(runs.iter().all(|r| r.observed.identities.conservation_drift.is_none()));
        assert!(runs.iter().all(|r| r.observed.identities.displacement_bound_ok));
        assert_shrinks("energy defect", [0, 1, 2].map(|k| runs[k].observed.identities.energy_defect));
    }
}

/// The whole matrices W_{l+1}ᵀW_{l+1} − W_lW_lᵀ − b_lb_lᵀ, entry by entry.
fn balance(widths: &[usize], theta: &[f64]) -> Vec<f64> {
    let mut all = Vec::new();
    let mut at = 0;
    for l in 0..widths.len() - 2 {
        let (n_in, n) = (widths[l], widths[l + 1]);
        let (bias, next) = (at + n_in * n, at + n_in * n + n);
        for u in 0..n {
            for v in 0..n {
                let above: f64 = (0..widths[l + 2]).map(|o| theta[next + o * n + u] * theta[next + o * n + v]).sum();
                let below: f64 = (0..n_in).map(|i| theta[at + u * n_in + i] * theta[at + v * n_in + i]).sum();
                all.push(above - below - theta[bias + u] * theta[bias + v]);
            }
        }
        at = next;
    }
    all
}

#[test]
fn deep_linear_nets_keep_the_whole_balance_matrix() {
    let widths = [3, 4, 5, 2];
    let case = Case::random(&widths, true, Activation::identity(), 10, 5);
    let at_start = balance(&widths, &case.theta0);
    let scale = at_start.iter().fold(0.0, |m: f64, c| m.max(c.abs()));
    let drifts = RTOLS.map(|rtol| {
        let run = flow(&case, 5.0, rtol);
        assert!(run.kept.events.is_empty());
        assert!(run.observed.loss_final < 0.9 * run.observed.loss_initial);
        let at_end = balance(&widths, &run.outcome.y);
        at_end.iter().zip(&at_start).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale
    });
    assert_shrinks("balance matrix", drifts);
}
