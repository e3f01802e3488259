//! Steps that hold many events against going from event to event: the same flow, the same events, at a fraction of the cost.

mod common;

use common::{Case, Kept, relative_distance, slope};
use gradflow::flow::FlowField;
use gradflow::net::{Activation, PiecewisePolynomial, Place};
use gradflow::observe::{EventRow, Monitor};
use gradflow::ode::tableau::{BOGACKI_SHAMPINE_32, TSIT5};
use gradflow::ode::{
    Auto, Esdirk, EventKind, ExplicitRk, Options, Outcome, STABILITY_SHARE, StiffMethod, StopRule, integrate,
};
use gradflow::scenario::{Scenario, Stop};
use gradflow::simulate::stop_rules;
use std::collections::BTreeMap;

/// A run with the observed part that is compared.
struct Run {
    outcome: Outcome,
    kept: Kept,
    energy_defect: f64,
}

fn run(case: &Case, options: Options, rules: &mut [Box<dyn StopRule<FlowField>>], saves: &[f64]) -> Run {
    let mut field = FlowField::new(case.network.clone(), &case.data);
    let mut kept = Kept::default();
    let saves = Box::new(saves.iter().copied());
    let mut monitor = Monitor::new(&field, case.data.n_targets(), None, options.norm.rtol, saves, &mut kept);
    let dim = case.theta0.len();
    let implicit = Esdirk::new(&mut field, options.norm).expect("a gradient flow has a linearisation");
    let (low, high) = (ExplicitRk::new(&BOGACKI_SHAMPINE_32, dim), ExplicitRk::new(&TSIT5, dim));
    let mut stepper = Auto::new::<FlowField>(low, high, StiffMethod::Implicit(Box::new(implicit)), STABILITY_SHARE);
    let outcome = integrate(&mut field, &mut stepper, &case.theta0, &options, rules, &mut monitor);
    let observed = monitor.finish();
    assert!(outcome.reason.is_completion(), "{}", outcome.reason);
    Run { outcome, kept, energy_defect: observed.identities.energy_defect }
}

fn options(t_end: f64, rtol: f64, strides: bool) -> Options {
    Options { strides, ..common::options(t_end, rtol) }
}

/// Hard tanh: lines with slopes ¼, 1, ¼ and kinks at ±½.
fn hard_tanh() -> Activation {
    let pieces = vec![vec![-0.375, 0.25], vec![0.0, 1.0], vec![0.375, 0.25]];
    Activation::Piecewise(PiecewisePolynomial::new(vec![-0.5, 0.5], pieces).expect("continuous"))
}

/// Nets in which events crowd: many units, and samples, for the time that the loss takes to change.
fn crowded(n_samples: usize, activation: Activation, hidden: &[usize], seed: u64) -> Case {
    let widths: Vec<usize> = std::iter::once(12).chain(hidden.iter().copied()).chain([3]).collect();
    Case::random(&widths, true, activation, n_samples, seed)
}

type Key = (Place, u16);

/// Times at which each unit comes to each breakpoint, with the kind of what happens there.
fn contacts(events: &[EventRow]) -> BTreeMap<Key, Vec<(f64, EventKind)>> {
    let mut found: BTreeMap<Key, Vec<(f64, EventKind)>> = BTreeMap::new();
    for e in events.iter().filter(|e| e.kind != EventKind::Graze) {
        found.entry((e.place, e.breakpoint)).or_default().push((e.t, e.kind));
    }
    found
}

/// Number of events of `a` that have no counterpart in `b`, and the distances of times of all others.
fn compare(a: &[EventRow], b: &[EventRow]) -> (usize, Vec<f64>) {
    let (a, b) = (contacts(a), contacts(b));
    let (mut unmatched, mut apart) = (0, Vec::new());
    for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(k))) {
        let none = Vec::new();
        let (x, y) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
        unmatched += x.len().abs_diff(y.len());
        for ((t, kind), (u, other)) in x.iter().zip(y) {
            if kind == other {
                apart.push((t - u).abs());
            } else {
                unmatched += 1;
            }
        }
    }
    apart.sort_by(f64::total_cmp);
    (unmatched, apart)
}

