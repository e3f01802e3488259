//! Identities of the flow: energy, conserved quantities, displacement; the audit.

use super::{Panel, counted};
use crate::record::StepRecord;
use crate::report::figure::{Axis, Colour, Figure, Mark, Series};
use crate::report::loaded::Loaded;
use crate::report::number::significant;
use crate::report::thin;

/// Steps that are drawn one by one.
const MOST_STEPS: usize = 3000;

pub(super) fn panel(loaded: &Loaded, is_log: bool) -> Panel {
    let s = loaded.run.summary();
    let mut words = Vec::new();
    match &s.identities {
        Some(i) => {
            words.push(format!("Energy defect: at most {} of L(0).", significant(i.energy_defect)));
            words.push(match (i.conserved, &i.none_conserved_because) {
                (true, _) => {
                    let (drift, relative_to) = i.drift();
                    format!(
                        "{}; the largest drift is {} {relative_to}.",
                        counted(i.n_conserved as u64, "conserved quantity", "conserved quantities"),
                        significant(drift)
                    )
                }
                (false, Some(reason)) => format!("Nothing is conserved: {reason}."),
                (false, None) => "Nothing is conserved.".to_owned(),
            });
            words.push(format!(
                "Displacement bound: {}; the largest quotient is {}.",
                if i.displacement_bound_ok { "kept" } else { "broken" },
                significant(Some(i.displacement_worst_ratio.unwrap_or(f64::NAN)))
            ));
        }
        None => words.push("The identities are not in the summary: the run has not ended.".to_owned()),
    }
    words.push(match &s.audit {
        Some(audit) if audit.missed == 0 => format!("Audit: no event missed at {} random times.", audit.checked),
        Some(audit) => format!("Audit: events missed at {} of {} random times.", audit.missed, audit.checked),
        None => "Audit: not done. `gradflow run --audit 100` checks every surface again at random times.".to_owned(),
    });
    let figures = [defects(loaded, is_log), displacement(loaded, is_log), conserved(loaded)];
    Panel { id: "identities", title: "Identities", words, figures: figures.into_iter().flatten().collect() }
}

fn defects(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let kept = thin::evenly(loaded.steps.len(), MOST_STEPS);
    let of = |column: fn(&StepRecord) -> Option<f64>| {
        let points = kept.iter().filter_map(move |&k| Some((loaded.steps[k].t, column(&loaded.steps[k])?)));
        points.filter(|(_, y)| *y > 0.0).collect::<Vec<_>>()
    };
    let caption = "Both are zero along the exact flow, so their size shows the error of the run: |L(0) − L(t) − ∫‖∇L‖²| / L(0), and the largest relative \
        change of a conserved quantity.";
    Figure::new(
        "defects",
        "Defects of energy and conservation",
        caption,
        Axis::time(is_log),
        Axis::log("relative defect"),
    )
    .with(Series::new("energy", Mark::Line, Colour::Main, of(|s| Some(s.energy_defect))))
    .with(Series::new("conservation", Mark::Line, Colour::Second, of(|s| s.conservation_drift)))
    .if_any()
}

fn displacement(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let kept = thin::evenly(loaded.steps.len(), MOST_STEPS);
    let points = kept.iter().filter_map(|&k| Some((loaded.steps[k].t, loaded.steps[k].displacement_ratio?)));
    let points: Vec<(f64, f64)> = points.collect();
    let ends = [points.first().map_or(f64::NAN, |p| p.0), points.last().map_or(f64::NAN, |p| p.0)];
    let caption = "‖θ(t) − θ₀‖² / (t·(L(0) − L(t))) is at most 1 along any gradient flow.";
    Figure::new("displacement", "Displacement bound", caption, Axis::time(is_log), Axis::linear("quotient"))
        .with(Series::new("quotient", Mark::Line, Colour::Main, points))
        .with(Series::new("bound", Mark::Dashed, Colour::Alert, ends.map(|t| (t, 1.0))))
        .if_any()
}

fn conserved(loaded: &Loaded) -> Option<Figure> {
    let mut layers: Vec<usize> = loaded.conserved.iter().map(|r| r.layer).collect();
    layers.dedup();
    let caption = "Largest change of ‖w_in‖² + b² − ‖w_out‖² over the run, one mark per hidden unit (or channel).";
    let mut figure =
        Figure::new("conserved", "Conservation per unit", caption, Axis::linear("unit"), Axis::log("largest change"));
    for (k, layer) in layers.into_iter().enumerate() {
        let rows = loaded.conserved.iter().filter(|r| r.layer == layer);
        let points = rows.map(|r| (r.channel as f64, r.largest_change));
        figure.push(Series::new(format!("layer {layer}"), Mark::Dots, Colour::cycle(k), points));
    }
    figure.if_any()
}
