//! The page of one run.

use super::figure::Figure;
use super::html::{doubles, escape, figure_data, integers, json_data};
use super::loaded::Loaded;
use super::number::significant;
use super::panels::{self, Frames, Panel};
use crate::record::{EventRecord, EventWord, Status, Summary, file};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
const PLOTLY: &str = include_str!("assets/plotly-basic.min.js");

/// Events that the table of a page holds; the file always has them all.
const MOST_EVENTS: usize = 100_000;

/// Longest text of a scenario that is shown in full.
const LONGEST_SCENARIO: usize = 20_000;

/// A verdict with the colour class and sign that go with it.
pub(super) struct Chip<'a> {
    pub word: &'a str,
    pub class: &'static str,
    pub sign: &'static str,
}

impl<'a> Chip<'a> {
    /// The chip of a verdict of the record.
    pub fn of(word: &'a str) -> Self {
        let (class, sign) = match word {
            "good" | "holds" | "kept" | "completed" | "resolved" | "passed" => ("good", "✓"),
            "violated" | "broken" | "missed" => ("bad", "✗"),
            "doubtful" | "stopped early" | "still running" | "unresolved" | "not done" => ("warn", "!"),
            _ => ("plain", "○"),
        };
        Self { word, class, sign }
    }

    pub fn html(&self) -> String {
        format!(
            "<span class=\"chip {}\"><span aria-hidden=\"true\">{}</span> {}</span>",
            self.class,
            self.sign,
            escape(self.word)
        )
    }
}

/// The page of a run.
pub fn page(loaded: &Loaded) -> String {
    let is_log = panels::suits_log_time(loaded);
    let panels = panels::of(loaded, is_log);
    let frames = Frames::of(loaded);
    let mut body = String::new();
    header(&mut body, loaded);
    toolbar(&mut body, &panels, is_log);
    faults(&mut body, &loaded.faults);
    for panel in &panels {
        let extra = match panel.id {
            "path" => frames.as_ref().map_or("", |_| FUNCTION),
            "events" => EVENT_TABLE,
            _ => "",
        };
        section(&mut body, panel, extra);
    }
    verified(&mut body, loaded);
    reproduce(&mut body, loaded);
    let figures: Vec<&Figure> = panels.iter().flat_map(|p| &p.figures).collect();
    let mut data = json_data("figures", &figures.iter().map(|f| figure_data(f)).collect::<Vec<_>>());
    data += &json_data("events-data", &events_data(loaded));
    data += &json_data("settings", &json!({ "log_time": is_log, "t_end": loaded.t_end() }));
    if let Some(frames) = &frames {
        data += &json_data("frames", frames);
    }
    document(&format!("{} – gradflow", loaded.name()), &body, &data)
}

/// A page from its parts; everything it needs is inside.
pub(super) fn document(title: &str, body: &str, data: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:\">\n\
        <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
        <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\n{data}<script>\n{PLOTLY}\n</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escape(title)
    )
}

const EVENT_TABLE: &str = include_str!("assets/events.html");
const FUNCTION: &str = include_str!("assets/function.html");

fn header(out: &mut String, loaded: &Loaded) {
    let s = loaded.run.summary();
    let _ = writeln!(
        out,
        "<header>\n<h1>{}</h1>\n{}\n<p class=\"lead\">{}</p>\n<div class=\"top\">",
        escape(&s.scenario),
        accuracy(s),
        escape(&lead(s))
    );
    let _ = writeln!(out, "<dl class=\"facts\">{}</dl>", facts(loaded));
    if let Some(setting) = &loaded.setting {
        out.push_str(&super::diagram::network(setting.widths()));
    }
    let _ = writeln!(
        out,
        "</div>\n<table class=\"verdicts\" id=\"verdicts\"><caption>Verdicts</caption><tbody>\n{}</tbody></table>",
        verdicts(s)
    );
    out.push_str(&links(loaded.run.folder()));
    out.push_str("</header>\n");
}

/// The first thing that a page says.
fn accuracy(s: &Summary) -> String {
    let (verdict, text) = match &s.accuracy {
        Some(accuracy) => (accuracy.verdict.as_str(), accuracy.text()),
        None => ("not known", "the run has not ended, or its record is from before this was judged".to_owned()),
    };
    format!("<p class=\"accuracy\" id=\"accuracy\">Accuracy: {} {}</p>", Chip::of(verdict).html(), escape(&text))
}