fn activations() -> Vec<(&'static str, Case)> {
    vec![
        ("leaky ReLU", crowded(30, Activation::leaky_relu(0.05), &[40, 30], 3)),
        ("ReLU", crowded(30, Activation::relu(), &[40, 30], 4)),
        ("three hidden layers", crowded(30, Activation::leaky_relu(0.1), &[40, 30, 30], 5)),
        ("hard tanh", crowded(30, hard_tanh(), &[40, 30], 6)),
        ("abs", crowded(20, Activation::abs(), &[30, 20], 7)),
        ("one hidden layer", crowded(40, Activation::leaky_relu(0.05), &[60], 8)),
    ]
}

#[test]
fn every_kind_of_piecewise_linear_net_can_be_taken_in_strides() {
    let t_end = 0.05;
    for (name, case) in activations() {
        let exact = run(&case, options(t_end, 1e-10, false), &mut [], &[]);
        let fixed = Options { fixed_step: Some(t_end / 20.0), ..options(t_end, 1e-6, true) };
        let strides = run(&case, fixed, &mut [], &[]);
        let error = relative_distance(&strides.outcome.y, &exact.outcome.y, 0.0);
        let (unmatched, apart) = compare(&strides.kept.events, &exact.kept.events);
        let median = apart[apart.len() / 2] / t_end;
        let stats = &strides.outcome.stats;
        assert_eq!((stats.strides, stats.steps), (20, 20), "{name}");
        assert_eq!(unmatched, 0, "{name}, {} events", exact.kept.events.len());
        // Found: 4e-7 to 2e-6, 3e-7 to 2e-6 and 2e-8 to 5e-7.
        assert!(error < 5e-6, "{name}: θ differs by {error:e}");
        assert!(median < 5e-6, "{name}: half of the times differ by {median:e} of the run");
        assert!(strides.energy_defect < 2e-6, "{name}: energy defect {:e}", strides.energy_defect);
    }
}

#[test]
fn convolutions_residual_and_twin_networks_can_be_taken_in_strides() {
    let nets = [
        ("conv", 1.0),
        ("residual", 0.02),
        ("mobile-net", 0.01),
        ("siamese", 2.0),
        ("conv-residual", 0.05),
        ("unet", 0.05),
    ];
    for (name, t_end) in nets {
        let problem = Scenario::load(name, &[]).unwrap_or_else(|error| panic!("{error}")).problem;
        let case = Case { network: problem.network, data: problem.data, theta0: problem.theta0 };
        let exact = run(&case, options(t_end, 1e-10, false), &mut [], &[]);
        let fixed = Options { fixed_step: Some(t_end / 60.0), ..options(t_end, 1e-6, true) };
        let strides = run(&case, fixed, &mut [], &[]);
        let error = relative_distance(&strides.outcome.y, &exact.outcome.y, 0.0);
        let (unmatched, apart) = compare(&strides.kept.events, &exact.kept.events);
        let stats = &strides.outcome.stats;
        println!(
            "{name}: {} events, {} strides of {}, error {error:.1e}, {unmatched}",
            apart.len(),
            stats.strides,
            stats.steps
        );
        assert!(stats.strides >= 40, "{name}: {stats:?}");
        assert!(!apart.is_empty() && unmatched == 0, "{name}: {} events, {unmatched} unmatched", apart.len());
        assert!(error < 1e-5, "{name}: θ differs by {error:e}");
    }
}

/// Slope of log error against log length of strides, for strides of fixed length.
fn order(case: &Case, t_end: f64, rtol: f64, counts: &[u32]) -> (f64, Vec<(u32, f64)>) {
    let tight = |rtol: f64| run(case, Options { retake: true, ..options(t_end, rtol, false) }, &mut [], &[]);
    let (exact, other) = (tight(1e-13), tight(1e-11));
    let uncertainty = relative_distance(&other.outcome.y, &exact.outcome.y, 0.0);
    let mut errors = Vec::new();
    for &n in counts {
        let fixed = Options { fixed_step: Some(t_end / f64::from(n)), ..options(t_end, rtol, true) };
        let strides = run(case, fixed, &mut [], &[]);
        assert_eq!(strides.outcome.stats.strides, strides.outcome.stats.steps, "{n}");
        let error = relative_distance(&strides.outcome.y, &exact.outcome.y, 0.0);
        assert!(error > 10.0 * uncertainty, "{n}: {error:e} is the reference's own {uncertainty:e}");
        errors.push((n, error));
    }
    let points: Vec<(f64, f64)> = errors.iter().map(|&(n, error)| (1.0 / f64::from(n), error)).collect();
    (slope(&points), errors)
}

