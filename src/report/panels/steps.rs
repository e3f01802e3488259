//! Steps: their length and what limited it.

use super::{Panel, counted};
use crate::record::{LimitWord, StepRecord};
use crate::report::figure::{Axis, Colour, Figure, Mark, Series};
use crate::report::loaded::Loaded;
use crate::report::thin;

/// Steps that are drawn one by one.
const MOST_STEPS: usize = 5000;

fn reason(limit: LimitWord) -> (&'static str, Colour) {
    match limit {
        LimitWord::Accuracy => ("limited by accuracy", Colour::Main),
        LimitWord::Stability => ("limited by stability", Colour::Fourth),
        LimitWord::Crossing => ("kept short ahead of a crossing", Colour::Third),
        LimitWord::Event => ("cut short at an event", Colour::Second),
        LimitWord::End => ("end of the run", Colour::Muted),
    }
}

pub(super) fn panel(loaded: &Loaded, is_log: bool) -> Panel {
    let steps = &loaded.steps;
    let mut words = Vec::new();
    if steps.is_empty() {
        words.push("No steps are on record.".to_owned());
    } else {
        let count = |limit| steps.iter().filter(|s| s.limit == limit).count();
        let shares = LimitWord::ALL.iter().filter(|l| count(**l) > 0);
        let shares: Vec<String> = shares.map(|l| format!("{} {}", count(*l), reason(*l).0)).collect();
        let rejected: u64 = steps.iter().map(|s| s.rejected).sum();
        words.push(format!(
            "{} ({}): {}.",
            counted(steps.len() as u64, "accepted step", "accepted steps"),
            counted(rejected, "attempt rejected", "attempts rejected"),
            shares.join(", ")
        ));
        let switches = steps.last().map_or(0, |s| s.method_switches);
        let method = loaded.run.summary().work.as_ref().map_or("", |w| w.method.as_str());
        words.push(match (method, switches) {
            ("", n) => format!("{}.", counted(n, "change of method", "changes of method")),
            (method, 0) => format!("Method {method}; it was never changed."),
            (method, n) => format!("Method {method}; {}.", counted(n, "change of method", "changes of method")),
        });
    }
    Panel { id: "steps", title: "Steps", words, figures: lengths(steps, is_log).into_iter().collect() }
}

fn lengths(steps: &[StepRecord], is_log: bool) -> Option<Figure> {
    let kept = thin::evenly(steps.len(), MOST_STEPS);
    let mut caption = "Length of each accepted step at its end, by what limited it. Crosses mark steps before which an attempt was rejected.".to_owned();
    if kept.len() < steps.len() {
        caption += &format!(" {} of {} steps are drawn, evenly.", kept.len(), steps.len());
    }
    let mut figure = Figure::new("steps", "Step length", &caption, Axis::time(is_log), Axis::log("step length"));
    for limit in LimitWord::ALL {
        let (name, colour) = reason(limit);
        let points = kept.iter().map(|&k| &steps[k]).filter(|s| s.limit == limit).map(|s| (s.t, s.length));
        figure.push(Series::new(name, Mark::Dots, colour, points));
    }
    let rejected = kept.iter().map(|&k| &steps[k]).filter(|s| s.rejected > 0).map(|s| (s.t, s.length));
    figure.push(Series::new("after a rejected attempt", Mark::Crosses, Colour::Alert, rejected));
    let lowest = steps.iter().map(|s| s.length).filter(|h| *h > 0.0).fold(f64::INFINITY, f64::min);
    let highest = steps.iter().map(|s| s.length).fold(0.0, f64::max);
    let mut before = 0;
    let changes = steps.iter().filter(|s| std::mem::replace(&mut before, s.method_switches) != s.method_switches);
    let strokes = changes.flat_map(|s| [(s.t, lowest), (s.t, highest), (f64::NAN, f64::NAN)]);
    figure.push(Series::new("change of method", Mark::Dashed, Colour::Alert, strokes));
    figure.if_any()
}