fn lead(s: &Summary) -> String {
    let end = match (s.status, s.t_end) {
        (Status::Running, _) => "It is under way, or was killed; this page shows what is on record so far.".to_owned(),
        (Status::Completed, t) => {
            format!("It ended at t = {}: {}.", significant(t), s.stop_message.as_deref().unwrap_or(""))
        }
        (Status::Stopped, t) => {
            format!("It STOPPED EARLY at t = {}: {}.", significant(t), s.stop_message.as_deref().unwrap_or(""))
        }
    };
    let rest = s.rest.map_or_else(String::new, |rest| format!(" It is {}.", rest.text()));
    format!("The exact gradient flow of a network, kink by kink. {end}{rest}")
}

/// A fact with its exact value at hand.
fn fact(name: &str, key: &str, value: Option<f64>) -> String {
    let exact = value.map_or_else(String::new, |x| format!("{x}"));
    format!(
        "<div><dt>{name}</dt><dd data-key=\"{key}\" data-value=\"{exact}\" title=\"{exact}\">{}</dd></div>",
        significant(value)
    )
}

fn count(name: &str, key: &str, value: u64) -> String {
    format!("<div><dt>{name}</dt><dd data-key=\"{key}\" data-value=\"{value}\">{value}</dd></div>")
}

fn words(name: &str, text: &str) -> String {
    let long = text.chars().count() > 160;
    let shown: String = if long { text.chars().take(157).chain("…".chars()).collect() } else { text.to_owned() };
    format!("<div class=\"wide\"><dt>{name}</dt><dd>{}</dd></div>", escape(&shown))
}

fn facts(loaded: &Loaded) -> String {
    let s = loaded.run.summary();
    let mut out = String::new();
    let from_scenario = |key: &str| {
        let text = loaded.scenario.as_deref()?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().trim_end_matches(',').to_owned())
    };
    for (name, key) in [("Network", "network"), ("Activation", "activation"), ("Data", "data"), ("Start", "initial")] {
        if let Some(text) = from_scenario(key) {
            out += &words(name, &text);
        }
    }
    let method = s.work.as_ref().map_or(String::new(), |w| format!("{}, ", w.method));
    out += &words("Method", &format!("{method}rtol {:e}, atol {}", s.tolerances.rtol, s.tolerances.atol));
    if let Some((text, _)) = s.tolerances.warning() {
        out += &words("Tolerance", &text);
    }
    if let Some(setting) = &loaded.setting {
        out += &words("P = Σ layers", setting.formula());
    }
    out += &count("parameters P", "parameters", s.parameters as u64);
    out += &count("targets nM", "targets", s.targets as u64);
    out += &count("switching surfaces", "surfaces", s.surfaces as u64);
    if let Some(setting) = &loaded.setting {
        out += &count("samples n", "samples", setting.n_samples as u64);
    }
    out += &fact("loss at the start", "loss_initial", s.loss_initial);
    out += &fact("loss at the end", "loss_final", s.loss_final);
    out += &fact("λ₀", "lambda0.value", s.lambda0.as_ref().and_then(|l| l.value));
    out += &fact("time reached", "t_end", s.t_end);
    if let Some(e) = &s.events {
        out += &count("events", "events.total", e.total());
        out += &count("most sliding at once", "events.max_sliding", e.max_sliding);
    }
    if let Some(w) = &s.work {
        out += &count("steps", "work.steps", w.steps);
        out += &count("gradients", "work.gradient_evaluations", w.gradient_evaluations);
    }
    out += &fact("wall time in s", "wall_seconds", s.wall_seconds);
    out
}

