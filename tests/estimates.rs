//! Both ends of the spectrum without a matrix: products with G against G itself, estimates against all eigenvalues, and what a run says of them.

mod common;

use common::{Case, Kept, activations};
use gradflow::flow::FlowField;
use gradflow::ntk::{Estimator, GramEvaluator, Verdict};
use gradflow::ode::{Contact, PiecewiseField};
use gradflow::scenario::Scenario;
use gradflow::simulate::{Simulated, simulate};

fn simulated(name: &str, overrides: &[&str]) -> (Simulated, Kept) {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    let scenario = Scenario::load(name, &overrides).unwrap_or_else(|error| panic!("{error}"));
    let mut kept = Kept::default();
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &|| false);
    assert!(run.outcome.reason.is_completion(), "{}", run.outcome.reason);
    (run, kept)
}

/// The field where every fifth unit is held on its breakpoint, and where none is.
fn evaluated(field: &FlowField, theta: &[f64], slides: bool) -> FlowField {
    let mut field = field.clone();
    let mut mode = field.mode_from_values(theta);
    if slides {
        (0..field.n_switches()).step_by(5).for_each(|switch| mode.hold(Contact { switch, breakpoint: 0 }));
    }
    field.eval(theta, &mode, &mut vec![0.0; theta.len()]).expect("finite");
    field
}

#[test]
fn estimates_of_small_spectra_are_their_ends() {
    let mut n_checked = 0;
    for (name, activation) in activations() {
        let has_kinks = !activation.breakpoints().is_empty();
        let case = Case::random(&[5, 9, 7, 2], true, activation, 10, 3);
        let field = FlowField::new(case.network.clone(), &case.data);
        let mut estimator = Estimator::default();
        for slides in [false, true] {
            if slides && !has_kinks {
                continue;
            }
            let field = evaluated(&field, &case.theta0, slides);
            let mut grams = GramEvaluator::default();
            let all = grams.gram(&field).self_adjoint_eigenvalues(faer::Side::Lower).expect("finite");
            let (low, high) = (all[0], all[all.len() - 1]);
            // Twenty targets: the iteration ends with the whole space.
            let got = estimator.estimate(0.5, &field).expect("finite");
            let what = format!("{name}, slides {slides}: {got:?}, {low:e} {high:e}");
            assert!((got.lambda_max - high).abs() < 1e-12 * high, "{what}");
            assert!((got.lambda_min_at_most - low.max(0.0)).abs() < 1e-12 * high, "{what}");
            assert!(got.residual < 1e-9 * high && got.n_products <= 20 && got.t == 0.5, "{what}");
            n_checked += 1;
        }
    }
    assert!(n_checked > 10, "{n_checked}");
}

#[test]
fn estimates_along_a_run_are_above_lambda_min_and_close_to_it_where_they_say_so() {
    let setting = ["descent=[]", "save=(count: 4)", "flow.until=[Time(0.3)]"];
    let (run, kept) = simulated("quickstart", &[&setting[..], &["ntk.track=Estimate"]].concat());
    let (exact, all) = simulated("quickstart", &[&setting[..], &["ntk.track=EveryEvent"]].concat());
    assert_eq!(run.outcome.y, exact.outcome.y, "who watches does not change the run");
    let estimates = &run.observed.estimates;
    assert!(estimates.len() >= 4 && estimates.len() <= 26, "{}", estimates.len());
    assert!(estimates.is_sorted_by(|a, b| a.t < b.t));
    assert_eq!((estimates[0].t, estimates[estimates.len() - 1].t), (0.0, 0.3));
    for estimate in estimates {
        let rows = all.rows.iter().filter(|row| row.t == estimate.t);
        let (low, high) = rows.fold((f64::INFINITY, 0.0_f64), |(low, high), row| {
            (low.min(row.lambda_min.expect("measured")), high.max(row.lambda_max.expect("measured")))
        });
        assert!(low.is_finite(), "a row at {}", estimate.t);
        let (error, rounding) = (estimate.lambda_min_at_most - low, 1e-12 * high);
        assert!(error > -rounding, "{estimate:?}: {low}");
        // Eighty targets, and up to two hundred products: the lowest eigenvalue has been found.
        assert!(error <= estimate.residual + rounding && error < 1e-3 * low, "{estimate:?}: {low}");
        assert!((estimate.lambda_max - high).abs() < 1e-8 * high, "{estimate:?}: {high}");
    }
    // They stand for themselves: no row has them, and there is neither λ₀ nor a verdict.
    assert!(kept.rows.iter().all(|row| row.lambda_min.is_none() && row.bound.is_none()));
    assert!(run.observed.lambda0.is_none() && run.observed.gram_evaluations == 0);
    let bound = &run.observed.bound;
    assert_eq!((bound.verdict, bound.integral_verdict), (Verdict::Unresolved, Verdict::Unresolved));
    assert!(bound.reason.contains("may be 0: the residual keeps to the bound for that value"), "{}", bound.reason);
}

#[test]
fn what_is_zero_by_structure_is_not_estimated() {
    let few = ["network=Dense(hidden: [2, 2], bias: true)", "data=Ball(samples: 40, inputs: 3, outputs: 2)"];
    let (run, _) = simulated("quickstart", &[&few[..], &["ntk.track=Estimate", "flow.until=[Time(0.1)]"]].concat());
    assert!(run.observed.estimates.is_empty());
    assert_eq!(run.observed.lambda0.map(|l| l.value), Some(0.0));
    assert_eq!(run.observed.bound.verdict, Verdict::Vacuous);
}

#[test]
fn a_matrix_too_large_for_memory_is_refused_and_its_spectrum_estimated() {
    let large = |track: &str| {
        let track = format!("ntk=(track: {track}, memory_limit_gib: 0.0001)");
        let overrides = [track, "flow.until=[Time(0.001)]".to_owned(), "descent=[]".to_owned()];
        Scenario::load("quickstart", &overrides)
    };
    let Err(refused) = large("Adaptive") else { panic!("it is too large") };
    assert!(refused.to_string().contains("track: Estimate"), "{refused}");
    let scenario = large("Estimate").unwrap_or_else(|error| panic!("{error}"));
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false);
    assert!(run.observed.estimates.len() >= 2);
}
