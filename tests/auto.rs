//! `Auto` on stiff flows and crowded ones: the same flow as with one explicit pair, for less work.

mod common;

use common::Kept;
use gradflow::net::Place;
use gradflow::ode::{EventKind, Stats};
use gradflow::scenario::{Folder, Scenario, Source};
use gradflow::simulate::{Simulated, audit, simulate};
use std::collections::BTreeMap;
use std::path::PathBuf;

struct Run {
    theta: Vec<f64>,
    events: Vec<(EventKind, usize, usize)>,
    stats: Stats,
}

/// Twelve points on a line make G nearly singular: its eigenvalues span eight decades.
fn run(method: &str, t_end: f64, rtol: f64) -> Run {
    let text = format!(
        "(seed: 3, data: Ball(samples: 12, inputs: 1, outputs: 1), network: Dense(hidden: [40]),
          activation: LeakyRelu(0.1), flow: (until: [Time({t_end})], method: {method}, rtol: {rtol}), ntk: (track: false))"
    );
    simulated(&text, method, rtol)
}

fn simulated(text: &str, method: &str, rtol: f64) -> Run {
    let scenario = scenario(text);
    let mut kept = Kept::default();
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &|| false);
    assert!(run.outcome.reason.is_completion(), "{method}: {}", run.outcome.reason);
    if method == "Auto" {
        assert_eq!(audit(&scenario.problem, &scenario.plan, &run, 200).n_missed, 0);
    }
    let identities = &run.observed.identities;
    assert!(identities.energy_defect < 30.0 * rtol, "{method}: {}", identities.energy_defect);
    assert!(identities.conservation_drift.is_some_and(|drift| drift < 30.0 * rtol), "{method}");
    let events = kept.events.iter().map(|e| (e.kind, e.place.unit, e.place.sample)).collect();
    Run { theta: run.outcome.y, events, stats: run.outcome.stats }
}

fn scenario(text: &str) -> Scenario {
    Scenario::from_source(Source::new("auto.ron", text), &Folder::Disk(PathBuf::new()), &[])
        .unwrap_or_else(|error| panic!("{error}"))
}

/// An embedded scenario with other options of the flow, and without the spectrum.
fn embedded(name: &str, until: &str, method: &str, (rtol, atol): (f64, f64)) -> Scenario {
    let overrides = [
        format!("flow.until={until}"),
        format!("flow.method={method}"),
        format!("flow.rtol={rtol}"),
        format!("flow.atol={atol}"),
        "ntk.track=false".to_owned(),
    ];
    Scenario::load(name, &overrides).unwrap_or_else(|error| panic!("{error}"))
}

/// Gradients and what costs about as much: a solve is a Jacobian–vector and a vector–Jacobian product.
fn cost(stats: &Stats) -> u64 {
    stats.evaluations + 2 * stats.solves + stats.linearisations
}

#[test]
fn auto_follows_the_flow_of_the_explicit_pair_for_a_fraction_of_its_work() {
    let (explicit, auto) = (run("Tsit5", 150.0, 1e-8), run("Auto", 150.0, 1e-8));
    assert_eq!(explicit.events, auto.events);
    assert!(common::relative_distance(&auto.theta, &explicit.theta, 1.0) < 1e-6);
    assert_eq!(auto.stats.method_switches, 1, "one change to the implicit method");
    let (dear, cheap) = (cost(&explicit.stats), cost(&auto.stats));
    // The longer the tail, the larger the gain: at t = 150 it has only begun.
    assert!(4 * cheap < dear, "{cheap} against {dear}");
    // Ten times as far costs the implicit method next to nothing, and the explicit one ten times as much.
    let further = run("Auto", 1500.0, 1e-8);
    assert!(cost(&further.stats) < 2 * cheap, "{} for ten times the time, {cheap} before", cost(&further.stats));
    assert_eq!(further.events[..auto.events.len()], auto.events[..]);
}

/// How often each thing happens to each switch; grazes are not counted.
fn happenings(scenario: &Scenario) -> (BTreeMap<(String, Place), usize>, Simulated) {
    let mut kept = Kept::default();
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &|| false);
    assert!(run.outcome.reason.is_completion(), "{}", run.outcome.reason);
    let mut counts = BTreeMap::new();
    for event in kept.events.iter().filter(|e| e.kind != EventKind::Graze) {
        *counts.entry((format!("{:?}", event.kind), event.place)).or_insert(0) += 1;
    }
    (counts, run)
}

