//! Discrete gradient descent beside the flow: how far apart they are, and what theory says about it.
//!
//! [`Comparison`] is an observer of a run of the flow: at each accepted step every run of gradient descent is advanced up to the time
//! reached and compared with the dense output there, so that no trajectory is kept. Afterwards [`modified`] follows the flow that
//! backward error analysis puts in the place of gradient descent. Start with [`compare()`]; formulas are in `docs/mathematics.md`,
//! section *Gradient descent*.
//!
//! Knows no files; what becomes of a [`Report`] on disk is in [`crate::record`].

pub mod comparison;
pub mod condition;
pub mod iterates;
pub mod modified;
pub mod order;
pub mod pattern;
pub mod sharpness;

pub use comparison::{Comparison, DescentRow, Ending, Report, RunReport};
pub use condition::Condition;
pub use iterates::Iterates;
pub use modified::{ModifiedEnd, ModifiedReport};
pub use order::{Limits, OrderFit};
pub use pattern::{Differing, Jumps};
pub use sharpness::{Curvature, SharpnessWatch};

use crate::observe::Sink;
use crate::scenario::{Plan, Problem};
use crate::simulate::{Simulated, Watch, simulate_beside};

/// Runs the flow with every gradient descent of `plan.descent` beside it, and then their modified flows.
///
/// Rows of the flow go to `sink`; `interrupted` is asked after every step of it. The flow is the same bit for bit as without a comparison.
pub fn compare(
    problem: &Problem,
    plan: &Plan,
    n_threads: usize,
    sink: &mut dyn Sink,
    interrupted: &(dyn Fn() -> bool + Sync),
) -> (Simulated, Report) {
    let mut comparison = Comparison::new(problem, plan);
    let run = simulate_beside(problem, plan, n_threads, Watch { sink, interrupted }, &mut comparison);
    let mut report = comparison.finish();
    for k in 0..report.runs.len() {
        if interrupted() {
            break;
        }
        let (t_end, plan_of_run) = (report.runs[k].last().t, report.runs[k].plan);
        if plan_of_run.is_plain() && t_end > 0.0 {
            report.modified.push(modified::follow(problem, plan, plan_of_run, t_end));
        }
    }
    report.fit_modified_order();
    (run, report)
}
