//! Gradient descent against the flow, where `compare` ran.

use super::Panel;
use super::decay::step_sizes;
use crate::report::figure::{Axis, Colour, Figure, Mark, Series};
use crate::report::loaded::Loaded;
use crate::report::number::significant;
use crate::report::thin;

pub(super) fn panel(loaded: &Loaded, is_log: bool) -> Panel {
    let mut words = Vec::new();
    if loaded.descent.is_empty() && loaded.sharpness.is_empty() {
        words.push("Gradient descent was not compared with this flow. `gradflow compare` does so for the step sizes under `descent`.".to_owned());
    }
    for step_size in step_sizes(loaded.descent.iter().map(|r| r.step_size)) {
        let rows = loaded.descent.iter().filter(|r| r.step_size == step_size);
        let farthest = rows.clone().map(|r| r.relative_distance).fold(0.0, f64::max);
        let last = rows.clone().next_back();
        words.push(format!(
            "η = {step_size}: after {} steps the loss is {} against {} of the flow; the relative distance is at most {}.",
            last.map_or(0, |r| r.k),
            significant(last.map(|r| r.loss_descent)),
            significant(last.map(|r| r.loss_flow)),
            significant(Some(farthest))
        ));
    }
    let sharpest = loaded.sharpness.iter().map(|r| r.sharpness).fold(f64::NAN, f64::max);
    if sharpest.is_finite() {
        words.push(format!(
            "The sharpness is at most {}: gradient descent is stable there for η below {}.",
            significant(Some(sharpest)),
            significant(Some(2.0 / sharpest))
        ));
    }
    let figures = [distance(loaded, is_log), sharpness(loaded, is_log), pattern(loaded, is_log)];
    Panel { id: "compare", title: "Gradient descent", words, figures: figures.into_iter().flatten().collect() }
}

fn distance(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let caption = "Distance of gradient descent from the flow at the same time, relative to the norm of the flow's parameters. Halving η should halve it.";
    let mut figure =
        Figure::new("distance", "Distance from the flow", caption, Axis::time(is_log), Axis::log("relative distance"));
    for (k, step_size) in step_sizes(loaded.descent.iter().map(|r| r.step_size)).into_iter().enumerate() {
        let rows: Vec<_> = loaded.descent.iter().filter(|r| r.step_size == step_size).collect();
        let points = thin::evenly(rows.len(), 1500).into_iter().map(|i| (rows[i].t, rows[i].relative_distance));
        figure.push(Series::new(format!("η = {step_size}"), Mark::Line, Colour::cycle(k + 1), points));
    }
    figure.if_any()
}

fn pattern(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let caption = "Number of unit × sample pairs that are in another piece than along the flow.";
    let mut figure = Figure::new(
        "pattern",
        "Disagreement of activation patterns",
        caption,
        Axis::time(is_log),
        Axis::linear("pairs"),
    );
    for (k, step_size) in step_sizes(loaded.descent.iter().map(|r| r.step_size)).into_iter().enumerate() {
        let rows: Vec<_> = loaded.descent.iter().filter(|r| r.step_size == step_size).collect();
        let points =
            thin::evenly(rows.len(), 1500).into_iter().map(|i| (rows[i].t, rows[i].pattern_disagreement as f64));
        figure.push(Series::new(format!("η = {step_size}"), Mark::Line, Colour::cycle(k + 1), points));
    }
    figure.if_any()
}

fn sharpness(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let rows = &loaded.sharpness;
    let caption = "Largest eigenvalue of the Hessian along the flow. Gradient descent with step size η is locally unstable where it is above 2/η.";
    let mut figure = Figure::new(
        "sharpness",
        "Sharpness against 2/η",
        caption,
        Axis::time(is_log),
        Axis::log("largest eigenvalue of the Hessian"),
    );
    let kept = thin::evenly(rows.len(), 3000);
    let points = kept.into_iter().map(|k| (rows[k].t, rows[k].sharpness));
    figure.push(Series::new("sharpness", Mark::Line, Colour::Main, points));
    let first = rows.iter().map(|r| r.t).find(|t| *t > 0.0).unwrap_or(0.0);
    let ends = [first, rows.last().map_or(f64::NAN, |r| r.t)];
    for (k, step_size) in step_sizes(loaded.descent.iter().map(|r| r.step_size)).into_iter().enumerate() {
        figure.push(Series::new(
            format!("2/η for η = {step_size}"),
            Mark::Dashed,
            Colour::cycle(k + 1),
            ends.map(|t| (t, 2.0 / step_size)),
        ));
    }
    figure.if_any()
}
