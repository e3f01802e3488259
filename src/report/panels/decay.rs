//! Loss and residual with the bounds, gradient descent and its modified flow.

use super::Panel;
use crate::record::TrajectoryRecord;
use crate::report::figure::{Axis, Colour, Figure, Mark, Series};
use crate::report::loaded::Loaded;
use crate::report::number::significant;
use crate::report::thin;

pub(super) fn panel(loaded: &Loaded, is_log: bool) -> Panel {
    let s = loaded.run.summary();
    let mut words = vec![format!(
        "The loss went from {} to {}.",
        significant(s.loss_initial.or(loaded.trajectory.first().map(|r| r.loss))),
        significant(s.loss_final.or(loaded.trajectory.last().map(|r| r.loss)))
    )];
    if let Some(bound) = &s.bound {
        words.push(format!("Bound e^(−λ₀t)‖r₀‖: {}. {}", bound.verdict, bound.reason));
        words.push(format!("Integral bound exp(−∫λ_min)‖r₀‖: {}. {}", bound.integral_verdict, bound.integral_reason));
    }
    let figures = [loss(loaded, is_log), residual(loaded, is_log)].into_iter().flatten().collect();
    Panel { id: "decay", title: "Loss and residual", words, figures }
}

fn loss(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let rows = thin::rows(&loaded.trajectory, &[|r| Some(r.loss)]);
    let caption = "The loss of the flow, with runs of gradient descent at time k·η and their modified flow where they were compared.";
    let mut figure = Figure::new("loss", "Loss", caption, Axis::time(is_log), Axis::log("loss L"));
    figure.push(Series::new(
        "flow",
        Mark::Line,
        Colour::Main,
        rows.iter().map(|&k| (loaded.trajectory[k].t, loaded.trajectory[k].loss)),
    ));
    for (k, step_size) in step_sizes(loaded.descent.iter().map(|r| r.step_size)).into_iter().enumerate() {
        let iterates: Vec<_> = loaded.descent.iter().filter(|r| r.step_size == step_size).collect();
        let points = thin::evenly(iterates.len(), 1500).into_iter().map(|i| (iterates[i].t, iterates[i].loss_descent));
        figure.push(Series::new(format!("descent, η = {step_size}"), Mark::Dashed, Colour::cycle(k + 1), points));
        let modified: Vec<_> = loaded.modified_flow.iter().filter(|r| r.step_size == step_size).collect();
        let points = thin::evenly(modified.len(), 1500).into_iter().map(|i| (modified[i].t, modified[i].loss));
        figure.push(Series::new(format!("modified flow, η = {step_size}"), Mark::Dotted, Colour::cycle(k + 1), points));
    }
    figure.if_any()
}

fn residual(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let columns: [fn(&TrajectoryRecord) -> Option<f64>; 3] =
        [|r| Some(r.residual_norm), |r| r.bound, |r| r.integral_bound];
    let rows = thin::rows(&loaded.trajectory, &columns[..1]);
    let caption = "‖r‖ has to stay below both bounds: the sharper one integrates λ_min along the run, the other uses its minimum λ₀ throughout.";
    let mut figure =
        Figure::new("residual", "Residual and bounds", caption, Axis::time(is_log), Axis::log("norm of the residual"));
    for (column, (name, mark, colour)) in columns.iter().zip([
        ("‖r‖", Mark::Line, Colour::Main),
        ("bound e^(−λ₀t)‖r₀‖", Mark::Dashed, Colour::Alert),
        ("integral bound", Mark::Dashed, Colour::Third),
    ]) {
        // An `after` row without a bound of its own is no gap.
        let points = rows.iter().filter_map(|&k| Some((loaded.trajectory[k].t, column(&loaded.trajectory[k])?)));
        figure.push(Series::new(name, mark, colour, points));
    }
    figure.if_any()
}

/// The different values in the order of their first appearance.
pub(super) fn step_sizes(all: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut found: Vec<f64> = Vec::new();
    for step_size in all {
        if !found.contains(&step_size) {
            found.push(step_size);
        }
    }
    found
}
