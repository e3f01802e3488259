//! The spectrum of the Gram matrix over time.

use super::Panel;
use crate::record::{EstimateSummary, LimitSide, TrajectoryRecord};
use crate::report::figure::{Axis, Colour, Figure, Mark, Series};
use crate::report::loaded::Loaded;
use crate::report::number::significant;
use crate::report::thin;

/// Relative jumps of λ_min below this are not drawn as jumps.
const VISIBLE_JUMP: f64 = 1e-3;

/// Spectra that can be told apart in one figure.
const MOST_SPECTRA: usize = 6;

pub(super) fn panel(loaded: &Loaded, is_log: bool) -> Panel {
    let s = loaded.run.summary();
    let mut words = Vec::new();
    match &s.lambda0 {
        Some(l) => {
            let at = if l.side == "smooth" { "inside a piece".to_owned() } else { format!("just {} an event", l.side) };
            let resolved = if l.resolved { "positive beyond doubt" } else { "not resolved from zero" };
            words.push(format!(
                "λ₀ = {} at t = {}, {at}; known to about {}: {resolved}; {}.",
                significant(l.value),
                significant(Some(l.t)),
                significant(l.known_to.or(l.resolution)),
                l.rank_of(s.targets)
            ));
            if let Some(tracking) = s.tracking.as_ref().filter(|t| t.skipped > 0 && l.structural_zero.is_none()) {
                words.push(format!(
                    "λ_min was measured at {} ends of steps and sides of events; at the {} others it is at least {}, certainly.",
                    tracking.measured,
                    tracking.skipped,
                    significant(tracking.skipped_above)
                ));
            }
            if let Some(reason) = &l.structural_zero {
                words.push(format!("λ₀ is zero by structure: {}.", reason.replace('_', " ")));
            }
        }
        None if !s.estimates.is_empty() => words.push(format!(
            "Both ends of the spectrum were estimated at {} times without making G. λ_min is at most the lower value, and nothing says by how much less it is.",
            s.estimates.len()
        )),
        None if loaded.trajectory.iter().any(|r| r.lambda_min.is_some()) => {
            words.push("λ₀ is not known: the run did not end by itself.".to_owned());
        }
        None => words.push("The spectrum was not tracked (ntk.track = false).".to_owned()),
    }
    let figures = [lambda(loaded, is_log), condition(loaded, is_log), spectra(loaded)];
    Panel {
        id: "spectrum",
        title: "Spectrum of the neural tangent kernel",
        words,
        figures: figures.into_iter().flatten().collect(),
    }
}

fn lambda(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let rows = thin::rows(&loaded.trajectory, &[|r| r.lambda_min]);
    let rows: Vec<&TrajectoryRecord> = rows.iter().map(|&k| &loaded.trajectory[k]).collect();
    let mut points = Vec::new();
    let mut jumps = Vec::new();
    for (k, row) in rows.iter().enumerate() {
        let Some(lambda) = row.lambda_min else { continue };
        let before = k.checked_sub(1).map(|k| rows[k]).filter(|b| row.side == LimitSide::After && b.t == row.t);
        if let Some(from) = before.and_then(|b| b.lambda_min)
            && (lambda - from).abs() > VISIBLE_JUMP * lambda.abs().max(from.abs())
        {
            points.push((row.t, f64::NAN));
            jumps.extend([(row.t, from), (row.t, lambda), (row.t, f64::NAN)]);
        }
        points.push((row.t, lambda));
    }
    let caption = "λ_min jumps where an event changes a slope; dotted strokes join both one-sided limits where both were measured. The Rayleigh quotient rᵀGr/rᵀr is the \
        decay rate of the residual at that instant and lies between λ_min and λ_max. Below the floor ε·nM·λ_max an eigenvalue of G would be rounding.";
    let mut figure = Figure::new("lambda", "Eigenvalues of G", caption, Axis::time(is_log), Axis::log("eigenvalue"));
    let of = |column: fn(&TrajectoryRecord) -> Option<f64>| {
        rows.iter().filter_map(move |r| Some((r.t, column(r)?))).collect::<Vec<_>>()
    };
    figure.push(Series::new("λ_min", Mark::Line, Colour::Main, points));
    figure.push(Series::new("jumps of λ_min", Mark::Dotted, Colour::Main, jumps));
    figure.push(Series::new("λ_max", Mark::Line, Colour::Second, of(|r| r.lambda_max)));
    figure.push(Series::new("Rayleigh quotient", Mark::Line, Colour::Third, of(|r| r.rayleigh)));
    let estimates = &loaded.run.summary().estimates;
    let of_estimates = |value: fn(&EstimateSummary) -> Option<f64>| {
        estimates.iter().filter_map(move |e| Some((e.t, value(e)?))).collect::<Vec<_>>()
    };
    let (low, high) = (of_estimates(|e| e.lambda_min_at_most), of_estimates(|e| e.lambda_max));
    figure.push(Series::new("λ_min at most (estimate)", Mark::Points, Colour::Main, low));
    figure.push(Series::new("λ_max (estimate)", Mark::Points, Colour::Second, high));
    let targets = loaded.run.summary().targets as f64;
    let floor = of(|r| r.lambda_max).into_iter().map(|(t, l)| (t, f64::EPSILON * targets * l));
    figure.push(Series::new("resolution floor", Mark::Dotted, Colour::Muted, floor));
    if let Some(l) = &loaded.run.summary().lambda0
        && let Some(value) = l.value
    {
        let name = format!("λ₀ = {} at t = {}", significant(l.value), significant(Some(l.t)));
        figure.push(Series::new(name, Mark::Points, Colour::Alert, [(l.t, value)]));
    }
    figure.if_any()
}

fn condition(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let rows = thin::rows(&loaded.trajectory, &[|r| r.lambda_min]);
    let points = rows.iter().filter_map(|&k| {
        let row = &loaded.trajectory[k];
        let (low, high) = (row.lambda_min?, row.lambda_max?);
        (low > 0.0).then_some((row.t, high / low))
    });
    let caption = "λ_max/λ_min of G: how much slower the slowest component of the residual is than the fastest.";
    Figure::new("condition", "Condition number of G", caption, Axis::time(is_log), Axis::log("λ_max / λ_min"))
        .with(Series::new("condition number", Mark::Line, Colour::Main, points))
        .if_any()
}

fn spectra(loaded: &Loaded) -> Option<Figure> {
    let mut times: Vec<f64> = loaded.spectra.iter().map(|r| r.t).collect();
    times.dedup();
    let kept = thin::evenly(times.len(), MOST_SPECTRA);
    let thinned = if kept.len() < times.len() {
        format!(" {} of {} recorded spectra are drawn.", kept.len(), times.len())
    } else {
        String::new()
    };
    let caption = format!(
        "All nM eigenvalues of G in decreasing order, at the start, the end, save times, and whenever the loss had fallen by another factor of ten.{thinned}"
    );
    let mut figure = Figure::new(
        "spectrum",
        "Spectrum of G at chosen times",
        &caption,
        Axis::linear("index of the eigenvalue"),
        Axis::log("eigenvalue"),
    );
    for (k, t) in kept.into_iter().map(|k| times[k]).enumerate() {
        let points = loaded.spectra.iter().filter(|r| r.t == t).map(|r| (r.index as f64 + 1.0, r.eigenvalue));
        let points: Vec<_> = points.collect();
        let mark = if points.len() > 1 { Mark::Line } else { Mark::Points };
        figure.push(Series::new(format!("t = {}", significant(Some(t))), mark, Colour::cycle(k), points));
    }
    figure.if_any()
}