#[test]
fn methods_for_stiff_flows_meet_the_events_of_the_flow_at_loose_tolerances() {
    for name in ["stiff", "conv"] {
        let (exact, reference) = happenings(&embedded(name, "[Time(50)]", "Tsit5", (1e-9, 1e-10)));
        for (method, rtol) in
            [("Esdirk54", 1e-4), ("Auto", 1e-4), ("Rkc2", 1e-5), ("Rock4", 1e-5), ("DiffsolEsdirk34", 1e-5)]
        {
            let (found, run) = happenings(&embedded(name, "[Time(50)]", method, (rtol, 1e-8)));
            let what = format!("{name}, {method}");
            let error = common::relative_distance(&run.outcome.y, &reference.outcome.y, 1.0);
            assert!(error < 10.0 * rtol, "{what}: {error:e}");
            // With states at events read from the dense output, slides end and begin again there: 8 to 900 more.
            let n_missing: usize = exact.iter().map(|(k, n)| n.saturating_sub(*found.get(k).unwrap_or(&0))).sum();
            let n_more: usize = found.iter().map(|(k, n)| n.saturating_sub(*exact.get(k).unwrap_or(&0))).sum();
            println!("{what}: {n_missing} missing, {n_more} more, error {error:e}");
            assert!(n_missing == 0 && n_more <= 6, "{what}: {n_missing} missing, {n_more} more");
        }
    }
}

#[test]
fn a_gradient_norm_is_met_where_the_flow_meets_it() {
    let met = |method: &str, rtol: f64| {
        happenings(&embedded("stiff", "[GradientNorm(2e-2), Time(400)]", method, (rtol, 1e-9))).1.outcome.t
    };
    let exact = met("Tsit5", 1e-8);
    for (method, rtol) in [("Esdirk54", 1e-4), ("Auto", 1e-4), ("Rkc2", 1e-6)] {
        let t = met(method, rtol);
        // Found 1e-5; where the field was read inside a long step, 1e-3 to 1e-2.
        assert!((t - exact).abs() < 2e-4 * exact, "{method}: t = {t} instead of {exact}");
    }
}

#[test]
fn far_along_a_tail_slides_do_not_end_by_errors_of_the_method() {
    let tail = |rtol: f64| {
        let text = format!(
            "(seed: 3, data: Ball(samples: 20, inputs: 2, outputs: 1), network: Dense(hidden: [40]),
              activation: LeakyRelu(0.1), flow: (until: [Time(1000)], rtol: {rtol}), ntk: (track: false))"
        );
        happenings(&scenario(&text))
    };
    let ((loose, run), (tight, reference)) = (tail(1e-5), tail(1e-9));
    assert!(common::relative_distance(&run.outcome.y, &reference.outcome.y, 1.0) < 1e-4);
    let [loose, tight] = [loose, tight].map(|counts| counts.values().sum::<usize>());
    // The field falls by ten orders of magnitude, and the tolerance of θ would allow errors far above it.
    assert!(loose < tight + 20, "{loose} events, {tight}");
    // Implicit, explicit and implicit again: a stretch that has paid is no reason to wait longer for the next one.
    assert!(run.outcome.stats.steps < 3_000, "{} steps", run.outcome.stats.steps);
}

#[test]
fn a_switch_that_comes_closer_for_ever_does_not_hold_up_the_run() {
    // From t = 284 on a switch is always about to reach its breakpoint: to end steps there takes 11,000 of them.
    let run = run("Auto", 300.0, 1e-6);
    assert!(run.stats.steps < 2_000, "{} steps", run.stats.steps);
}

#[test]
fn switches_just_let_go_are_watched_at_any_tolerance() {
    // Where a slide ends with hardly any rate, the value at which the next step starts is rounding, and so is its sign: a switch that turned
    // around in that step was not looked at when another one ended it, and these runs stopped at an event that was missed.
    for (name, tolerances) in
        [("conv", &[1e-3, 1e-4][..]), ("unet", &[1e-4, 1e-5, 3e-6, 1e-6]), ("stiff", &[1e-2, 1e-3])]
    {
        for &rtol in tolerances {
            for atol in [1e-7, 1e-8] {
                happenings(&embedded(name, "[Time(50)]", "Auto", (rtol, atol)));
            }
        }
    }
}

