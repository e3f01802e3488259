//! Prints the first hundred crossings and slides of a run as they happen, then stops it: an observer of one's own.
//!
//! `cargo run --release --example observe_events`

use gradflow::flow::FlowField;
use gradflow::ode::tableau::TSIT5;
use gradflow::ode::{Event, EventKind, ExplicitRk, Observer, Options, Point, StepView, WrmsNorm, integrate};
use gradflow::scenario::Scenario;
use std::error::Error;
use std::ops::ControlFlow;

struct Printer {
    left: usize,
}

impl Observer<FlowField> for Printer {
    fn event(&mut self, after: &Point<'_, FlowField>, event: &Event) {
        // Several surfaces can be met at one instant; what happened to each is one change.
        for change in event.changes.iter().take(self.left) {
            let what = match change.kind {
                EventKind::Crossing => "crosses",
                EventKind::SlideEnter => "begins to slide",
                EventKind::SlideExit => "stops sliding",
                EventKind::Graze => "touches",
            };
            let (layer, unit, sample) = after.field.batch().locate(change.contact.switch);
            println!(
                "t = {:<12.9} layer {layer} unit {unit:>2} sample {sample:>2} {what:<15} ({:?}); rate {:+.3e} -> {:+.3e}",
                after.t, change.towards, change.rate_before, change.rate_after
            );
        }
        self.left = self.left.saturating_sub(event.changes.len());
    }

    fn step(&mut self, _step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        // An observer may end a run, but it cannot change it: all it gets are shared references.
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let problem = Scenario::load("quickstart", &[])?.problem;
    let mut field = FlowField::new(problem.network, &problem.data);
    let mut stepper = ExplicitRk::new(&TSIT5, problem.theta0.len());
    let options = Options {
        t_end: 10.0,
        norm: WrmsNorm { rtol: 1e-8, atol: 1e-10 },
        max_steps: 100_000,
        fixed_step: None,
        retake: false,
        strides: false,
    };
    let mut printer = Printer { left: 100 };
    let outcome = integrate(&mut field, &mut stepper, &problem.theta0, &options, &mut [], &mut printer);
    println!("{} at t = {:.9} after {} steps", outcome.reason, outcome.t, outcome.stats.steps);
    Ok(())
}