#[test]
fn strides_have_order_two_over_events_and_four_without() {
    // With ninety events the error wanders by a factor of three from count to count: where in its stride an event lies matters.
    let crowded = crowded(30, Activation::leaky_relu(0.05), &[40, 30], 3);
    let (slope, errors) = order(&crowded, 0.05, 1e-9, &[12, 16, 20, 25, 30, 40, 50, 65, 80, 110, 160, 240, 320]);
    assert!((1.8..3.0).contains(&slope), "{slope} {errors:?}");
    let smooth = Case::random(&[6, 8, 7, 3], true, Activation::identity(), 10, 2);
    let (slope, errors) = order(&smooth, 0.03, 1e-10, &[4, 5, 6, 8, 10, 13]);
    assert!((3.8..4.6).contains(&slope), "{slope} {errors:?}");
}

#[test]
fn where_events_crowd_strides_do_the_same_for_a_fraction_of_the_gradients() {
    let case = crowded(120, Activation::leaky_relu(0.05), &[60, 50], 9);
    let t_end = 0.02;
    let exact = run(&case, options(t_end, 1e-9, false), &mut [], &[]);
    let strides = run(&case, options(t_end, 1e-6, true), &mut [], &[]);
    let again = run(&case, options(t_end, 1e-6, true), &mut [], &[]);
    assert_eq!(strides.outcome.y, again.outcome.y);
    assert_eq!(strides.kept.events, again.kept.events);
    let error = relative_distance(&strides.outcome.y, &exact.outcome.y, 0.0);
    let (unmatched, apart) = compare(&strides.kept.events, &exact.kept.events);
    let stats = &strides.outcome.stats;
    // Found: 18 strides and 8 other steps for 383 events, 251 evaluations instead of 2,276.
    assert!(exact.kept.events.len() > 300 && stats.strides > 10, "{stats:?}");
    assert!(stats.evaluations < exact.outcome.stats.evaluations / 5, "{stats:?}");
    assert_eq!(unmatched, 0);
    assert!(error < 1e-5, "θ differs by {error:e}");
    assert!(apart[apart.len() / 2] < 5e-6 * t_end, "times differ by {:e}", apart[apart.len() / 2]);
    assert!(strides.energy_defect < 1e-6, "energy defect {:e}", strides.energy_defect);
    // The loss told with an event is that of the flow there.
    let mut worst = 0.0_f64;
    let losses = numbered_losses(&exact.kept.events);
    for (key, loss) in numbered_losses(&strides.kept.events) {
        worst = worst.max((loss - losses[&key]).abs() / losses[&key]);
    }
    // Found 2e-6; half of it is that the event is at another time.
    assert!(worst < 1e-5, "a loss differs by {worst:e}");
    let last = |run: &Run| run.kept.rows.last().map(|r| r.sliding);
    assert_eq!(last(&strides), last(&exact));
}

fn numbered_losses(events: &[EventRow]) -> BTreeMap<(Key, usize), f64> {
    let mut seen: BTreeMap<Key, usize> = BTreeMap::new();
    events
        .iter()
        .filter(|e| e.kind != EventKind::Graze)
        .map(|e| {
            let count = seen.entry((e.place, e.breakpoint)).or_insert(0);
            *count += 1;
            (((e.place, e.breakpoint), *count), e.loss)
        })
        .collect()
}

#[test]
fn stop_rules_and_save_times_are_met_exactly() {
    let case = crowded(120, Activation::leaky_relu(0.05), &[60, 50], 9);
    let saves = [0.0, 0.003, 0.0071, 0.012];
    let until = [Stop::LossRatio(0.9)];
    let exact = run(&case, options(1.0, 1e-9, false), &mut stop_rules(&until), &saves);
    let strides = run(&case, options(1.0, 1e-6, true), &mut stop_rules(&until), &saves);
    assert!((exact.outcome.t - strides.outcome.t).abs() < 1e-6 * exact.outcome.t);
    assert!(strides.outcome.stats.strides > 0);
    assert_eq!(exact.kept.thetas.len(), strides.kept.thetas.len());
    for ((t, a), (u, b)) in exact.kept.thetas.iter().zip(&strides.kept.thetas) {
        let error = relative_distance(b, a, 0.0);
        assert!((t - u).abs() <= 1e-6 * t && error < 1e-5, "{t}, {u}: θ differs by {error:e}");
    }
    let loss = |run: &Run| run.kept.rows.last().map(|r| r.loss / run.kept.rows[0].loss).expect("rows");
    assert!((loss(&strides) - 0.9).abs() < 1e-9, "{}", loss(&strides));
}
