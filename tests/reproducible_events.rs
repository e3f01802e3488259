//! The list of events of a real run does not depend on the tolerance, no event is missed, and each costs a few gradients.
//!
//! The runs are the embedded quickstart with three seeds: about 1,600 events each, with up to 85 units sliding at once.

mod common;

use common::Kept;
use gradflow::net::Place;
use gradflow::observe::EventRow;
use gradflow::ode::{EventKind, Side};
use gradflow::scenario::{Scenario, Track};
use gradflow::simulate::{Simulated, audit, simulate};
use std::collections::HashMap;

const RTOLS: [f64; 3] = [1e-8, 1e-9, 1e-11];

/// Evaluations of the field per event at the default tolerance; a 5th-order pair needs 6 for the step alone, the location a few.
const EVALUATIONS_PER_EVENT: f64 = 15.0;

/// Nine in ten event times agree to the first of these numbers of tolerances, all of them to the second: the error of a time is that of
/// the unit's value, or of a slide's margin, divided by a rate, and the slowest of 1,600 rates is tiny.
const TIME_SPREAD: (f64, f64) = (1e2, 1e5);

/// Defects stay below this many tolerances: about 1,800 steps, most of them far shorter than their tolerance allows.
const DEFECT_SPREAD: f64 = 100.0;

/// Kind, place, breakpoint, and whether it goes up.
type Key = (EventKind, Place, u16, bool);

fn load(seed: u64, rtol: f64) -> Scenario {
    let overrides = [format!("seed={seed}"), format!("flow.rtol={rtol:e}"), format!("flow.atol={:e}", 1e-2 * rtol)];
    let mut scenario = Scenario::load("quickstart", &overrides).unwrap_or_else(|error| panic!("{error}"));
    scenario.plan.track = Track::Off;
    scenario
}

fn run(scenario: &Scenario) -> (Simulated, Kept) {
    let mut kept = Kept::default();
    let simulated = simulate(&scenario.problem, &scenario.plan, 2, &mut kept, &|| false);
    assert!(simulated.outcome.reason.is_completion(), "{}", simulated.outcome.reason);
    (simulated, kept)
}

/// Each event's key with how often it has occurred before, and its time.
fn numbered(events: &[EventRow], until: f64) -> Vec<((Key, usize), f64)> {
    let mut seen: HashMap<Key, usize> = HashMap::new();
    let before = events.iter().filter(|e| e.t < until);
    before
        .map(|e| {
            let key = (e.kind, e.place, e.breakpoint, e.direction == Side::Above);
            let count = seen.entry(key).or_insert(0);
            *count += 1;
            ((key, *count), e.t)
        })
        .collect()
}

/// How far two lists of the same events are apart.
struct Apart {
    /// Differences of times, sorted.
    times: Vec<f64>,
    /// Largest time by which an event comes too late in the order of the other list.
    order: f64,
}

/// Compares two lists that must hold the same events.
fn compare(what: &str, loose: &[EventRow], tight: &[EventRow], until: f64) -> Apart {
    let (loose, tight) = (numbered(loose, until), numbered(tight, until));
    let times: HashMap<(Key, usize), f64> = tight.iter().copied().collect();
    let mut apart = Apart { times: Vec::new(), order: 0.0 };
    let mut latest: f64 = 0.0;
    for (key, t) in &loose {
        let other =
            times.get(key).unwrap_or_else(|| panic!("{what}: {key:?} at t = {t} happens at one tolerance only"));
        apart.times.push((t - other).abs());
        apart.order = apart.order.max(latest - other);
        latest = latest.max(*other);
    }
    assert_eq!(loose.len(), tight.len(), "{what}: numbers of events");
    apart.times.sort_by(f64::total_cmp);
    apart
}

