//! Several runs on one page: losses, λ_min, events, verdicts.

use super::figure::{Axis, Colour, Figure, Mark, Series};
use super::html::{escape, figure_data, json_data};
use super::loaded::Loaded;
use super::number::significant;
use super::page::{Chip, document, faults, section, toolbar};
use super::panels::{Panel, suits_log_time};
use super::thin;
use crate::record::{Status, TrajectoryRecord};
use serde_json::json;
use std::fmt::Write;

/// The page.
pub(super) fn page(runs: &[Loaded]) -> String {
    let is_log = runs.iter().any(suits_log_time);
    let panel = Panel { id: "together", title: "Together", words: Vec::new(), figures: figures(runs, is_log) };
    let names = labels(runs);
    let mut body = format!(
        "<header><h1>{} runs side by side</h1><p class=\"lead\">{}</p>\n{}</header>\n",
        runs.len(),
        escape(&names.join(" · ")),
        table(runs, &names)
    );
    let panels = [panel];
    toolbar(&mut body, &panels, is_log);
    let all: Vec<String> =
        runs.iter().zip(&names).flat_map(|(r, n)| r.faults.iter().map(move |f| format!("{n}: {f}"))).collect();
    faults(&mut body, &all);
    section(&mut body, &panels[0], "");
    let data = json_data("figures", &panels[0].figures.iter().map(figure_data).collect::<Vec<_>>());
    let t_end = runs.iter().map(Loaded::t_end).fold(0.0, f64::max);
    let settings = json_data("settings", &json!({ "log_time": is_log, "t_end": t_end }));
    document("runs side by side – gradflow", &body, &(data + &settings))
}

/// The names of the runs; where two are equal, those of their folders as well.
fn labels(runs: &[Loaded]) -> Vec<String> {
    let label = |run: &Loaded| {
        let is_shared = runs.iter().filter(|other| other.name() == run.name()).count() > 1;
        if is_shared { format!("{} ({})", run.name(), run.run.folder().display()) } else { run.name().to_owned() }
    };
    runs.iter().map(label).collect()
}

fn table(runs: &[Loaded], names: &[String]) -> String {
    let mut out = "<div class=\"scroll\"><table class=\"verdicts\" id=\"runs\"><thead><tr><th></th>".to_owned();
    for name in names {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(name));
    }
    out.push_str("</tr></thead><tbody>\n");
    let mut row = |name: &str, cell: &dyn Fn(&Loaded) -> String| {
        let cells: String = runs.iter().map(|run| format!("<td>{}</td>", cell(run))).collect();
        let _ = writeln!(out, "<tr><th scope=\"row\">{name}</th>{cells}</tr>");
    };
    let chip = |word: &str| Chip::of(word).html();
    row("run", &|r| {
        chip(match r.run.summary().status {
            Status::Completed => "completed",
            Status::Stopped => "stopped early",
            Status::Running => "still running",
        })
    });
    row("bound", &|r| r.run.summary().bound.as_ref().map_or("-".to_owned(), |b| chip(&b.verdict)));
    row("integral bound", &|r| r.run.summary().bound.as_ref().map_or("-".to_owned(), |b| chip(&b.integral_verdict)));
    row("λ₀", &|r| significant(r.run.summary().lambda0.as_ref().and_then(|l| l.value)));
    row("P, nM", &|r| format!("{}, {}", r.run.summary().parameters, r.run.summary().targets));
    row("time reached", &|r| significant(r.run.summary().t_end));
    row("loss at the start", &|r| significant(r.run.summary().loss_initial));
    row("loss at the end", &|r| significant(r.run.summary().loss_final));
    let events = |r: &Loaded, of: fn(&crate::record::EventSummary) -> u64| {
        r.run.summary().events.as_ref().map_or("-".to_owned(), |e| of(e).to_string())
    };
    row("crossings", &|r| events(r, |e| e.crossing));
    row("slide entries", &|r| events(r, |e| e.slide_enter));
    row("slide exits", &|r| events(r, |e| e.slide_exit));
    row("most sliding at once", &|r| events(r, |e| e.max_sliding));
    row("steps", &|r| r.run.summary().work.as_ref().map_or("-".to_owned(), |w| w.steps.to_string()));
    row("method", &|r| escape(r.run.summary().work.as_ref().map_or("-", |w| &w.method)));
    row("rtol", &|r| format!("{:e}", r.run.summary().tolerances.rtol));
    row("energy defect", &|r| significant(r.run.summary().identities.as_ref().and_then(|i| i.energy_defect)));
    out + "</tbody></table></div>\n"
}

/// Its figures.
pub(super) fn figures(runs: &[Loaded], is_log: bool) -> Vec<Figure> {
    let names = labels(runs);
    let draw = |id, title: &str, caption: &str, y: Axis, mark, column: fn(&TrajectoryRecord) -> Option<f64>| {
        let mut figure = Figure::new(id, title, caption, Axis::time(is_log), y);
        for (k, (run, name)) in runs.iter().zip(&names).enumerate() {
            let rows = thin::rows(&run.trajectory, &[column]);
            let points = rows.into_iter().filter_map(|k| Some((run.trajectory[k].t, column(&run.trajectory[k])?)));
            figure.push(Series::new(name.as_str(), mark, Colour::cycle(k), points));
        }
        figure.if_any()
    };
    let events = || {
        let caption = "Changes at events up to each time.";
        let mut figure = Figure::new("events", "Events so far", caption, Axis::time(is_log), Axis::linear("events"));
        for (k, (run, name)) in runs.iter().zip(&names).enumerate() {
            let kept = thin::evenly(run.events.len(), 2000);
            let points = kept.into_iter().map(|k| (run.events[k].t, k as f64 + 1.0));
            figure.push(Series::new(name.as_str(), Mark::Steps, Colour::cycle(k), points));
        }
        figure.if_any()
    };
    [
        draw("loss", "Loss", "The loss of each run.", Axis::log("loss L"), Mark::Line, |r| Some(r.loss)),
        draw(
            "lambda",
            "λ_min",
            "Smallest eigenvalue of the Gram matrix of each run.",
            Axis::log("λ_min"),
            Mark::Line,
            |r| r.lambda_min,
        ),
        events(),
        draw(
            "sliding",
            "Units sliding",
            "Pre-activations held on a kink.",
            Axis::linear("units sliding"),
            Mark::Steps,
            |r| Some(r.sliding as f64),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