fn verdicts(s: &Summary) -> String {
    let mut out = String::new();
    let mut row = |claim: &str, chip: &str, reason: &str| {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{claim}</th><td>{}</td><td>{}</td></tr>",
            Chip::of(chip).html(),
            escape(reason)
        );
    };
    let ended = match s.status {
        Status::Completed => "completed",
        Status::Stopped => "stopped early",
        Status::Running => "still running",
    };
    row("Run", ended, s.stop_message.as_deref().unwrap_or("no end is on record"));
    if let Some(b) = &s.bound {
        row("Bound e<sup>−λ₀t</sup>‖r₀‖", &b.verdict, &b.reason);
        row("Integral bound", &b.integral_verdict, &b.integral_reason);
    }
    match &s.lambda0 {
        Some(l) => {
            let (word, of) = if l.resolved { ("resolved", "above") } else { ("unresolved", "not above") };
            let text = format!(
                "λ₀ = {} is {of} its resolution {}; of the flow it is known to about {}; {}",
                significant(l.value),
                significant(l.resolution),
                significant(l.known_to.or(l.resolution)),
                l.rank_of(s.targets)
            );
            row("λ₀", word, &text);
        }
        None if !s.estimates.is_empty() => row("λ₀", "estimated", "known from above alone; see the spectrum"),
        None => row("λ₀", "not known", "the spectrum was not tracked, or the run has not ended"),
    }
    if let Some(i) = &s.identities {
        row(
            "Displacement bound",
            if i.displacement_bound_ok { "kept" } else { "broken" },
            &format!("largest quotient {}", significant(i.displacement_worst_ratio)),
        );
        row("Energy identity", "measured", &format!("largest defect {} of L(0)", significant(i.energy_defect)));
        let text = match (&i.none_conserved_because, i.drift()) {
            (Some(reason), _) => format!("nothing is conserved: {reason}"),
            (None, (drift, relative_to)) => format!(
                "{}, largest drift {} {relative_to}",
                panels::counted(i.n_conserved as u64, "quantity", "quantities"),
                significant(drift)
            ),
        };
        row("Conservation", "measured", &text);
    }
    match &s.audit {
        Some(a) if a.missed == 0 => row("Audit", "passed", &format!("no event missed at {} random times", a.checked)),
        Some(a) => row("Audit", "missed", &format!("events missed at {} of {} random times", a.missed, a.checked)),
        None => row("Audit", "not done", "run with --audit N to check every surface again"),
    }
    if !s.branch_points.is_empty() {
        let text = format!(
            "{} instants, the first at t = {}: from there on another solution exists or nearly does, and the last digits decide",
            s.branch_points.len(),
            significant(Some(s.branch_points[0].t))
        );
        row("Branch points", "met", &text);
    }
    out
}

fn links(folder: &Path) -> String {
    let names = [
        file::SUMMARY,
        file::TRAJECTORY,
        file::EVENTS,
        file::STEPS,
        file::SPECTRUM,
        file::CONSERVED,
        file::THETA,
        file::THETA_TIMES,
        file::PATH,
        file::PATH_TIMES,
        file::SCENARIO,
        file::DESCENT,
        file::SHARPNESS,
        file::MODIFIED_FLOW,
        file::VERIFY,
        file::COMPARE,
    ];
    let there = names.iter().filter(|name| folder.join(name).is_file());
    let links: Vec<String> = there.map(|name| format!("<a href=\"{name}\">{name}</a>")).collect();
    format!("<p class=\"files\">Files beside this page: {}.</p>\n", links.join(", "))
}

pub(super) fn toolbar(out: &mut String, panels: &[Panel], is_log: bool) {
    let links: String = panels.iter().map(|p| format!("<a href=\"#panel-{}\">{}</a>", p.id, p.title)).collect();
    let pressed = |on: bool| if on { "true" } else { "false" };
    let _ = writeln!(
        out,
        "<nav id=\"toolbar\"><div class=\"links\">{links}</div><div class=\"tools\"><span role=\"group\" aria-label=\"scale of the time axis\">time axis \
        <button type=\"button\" id=\"time-linear\" aria-pressed=\"{}\">linear</button><button type=\"button\" id=\"time-log\" aria-pressed=\"{}\">log</button></span> \
        <button type=\"button\" id=\"time-all\">whole run</button> <output id=\"cursor\">Point at a figure for the values at that time.</output></div></nav>",
        pressed(!is_log),
        pressed(is_log)
    );
}

pub(super) fn faults(out: &mut String, faults: &[String]) {
    if faults.is_empty() {
        return;
    }
    let items: String = faults.iter().map(|f| format!("<li>{}</li>", escape(f))).collect();
    let _ = writeln!(
        out,
        "<section class=\"faults\" id=\"faults\"><h2>Missing or damaged</h2><p>The page shows what could be read.</p><ul>{items}</ul></section>"
    );
}

pub(super) fn section(out: &mut String, panel: &Panel, extra: &str) {
    let _ = writeln!(out, "<section class=\"panel\" id=\"panel-{}\">\n<h2>{}</h2>", panel.id, panel.title);
    for sentence in &panel.words {
        let _ = writeln!(out, "<p class=\"words\">{}</p>", escape(sentence));
    }
    out.push_str("<div class=\"figures\">\n");
    for figure in &panel.figures {
        let _ = writeln!(
            out,
            "<figure><h3>{}</h3><div class=\"plot\" id=\"figure-{}\" role=\"img\" aria-label=\"{}\"></div><figcaption>{}</figcaption></figure>",
            escape(&figure.title),
            figure.id,
            escape(&figure.title),
            escape(&figure.caption)
        );
    }
    let _ = writeln!(out, "{extra}</div>\n</section>");
}