fn check_seed(seed: u64) {
    let runs = RTOLS.map(|rtol| run(&load(seed, rtol)));
    let (closest, closest_kept) = &runs[2];
    assert!(closest_kept.events.len() > 1000, "only {} events", closest_kept.events.len());
    for ((simulated, kept), rtol) in runs.iter().zip(RTOLS) {
        let what = format!("seed {seed}, rtol {rtol:e}");
        // Beyond a branch point nothing is promised.
        let branches = simulated.observed.branch_points.iter().chain(&closest.observed.branch_points);
        let until = branches.map(|b| b.t).fold(f64::INFINITY, f64::min);
        let apart = compare(&what, &kept.events, &closest_kept.events, until);
        let n = apart.times.len();
        let (most, all) = (apart.times[n * 9 / 10], apart.times[n - 1]);
        assert!(most <= TIME_SPREAD.0 * rtol, "{what}: nine in ten times differ by up to {most:e}");
        assert!(all <= TIME_SPREAD.1 * rtol, "{what}: event times differ by up to {all:e}");
        assert!(apart.order <= TIME_SPREAD.0 * rtol, "{what}: the order differs over {:e}", apart.order);
        let identities = simulated.observed.identities;
        let drift = identities.conservation_drift.expect("leaky ReLU conserves");
        println!(
            "{what}: {} events, times within {most:.1e} (worst {all:.1e}), order within {:.1e}, energy defect {:.1e}, drift {drift:.1e}, {:.1} evaluations per event",
            kept.events.len(),
            apart.order,
            identities.energy_defect,
            simulated.outcome.stats.evaluations as f64 / kept.events.len() as f64
        );
        assert!(
            identities.energy_defect < DEFECT_SPREAD * rtol,
            "{what}: energy defect {:e}",
            identities.energy_defect
        );
        assert!(drift < DEFECT_SPREAD * rtol, "{what}: conservation drift {drift:e}");
        assert!(identities.displacement_bound_ok, "{what}");
    }
    let (first, kept) = &runs[0];
    let per_event = first.outcome.stats.evaluations as f64 / kept.events.len() as f64;
    assert!(per_event < EVALUATIONS_PER_EVENT, "seed {seed}: {per_event:.1} evaluations per event");
    let defect = |k: usize| runs[k].0.observed.identities.energy_defect;
    assert!(defect(2) < 0.1 * defect(0), "seed {seed}: energy defects {:e} and {:e}", defect(0), defect(2));

    let scenario = load(seed, RTOLS[0]);
    let report = audit(&scenario.problem, &scenario.plan, first, 10_000);
    assert_eq!((report.n_checked, report.n_missed), (10_000, 0), "seed {seed}: {report:?}");
}

#[test]
fn events_of_the_quickstart_do_not_depend_on_the_tolerance() {
    check_seed(7);
}

#[test]
fn events_of_another_draw_do_not_depend_on_the_tolerance() {
    check_seed(8);
}

#[test]
fn events_of_a_third_draw_do_not_depend_on_the_tolerance() {
    check_seed(9);
}

#[test]
fn every_method_repeats_its_run_bit_for_bit_on_any_number_of_threads() {
    for method in ["Auto", "EventByEvent", "Tsit5", "Esdirk54", "Rkc2", "Rock4"] {
        let overrides = [
            format!("flow.method={method}"),
            "ntk.track=Adaptive".to_owned(),
            "flow.until=[Time(0.3)]".to_owned(),
            "descent=[]".to_owned(),
        ];
        let scenario = Scenario::load("quickstart", &overrides).unwrap_or_else(|error| panic!("{error}"));
        let mut runs = [1, 2, 2].into_iter().map(|n_threads| {
            let mut kept = Kept::default();
            let run = simulate(&scenario.problem, &scenario.plan, n_threads, &mut kept, &|| false);
            assert!(run.outcome.reason.is_completion(), "{method}: {}", run.outcome.reason);
            (run.outcome.y, kept.rows, kept.events)
        });
        let (y, rows, events) = runs.next().expect("the first");
        assert!(events.len() > 100, "{method}: {} events", events.len());
        for other in runs {
            assert!(other == (y.clone(), rows.clone(), events.clone()), "{method}: another run");
        }
    }
}
