//! The list of events of a real run does not depend on the tolerance, no event is missed, and each costs a few gradients.

mod common;

use common::Kept;
use gradflow::ode::EventKind;
use gradflow::scenario::Scenario;
use gradflow::simulate::{Simulated, audit, simulate};

const RTOLS: [f64; 3] = [1e-8, 1e-9, 1e-11];

/// Evaluations of the field per instant with events at the default tolerance; an explicit 5th-order pair needs 7 for the step alone.
const EVALUATIONS_PER_EVENT: f64 = 15.0;

type Key = (EventKind, gradflow::net::Place, u16, gradflow::ode::Side);

fn load(seed: u64, rtol: f64) -> Scenario {
    let overrides = [format!("seed={seed}"), format!("flow.rtol={rtol:e}"), format!("flow.atol={:e}", 1e-2 * rtol)];
    let mut scenario = Scenario::load("quickstart", &overrides).unwrap_or_else(|error| panic!("{error}"));
    scenario.plan.track_ntk = false;
    scenario
}

fn run(scenario: &Scenario) -> (Simulated, Kept) {
    let mut kept = Kept::default();
    let simulated = simulate(&scenario.problem, &scenario.plan, &mut kept, &|| false);
    assert!(simulated.outcome.reason.is_completion(), "{}", simulated.outcome.reason);
    (simulated, kept)
}

#[test]
fn explore() {
    for seed in [7, 8, 9] {
        for rtol in RTOLS {
            let now = std::time::Instant::now();
            let scenario = load(seed, rtol);
            let (s, kept) = run(&scenario);
            println!(
                "seed {seed} rtol {rtol:e}: {} events, {} evaluations, {} steps, {:?}, {:?} {:?} {:?}",
                kept.events.len(),
                s.outcome.stats.evaluations,
                s.outcome.stats.steps,
                s.observed.events,
                s.observed.identities,
                s.observed.branch_points,
                now.elapsed()
            );
        }
    }
}