fn verified(out: &mut String, loaded: &Loaded) {
    if loaded.verified.is_empty() {
        return;
    }
    out.push_str("<section class=\"panel\" id=\"panel-verified\"><h2>Claims of the theory</h2><div class=\"scroll\"><table class=\"verdicts\"><thead><tr><th>claim</th><th>verdict</th><th>figure</th><th>tolerance</th><th>meaning</th></tr></thead><tbody>");
    for claim in &loaded.verified {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{} {}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&claim.claim),
            escape(&claim.title),
            Chip::of(&claim.verdict).html(),
            significant(claim.figure),
            significant(claim.tolerance),
            escape(&claim.meaning)
        );
    }
    out.push_str("</tbody></table></div></section>\n");
}

fn reproduce(out: &mut String, loaded: &Loaded) {
    let s = loaded.run.summary();
    let mut unchecked = vec![
        "Crossings are found from values and rates at both ends of a step; a wild excursion inside one step can be missed.".to_owned(),
        "λ₀ is a minimum over samples, refined where an estimate leaves room for a lower value; it comes from this same run, so that `holds` tests the simulation \
            rather than the theorem."
            .to_owned(),
    ];
    if s.audit.is_none() {
        unchecked.push("The switching surfaces were not audited at random times.".to_owned());
    }
    if loaded.descent.is_empty() {
        unchecked.push("Discrete gradient descent was not compared with the flow.".to_owned());
    }
    if loaded.verified.is_empty() {
        unchecked.push("The claims of the theory were not verified one by one (gradflow verify).".to_owned());
    }
    if s.lambda0.is_none() {
        unchecked.push("λ_min was not followed, so nothing is said about the bounds.".to_owned());
    }
    if s.events.as_ref().is_some_and(|e| e.simultaneous > 0) {
        let n = s.events.as_ref().map_or(0, |e| e.simultaneous);
        unchecked.push(format!("At {n} instants several switches changed at once; their order is not resolved."));
    }
    let items: String = unchecked.iter().map(|u| format!("<li>{}</li>", escape(u))).collect();
    let command =
        format!("gradflow run {}", super::shell::quoted(&loaded.run.folder().join(file::SCENARIO).to_string_lossy()));
    let _ = writeln!(
        out,
        "<section class=\"panel\" id=\"panel-reproduce\"><h2>What was not checked, and how to reproduce</h2><ul>{items}</ul>\n\
        <p>gradflow {}, seed {}. The same run again, bit for bit: <code>{}</code></p>",
        escape(&s.version),
        s.seed,
        escape(&command)
    );
    if let Some(text) = &loaded.scenario {
        let shown: String = text.chars().take(LONGEST_SCENARIO).collect();
        let rest = if shown.len() < text.len() { "\n… (the rest is in scenario.ron)" } else { "" };
        let _ =
            writeln!(out, "<details open><summary>scenario.ron</summary><pre>{}{rest}</pre></details>", escape(&shown));
    }
    out.push_str("</section>\n");
}

/// The events as columns, for the table.
fn events_data(loaded: &Loaded) -> Value {
    let all = &loaded.events;
    let kept = super::thin::evenly(all.len(), MOST_EVENTS);
    let rows: Vec<&EventRecord> = kept.iter().map(|&k| &all[k]).collect();
    let real = |column: fn(&EventRecord) -> f64| doubles(&rows.iter().map(|e| column(e)).collect::<Vec<_>>());
    let whole = |column: fn(&EventRecord) -> usize| integers(rows.iter().map(|e| column(e)));
    let slopes = loaded.setting.as_ref().map_or(Vec::new(), |setting| setting.slopes());
    json!({
        "total": all.len(),
        "n": rows.len(),
        "names": EventRecord::COLUMNS,
        "kinds": EventWord::ALL.map(EventWord::as_str),
        "slopes": slopes,
        "columns": {
            "index": whole(|e| e.index as usize),
            "t": real(|e| e.t),
            "kind": whole(|e| e.kind as usize),
            "layer": whole(|e| e.layer),
            "unit": whole(|e| e.unit),
            "sample": whole(|e| e.sample),
            "breakpoint": whole(|e| e.breakpoint),
            "direction": whole(|e| e.direction as usize),
            "rate_before": real(|e| e.rate_before),
            "rate_after": real(|e| e.rate_after),
            "lambda_min_before": real(|e| e.lambda_min_before.unwrap_or(f64::NAN)),
            "lambda_min_after": real(|e| e.lambda_min_after.unwrap_or(f64::NAN)),
            "loss": real(|e| e.loss),
            "sliding": whole(|e| e.sliding as usize),
        },
    })
}
