//! The short summary of a run for people.

use gradflow::record::{
    BoundSummary, EstimateSummary, EventSummary, IdentitySummary, Status, Summary, TrackingSummary, WorkSummary,
};
use gradflow::report::significant as number;
use std::io::{self, Write};
use std::path::Path;

/// Writes the summary of a finished run.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn write(out: &mut impl Write, summary: &Summary, folder: &Path) -> io::Result<()> {
    let s = summary;
    writeln!(
        out,
        "{}: P = {} parameters, nM = {} targets, {} switching surfaces",
        s.scenario, s.parameters, s.targets, s.surfaces
    )?;
    let ended = if s.status == Status::Completed { "completed" } else { "STOPPED EARLY" };
    let message = s.stop_message.as_deref().unwrap_or("");
    line(out, "end", &format!("{ended} at t = {}: {message}", number(s.t_end)))?;
    if let Some(accuracy) = &s.accuracy {
        line(out, "accuracy", &format!("{}: {}", accuracy.verdict, accuracy.text()))?;
    }
    if let Some(rest) = &s.rest {
        line(out, "rest", &rest.text())?;
    }
    line(out, "loss", &format!("{} -> {}", number(s.loss_initial), number(s.loss_final)))?;
    if let Some(events) = &s.events {
        line(out, "events", &events_line(events))?;
    }
    if !s.start.is_empty() {
        line(out, "start", &format!("{} on a breakpoint", units(s.start.len())))?;
    }
    match &s.lambda0 {
        Some(l) => {
            let at = if l.side == "smooth" { String::new() } else { format!(" ({} an event)", l.side) };
            let (value, t, known_to) = (number(l.value), number(Some(l.t)), number(l.known_to.or(l.resolution)));
            line(
                out,
                "lambda_0",
                &format!("{value} at t = {t}{at}, known to about {known_to}; {}", l.rank_of(s.targets)),
            )?;
        }
        None => line(out, "lambda_0", &estimates_line(&s.estimates).unwrap_or_else(|| "not tracked".to_owned()))?,
    }
    if let Some(tracking) = &s.tracking {
        line(out, "lambda_min", &tracking_line(tracking))?;
    }
    if let Some(bound) = &s.bound {
        bounds(out, bound)?;
    }
    if let Some(identities) = &s.identities {
        line(out, "identities", &identities_line(identities))?;
    }
    if let Some(first) = s.branch_points.first() {
        let t = number(Some(first.t));
        line(
            out,
            "branch points",
            &format!(
                "{}, the first at t = {t}: from there on another solution exists or nearly does, and the last digits decide",
                s.branch_points.len()
            ),
        )?;
    }
    if let Some(audit) = &s.audit {
        line(out, "audit", &format!("missed events: {} of {} times checked", audit.missed, audit.checked))?;
    }
    if let Some(work) = &s.work {
        work_lines(out, work, s)?;
    }
    line(out, "record", &folder.display().to_string())
}

/// What to try after a run that stopped early.
pub(super) fn advice(summary: &Summary) -> Option<&'static str> {
    match summary.stop_reason.as_deref()? {
        "stationary" => {
            Some("the flow rests at a critical point; no target below this loss can be met from this start")
        }
        "step_limit" => Some("raise flow.max_steps, or loosen flow.rtol"),
        "step_too_small" => Some("loosen flow.rtol; where flow.atol is a number, leave it out"),
        "non_finite" => Some("the flow has left the range of f64: check the scale of data and start"),
        "missed_event" => Some("tighten flow.rtol"),
        "chatter" | "undecided" => Some("the record is good up to here; tighten flow.rtol, or move the start a little"),
        "output_error" => Some("the record is incomplete; make room or choose another folder with --out"),
        "spectrum_error" => Some("run without the spectrum: --set ntk.track=false"),
        _ => None,
    }
}

/// Says on stderr what is doubtful before anything has run, and what to do about it.
pub(super) fn warn((text, hint): &(String, String)) {
    eprintln!("warning: {text}\n  hint: {hint}");
}

pub(super) fn line(out: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {label:<14} {text}")
}

fn events_line(events: &EventSummary) -> String {
    let total = events.total();
    if total == 0 && events.max_sliding == 0 {
        return "none".to_owned();
    }
    let mut text = format!(
        "{total}: {} crossings, {} slide entries, {} slide exits, {} grazes; at most {} sliding at once",
        events.crossing, events.slide_enter, events.slide_exit, events.graze, events.max_sliding
    );
    match events.simultaneous {
        0 => {}
        1 => text += "; 1 instant with several",
        n => text += &format!("; {n} instants with several"),
    }
    text
}

