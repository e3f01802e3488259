//! A sweep on one page: rate and λ₀ against P/nM, the verdicts of all cells, loss curves on one axis.

use super::figure::{Axis, Colour, Figure, Mark, Series};
use super::html::{escape, figure_data, json_data};
use super::loaded::Loaded;
use super::number::significant;
use super::page::{Chip, document, faults, section, toolbar};
use super::panels::Panel;
use super::thin;
use crate::record::{Run, Sweep, TrajectoryRecord};
use serde_json::json;
use std::fmt::Write;

/// Loss curves on one axis.
const MOST_CURVES: usize = 24;

/// Cells that the table shows.
const MOST_CELLS: usize = 2000;

/// The page.
pub(super) fn page(sweep: &Sweep) -> String {
    let figures = figures(sweep, false);
    let n_finished = sweep.rows.iter().filter(|row| sweep.text(row, "status") == "completed").count();
    let words = vec![
        format!("{} cells, {n_finished} of them completed; axes: {}.", sweep.rows.len(), sweep.axes().join(", ")),
        "Over-parametrised cells lie to the right of P/nM = 1, where the theorem promises λ₀ > 0.".to_owned(),
    ];
    let panels = [Panel { id: "sweep", title: "Against the number of parameters", words, figures }];
    let mut body = format!(
        "<header><h1>Sweep {}</h1><p class=\"files\">Files beside this page: <a href=\"sweep.csv\">sweep.csv</a>, <a href=\"plan.ron\">plan.ron</a>.</p></header>\n",
        escape(&sweep.folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()))
    );
    toolbar(&mut body, &panels, false);
    let missing: Vec<String> = sweep.rows.iter().filter_map(|row| unreadable(sweep, row)).take(20).collect();
    faults(&mut body, &missing);
    section(&mut body, &panels[0], "");
    body.push_str(&matrix(sweep));
    let data = json_data("figures", &panels[0].figures.iter().map(figure_data).collect::<Vec<_>>());
    let settings = json_data("settings", &json!({ "log_time": false, "t_end": null }));
    document("sweep – gradflow", &body, &(data + &settings))
}

/// Why a cell that is in the table has no record to read.
fn unreadable(sweep: &Sweep, row: &[String]) -> Option<String> {
    let folder = sweep.cell_folder(row)?;
    let is_finished = matches!(sweep.text(row, "status"), "completed" | "stopped");
    is_finished.then(|| Run::open(&folder).err().map(|e| e.to_string())).flatten()
}

fn matrix(sweep: &Sweep) -> String {
    let mut columns: Vec<&str> = vec!["cell"];
    columns.extend(sweep.axes().iter().map(String::as_str));
    let words = ["status", "bound_verdict", "integral_verdict"];
    let numbers = ["parameters", "parameters_per_target", "lambda0", "decay_rate", "loss_final", "events"];
    let mut out = "<section class=\"panel\" id=\"panel-cells\"><h2>Verdicts, cell by cell</h2><div class=\"scroll\"><table class=\"verdicts\" id=\"cells\"><thead><tr>".to_owned();
    for name in columns.iter().chain(&words).chain(&numbers) {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(name));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in sweep.rows.iter().take(MOST_CELLS) {
        out.push_str("<tr>");
        for name in &columns {
            let _ = write!(out, "<td>{}</td>", escape(sweep.text(row, name)));
        }
        for name in words {
            let word = sweep.text(row, name);
            let shown = if word.is_empty() { "-".to_owned() } else { Chip::of(word).html() };
            let _ = write!(out, "<td>{shown}</td>");
        }
        for name in numbers {
            let (text, value) = (sweep.text(row, name), sweep.number(row, name));
            let shown = if text.parse::<u64>().is_ok() { text.to_owned() } else { significant(Some(value)) };
            let _ = write!(out, "<td title=\"{}\">{}</td>", escape(text), escape(&shown));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>");
    if sweep.rows.len() > MOST_CELLS {
        let _ = write!(out, "<p>{MOST_CELLS} of {} cells are shown; sweep.csv has them all.</p>", sweep.rows.len());
    }
    out + "</section>\n"
}

/// Its figures.
pub(super) fn figures(sweep: &Sweep, is_log: bool) -> Vec<Figure> {
    let against = |id, title: &str, caption: &str, label: &str, columns: &[(&str, &str)]| {
        let mut figure = Figure::new(id, title, caption, Axis::log("parameters per target, P / nM"), Axis::log(label));
        for (k, (column, name)) in columns.iter().enumerate() {
            let points =
                sweep.rows.iter().map(|row| (sweep.number(row, "parameters_per_target"), sweep.number(row, column)));
            figure.push(Series::new(*name, Mark::Points, Colour::cycle(k), points));
        }
        figure.if_any()
    };
    [
        against("sweep-rate", "Decay rate", "Rate at which the loss decays, a mark per cell.", "decay rate", &[("decay_rate", "decay rate")]),
        against(
            "sweep-lambda",
            "Smallest eigenvalue",
            "λ_min of G at the start and λ₀, its minimum over the run; cells with λ = 0 are not drawn on a logarithmic axis.",
            "eigenvalue",
            &[("lambda0", "λ₀"), ("lambda_min_0", "λ_min at the start")],
        ),
        against("sweep-loss", "Loss at the end", "Loss at the end of each run, and at fixed times where they were asked for.", "loss", &loss_columns(sweep)),
        curves(sweep, is_log),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn loss_columns(sweep: &Sweep) -> Vec<(&str, &str)> {
    let fixed = sweep.columns.iter().filter(|c| c.starts_with("loss_at_")).map(|c| (c.as_str(), c.as_str()));
    [("loss_final", "at the end")].into_iter().chain(fixed).collect()
}

fn curves(sweep: &Sweep, is_log: bool) -> Option<Figure> {
    let finished: Vec<&Vec<String>> =
        sweep.rows.iter().filter(|row| sweep.cell_folder(row).is_some_and(|f| f.is_dir())).collect();
    let kept = thin::evenly(finished.len(), MOST_CURVES);
    let mut caption = "Loss of the cells over time.".to_owned();
    if kept.len() < finished.len() {
        caption += &format!(" {} of {} cells are drawn.", kept.len(), finished.len());
    }
    let mut figure = Figure::new("sweep-curves", "Loss over time", &caption, Axis::time(is_log), Axis::log("loss L"));
    for (k, row) in kept.into_iter().map(|k| finished[k]).enumerate() {
        let Some(loaded) = sweep.cell_folder(row).and_then(|folder| Loaded::open(&folder).ok()) else { continue };
        let axes: Vec<String> = sweep.axes().iter().map(|axis| format!("{axis} = {}", sweep.text(row, axis))).collect();
        let column: fn(&TrajectoryRecord) -> Option<f64> = |r| Some(r.loss);
        let points = thin::rows(&loaded.trajectory, &[column]).into_iter();
        let points: Vec<(f64, f64)> = points.map(|k| (loaded.trajectory[k].t, loaded.trajectory[k].loss)).collect();
        let points = thin::evenly(points.len(), 1000).into_iter().map(|k| points[k]);
        figure.push(Series::new(axes.join(", "), Mark::Line, Colour::cycle(k), points));
    }
    figure.if_any()
}
