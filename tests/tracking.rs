//! λ_min measured where it matters, against λ_min measured everywhere: the same λ₀ and verdicts, and every sample left out is above what is
//! claimed for it.

mod common;

use common::Kept;
use gradflow::ntk::{Coverage, SampleSide, Verdict};
use gradflow::observe::Row;
use gradflow::scenario::{Folder, Scenario, Source, Track, embedded};
use gradflow::simulate::{Simulated, simulate};

/// Scenarios that take longer than a few seconds here are cut short; the published ones are too large for G.
const SHORTER: &[(&str, &str)] = &[("stiff", "flow.until=[Time(20)]"), ("quickstart", "flow.until=[Time(1)]")];

fn run(name: &str, overrides: &[&str], track: Track) -> (Simulated, Kept) {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    let mut scenario = Scenario::load(name, &overrides).expect("it has no faults");
    scenario.plan.track = track;
    let mut kept = Kept::default();
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &|| false);
    (run, kept)
}

/// Compares both cadences; returns what the adaptive one covered, and how many steps had to be measured whose start was left out.
fn compare(name: &str, overrides: &[&str]) -> (Coverage, usize) {
    let (every, all) = run(name, overrides, Track::EveryEvent);
    let (adaptive, some) = run(name, overrides, Track::Adaptive);
    let (e, a) = (&every.observed, &adaptive.observed);
    let (lambda0, found) = (e.lambda0.expect("tracked"), a.lambda0.expect("tracked"));
    if lambda0.structural_zero.is_none() {
        let apart = (lambda0.value - found.value).abs();
        // Warm starts differ: values are certified to 1e-10 of themselves.
        assert!(apart <= lambda0.resolution + 1e-9 * lambda0.value, "{name}: λ₀ {found:?} against {lambda0:?}");
        assert_eq!((found.side, found.rank), (lambda0.side, lambda0.rank), "{name}");
        assert!((found.t - lambda0.t).abs() <= 1e-6 * (1.0 + lambda0.t), "{name}: t {} {}", found.t, lambda0.t);
    }
    let verdicts = |o: &gradflow::observe::Observed| (o.bound.verdict, o.bound.integral_verdict);
    assert_eq!(verdicts(a), verdicts(e), "{name}: {} against {}", a.bound.reason, e.bound.reason);
    let coverage = a.coverage.expect("tracked");
    assert_eq!(some.rows.len(), all.rows.len(), "{name}: the flow is the same");
    let mut lowest = f64::INFINITY;
    for (row, full) in some.rows.iter().zip(&all.rows) {
        let value = full.lambda_min.expect("measured at every row");
        match row.lambda_min {
            Some(here) => {
                assert!((here - value).abs() <= 1e-9 * value + 1e-12, "{name}, t = {}: {here} {value}", row.t)
            }
            None => lowest = lowest.min(value),
        }
        assert_eq!((row.t, row.loss), (full.t, full.loss), "{name}");
        // The integral of lower bounds is a lower bound, to the error of the quadrature of the other.
        let (Some(wide), Some(close)) = (row.integral_bound, full.integral_bound) else { continue };
        assert!(wide >= close * (1.0 - 1e-4), "{name}, t = {}: the integral bound {wide} is below {close}", row.t);
    }
    let n_empty = some.rows.iter().filter(|row| row.lambda_min.is_none()).count() as u64;
    if let Some(above) = coverage.skipped_above {
        assert!(lowest >= above, "{name}: λ_min {lowest} where at least {above} is claimed");
        assert!(above >= found.value, "{name}: {above} is below λ₀ = {}", found.value);
        assert!(n_empty >= coverage.n_skipped || lambda0.structural_zero.is_some(), "{name}: {n_empty} {coverage:?}");
    } else {
        assert_eq!(n_empty, 0, "{name}");
    }
    let is_late = |pair: &&[Row]| {
        pair[0].side != SampleSide::Before && pair[0].lambda_min.is_none() && pair[1].lambda_min.is_some()
    };
    (coverage, some.rows.windows(2).filter(is_late).count())
}

#[test]
fn samples_left_out_change_neither_lambda0_nor_verdicts() {
    let (mut n_skipped, mut n_late) = (0, 0);
    for name in embedded().iter().map(|e| e.name).filter(|name| !name.starts_with("paper-")) {
        let shorter = SHORTER.iter().filter(|(of, _)| *of == name).map(|(_, o)| *o);
        let overrides: Vec<&str> = shorter.chain(["descent=[]"]).collect();
        let (coverage, late) = compare(name, &overrides);
        (n_skipped, n_late) = (n_skipped + coverage.n_skipped, n_late + late);
    }
    assert!(n_skipped > 500 && n_late > 100, "{n_skipped}, {n_late}: nothing is tested where nothing is left out");
}

#[test]
fn in_a_medium_net_many_samples_are_left_out() {
    let medium = [
        "data=Ball(samples: 100, inputs: 20, outputs: 5)",
        "network=Dense(hidden: [64, 64], bias: true)",
        "flow.until=[Time(0.01)]",
        "descent=[]",
    ];
    let (coverage, _) = compare("quickstart", &medium);
    let n = coverage.n_measured + coverage.n_skipped;
    assert!(coverage.n_skipped > n / 20, "{coverage:?}");
}

#[test]
fn what_is_singular_by_structure_needs_no_gram_matrix() {
    for (overrides, rank) in [
        (["network=Dense(hidden: [2], bias: true)", "flow.until=[Time(0.2)]", "descent=[]"], 28),
        (["network=Dense(hidden: [1], bias: false)", "flow.until=[Time(0.2)]", "descent=[]"], 12),
    ] {
        let (run, kept) = run("quickstart", &overrides, Track::Adaptive);
        let lambda0 = run.observed.lambda0.expect("it is known");
        assert_eq!((lambda0.value, lambda0.rank), (0.0, rank), "P = {rank} bounds the rank: {lambda0:?}");
        // What is left are the spectra for pictures, 25 at most.
        let n_grams = run.observed.gram_evaluations;
        assert!(n_grams <= 25 && run.observed.coverage.expect("tracked").n_measured == 0, "{n_grams}");
        assert_eq!(run.observed.bound.verdict, Verdict::Vacuous, "{}", run.observed.bound.reason);
        assert!(kept.rows.iter().all(|row| row.lambda_min == Some(0.0) && row.lambda_max.is_none()));
    }
}

#[test]
fn a_resolved_scenario_says_how_it_is_tracked_and_can_be_read_again() {
    for (typed, written, track) in [
        ("true", "track: Adaptive", Track::Adaptive),
        ("Adaptive", "track: Adaptive", Track::Adaptive),
        ("EveryEvent", "track: EveryEvent", Track::EveryEvent),
        ("false", "track: false", Track::Off),
    ] {
        let scenario = Scenario::load("one-neuron", &[format!("ntk.track={typed}")]).expect("it has no faults");
        let text = scenario.archive.text;
        assert!(text.contains(written), "{typed}: {text}");
        let again =
            Scenario::from_source(Source::new("again.ron", text), &Folder::Embedded, &[]).expect("it can be read");
        assert_eq!((scenario.plan.track, again.plan.track), (track, track), "{typed}");
    }
}
