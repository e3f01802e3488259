//! `Auto` on stiff flows and crowded ones: the same flow as with one explicit pair, for less work.

mod common;

use common::Kept;
use gradflow::ode::{EventKind, Stats};
use gradflow::scenario::{Folder, Scenario, Source};
use gradflow::simulate::{audit, simulate};
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
    let scenario = Scenario::from_source(Source::new("auto.ron", text), &Folder::Disk(PathBuf::new()), &[])
        .unwrap_or_else(|error| panic!("{error}"));
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
          activation: Tanh, flow: (until: [Time(5)], method: {method}, rtol: 1e-4), ntk: (track: false))"
    );
    let scenario = Scenario::from_source(Source::new("wide.ron", text), &Folder::Disk(PathBuf::new()), &[])
        .unwrap_or_else(|error| panic!("{error}"));
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