/// A net whose events end most steps long before the tolerance would.
fn crowded(method: &str) -> Run {
    let text = format!(
        "(seed: 5, data: Ball(samples: 40, inputs: 10, outputs: 2), network: Dense(hidden: [32, 32]),
          activation: LeakyRelu(0.01), flow: (until: [Time(0.2)], method: {method}, rtol: 1e-8), ntk: (track: false))"
    );
    simulated(&text, method, 1e-8)
}

#[test]
fn where_events_crowd_the_low_order_pair_saves_work() {
    let [auto, tsit5, bs32] = ["Auto", "Tsit5", "BogackiShampine32"].map(crowded);
    assert!(auto.events.len() > 50, "{} events", auto.events.len());
    assert_eq!(auto.events, tsit5.events);
    assert_eq!(auto.events, bs32.events);
    assert!(common::relative_distance(&auto.theta, &tsit5.theta, 1.0) < 1e-7);
    let [a, t, b] = [auto, tsit5, bs32].map(|run| run.stats.evaluations);
    assert!(10 * a < 9 * t && a < b, "{a} evaluations, {t} and {b} with one pair");
}

#[test]
fn auto_stays_explicit_where_events_or_accuracy_limit_the_steps() {
    let auto = run("Auto", 0.5, 1e-8);
    let explicit = run("Tsit5", 0.5, 1e-8);
    assert_eq!(auto.stats.method_switches, 0);
    assert_eq!(auto.stats.linearisations, 0);
    assert_eq!(auto.events, explicit.events);
    assert!(common::relative_distance(&auto.theta, &explicit.theta, 1.0) < 1e-8);
}

#[test]
fn stabilised_methods_follow_a_stiff_flow_for_a_fraction_of_the_gradients() {
    let explicit = run("Tsit5", 150.0, 1e-8);
    // Defects of a method of order 2 are those of a looser tolerance.
    let text = |method: &str, rtol: f64| {
        format!(
            "(seed: 3, data: Ball(samples: 12, inputs: 1, outputs: 1), network: Dense(hidden: [40]),
              activation: LeakyRelu(0.1), flow: (until: [Time(150)], method: {method}, rtol: {rtol}), ntk: (track: false))"
        )
    };
    for (method, rtol, times_fewer, room) in [("Rkc2", 1e-6, 10, 1e-5), ("Rock4", 1e-8, 2, 1e-8)] {
        let stabilised = simulated(&text(method, rtol), method, 10.0 * rtol);
        assert_eq!(stabilised.events, explicit.events, "{method}");
        let error = common::relative_distance(&stabilised.theta, &explicit.theta, 1.0);
        assert!(error < room, "{method}: {error:e}");
        let (dear, cheap) = (explicit.stats.evaluations, stabilised.stats.evaluations);
        assert!(times_fewer * cheap < dear, "{method}: {cheap} against {dear}");
        assert_eq!(stabilised.stats.solves + stabilised.stats.linearisations, 0);
    }
}

/// More targets than `Auto` factorises matrices for, and no kinks.
fn wide(method: &str) -> Run {
    let text = format!(
        "(seed: 3, data: Ball(samples: 101, inputs: 10, outputs: 10), network: Dense(hidden: [30]),
          activation: Tanh, flow: (until: [Time(5)], method: {method}, rtol: 1e-4, atol: 1e-10), ntk: (track: false))"
    );
    let scenario = scenario(&text);
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false);
    assert!(run.outcome.reason.is_completion(), "{method}: {}", run.outcome.reason);
    Run { theta: run.outcome.y, events: Vec::new(), stats: run.outcome.stats }
}

#[test]
fn with_many_targets_auto_changes_to_the_stabilised_method() {
    let (explicit, auto) = (wide("Tsit5"), wide("Auto"));
    let error = common::relative_distance(&auto.theta, &explicit.theta, 1.0);
    assert!(error < 1e-3, "{error:e}");
    assert_eq!(auto.stats.method_switches, 1);
    assert_eq!(auto.stats.linearisations, 0);
    let (dear, cheap) = (explicit.stats.evaluations, auto.stats.evaluations);
    assert!(3 * cheap < dear, "{cheap} against {dear}");
}
