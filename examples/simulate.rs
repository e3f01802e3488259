//! Simulates a scenario and prints what came of it: `cargo run --release --example simulate [NAME or FILE]`.

use gradflow::scenario::Scenario;
use gradflow::simulate::simulate;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "quickstart".into());
    // Overrides have the form of the command line's --set.
    let scenario = Scenario::load(&name, &["flow.rtol=1e-9".into()])?;
    // `()` keeps no rows; the closure could report Ctrl-C.
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false);

    let (seen, events) = (&run.observed, &run.observed.events);
    println!("{name}: {} (t = {:.6})", run.outcome.reason, run.outcome.t);
    println!("  loss       {:.6e} -> {:.6e}", seen.loss_initial, seen.loss_final);
    println!("  events     {} crossings, {} slides begun", events.crossing, events.slide_enter);
    println!("  steps      {} with {} gradients", run.outcome.stats.steps, run.outcome.stats.evaluations);
    println!("  bound      {}: {}", seen.bound.verdict.as_str(), seen.bound.reason);
    println!("  energy     L(0) - L(t) = ∫‖∇L‖² up to {:.1e}", seen.identities.energy_defect);
    Ok(())
}