/// What estimates say about λ₀, where there are any.
fn estimates_line(estimates: &[EstimateSummary]) -> Option<String> {
    let value = |e: &EstimateSummary| e.lambda_min_at_most.unwrap_or(f64::INFINITY);
    let lowest = estimates.iter().min_by(|a, b| value(a).total_cmp(&value(b)))?;
    let (at_most, t, residual) = (number(lowest.lambda_min_at_most), number(Some(lowest.t)), number(lowest.residual));
    let n = estimates.len();
    let times = if n == 1 { "at one time".to_owned() } else { format!("at {n} times") };
    Some(format!(
        "at most {at_most}, estimated without G {times} (t = {t}: some eigenvalue is within {residual} of it)"
    ))
}

/// What is certified about λ_min, and what rests on estimates.
fn tracking_line(tracking: &TrackingSummary) -> String {
    let TrackingSummary { measured, skipped, skipped_above, .. } = tracking;
    let rest = "between these an estimate says where to look";
    match skipped {
        _ if *measured == 0 => "zero by structure; nothing was measured".to_owned(),
        0 => format!("measured at all {measured} ends of steps and sides of events; {rest}"),
        _ => format!(
            "measured at {measured} ends of steps and sides of events, certified to be at least {} at the {skipped} others; {rest}",
            number(*skipped_above)
        ),
    }
}

fn bounds(out: &mut impl Write, bound: &BoundSummary) -> io::Result<()> {
    line(out, "bound", &format!("{}: {}", bound.verdict, bound.reason))?;
    line(out, "integral bound", &format!("{}: {}", bound.integral_verdict, bound.integral_reason))
}

fn identities_line(identities: &IdentitySummary) -> String {
    let conserved = if identities.conserved {
        let quantities = if identities.n_conserved == 1 { "quantity drifts" } else { "quantities drift" };
        let (drift, relative_to) = identities.drift();
        format!("{} conserved {quantities} {} {relative_to}", identities.n_conserved, number(drift))
    } else {
        format!("nothing conserved: {}", identities.none_conserved_because.as_deref().unwrap_or("no such law"))
    };
    let displacement = if identities.displacement_bound_ok { "kept" } else { "BROKEN" };
    format!("energy defect {}; {conserved}; displacement bound {displacement}", number(identities.energy_defect))
}

fn work_lines(out: &mut impl Write, work: &WorkSummary, summary: &Summary) -> io::Result<()> {
    let n_events = summary.events.as_ref().map_or(0, EventSummary::total);
    let per_event = if n_events == 0 {
        String::new()
    } else {
        format!(" ({:.1} per event)", work.gradient_evaluations as f64 / n_events as f64)
    };
    let tolerances = &summary.tolerances;
    let (method, rtol, atol) = (&work.method, tolerances.rtol, tolerances.atol);
    line(out, "method", &format!("{method}, rtol {rtol:e}, atol {atol}"))?;
    if let Some((text, _)) = tolerances.warning() {
        line(out, "tolerance", &text)?;
    }
    let strides = match work.strides {
        0 => String::new(),
        1 => "those in 1 stride included, ".to_owned(),
        n => format!("those in {n} strides included, "),
    };
    let text = format!(
        "{} steps ({strides}{} rejected), {} gradients{per_event}, {} JVPs, {} single values, {} eigenvalue solves{}",
        work.steps,
        work.rejected,
        work.gradient_evaluations,
        work.jvp_evaluations,
        work.single_value_evaluations,
        work.eigen_solves,
        implicit_work(work)
    );
    line(out, "work", &text)?;
    line(out, "wall time", &format!("{} s", number(summary.wall_seconds)))
}

/// Counters that only implicit methods have, those that are not zero.
fn implicit_work(work: &WorkSummary) -> String {
    let mut text = String::new();
    for (count, one, many) in [
        (work.linearisations, "linearisation", "linearisations"),
        (work.linear_solves, "linear solve", "linear solves"),
        (work.method_switches, "change of method", "changes of method"),
    ] {
        match count {
            0 => {}
            1 => text += &format!(", 1 {one}"),
            _ => text += &format!(", {count} {many}"),
        }
    }
    text
}

fn units(count: usize) -> String {
    if count == 1 { "1 unit starts".to_owned() } else { format!("{count} units start") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_implicit_methods_are_shown_when_they_are_not_zero() {
        let shown = |linearisations, linear_solves, method_switches| {
            let text = format!(
                r#"{{"steps": 1, "rejected": 0, "gradient_evaluations": 7, "jvp_evaluations": 1, "single_value_evaluations": 0,
                "decay_estimates": 1, "gram_evaluations": 0, "eigen_solves": 0, "method": "Auto",
                "linearisations": {linearisations}, "linear_solves": {linear_solves}, "method_switches": {method_switches}}}"#
            );
            implicit_work(&serde_json::from_str(&text).expect("it can be read"))
        };
        assert_eq!(shown(0, 0, 0), "");
        assert_eq!(shown(1, 6, 1), ", 1 linearisation, 6 linear solves, 1 change of method");
        assert_eq!(shown(20, 123, 2), ", 20 linearisations, 123 linear solves, 2 changes of method");
    }
}
