//! Events: raster, rate, sliding, slides.

use super::{Panel, counted};
use crate::record::{EventRecord, EventWord};
use crate::report::figure::{Axis, Colour, Figure, Mark, OnlyOn, Series};
use crate::report::histogram::{histogram, linear_edges, log_edges};
use crate::report::loaded::Loaded;
use crate::report::number::significant;
use crate::report::slides::{Slide, Surface, raster_rows, slides};
use crate::report::thin;
use std::collections::HashMap;

/// Bins of the histogram over time.
const N_BINS: usize = 60;

/// Slides that are drawn one by one.
const MOST_SLIDES: usize = 300;

/// The colour of a kind of event.
pub fn kind_colour(kind: EventWord) -> Colour {
    match kind {
        EventWord::Crossing => Colour::Main,
        EventWord::SlideEnter => Colour::Second,
        EventWord::SlideExit => Colour::Third,
        EventWord::Graze => Colour::Fourth,
    }
}

pub(super) fn panel(loaded: &Loaded, is_log: bool) -> Panel {
    let events = &loaded.events;
    let count = |kind| events.iter().filter(|e| e.kind == kind).count() as u64;
    let mut words = Vec::new();
    if events.is_empty() {
        words.push("There are no events: the flow stayed in one smooth piece, or none are on record.".to_owned());
    } else {
        words.push(format!(
            "{}: {}, {}, {}, {}.",
            counted(events.len() as u64, "event", "events"),
            counted(count(EventWord::Crossing), "crossing", "crossings"),
            counted(count(EventWord::SlideEnter), "slide entry", "slide entries"),
            counted(count(EventWord::SlideExit), "slide exit", "slide exits"),
            counted(count(EventWord::Graze), "graze", "grazes")
        ));
    }
    let all = slides(events, &loaded.run.summary().start, loaded.t_end());
    if let Some(longest) = all.iter().max_by(|a, b| a.duration().total_cmp(&b.duration())) {
        let n_open = all.iter().filter(|s| s.is_open).count() as u64;
        let Surface { layer, unit, sample, .. } = longest.surface;
        words.push(format!(
            "{}, {} still under way at the end; the longest took {} (layer {layer}, unit {unit}, sample {sample}).",
            counted(all.len() as u64, "slide", "slides"),
            n_open,
            significant(Some(longest.duration()))
        ));
    }
    let figures = [raster(events, is_log), rate(loaded, is_log), sliding(loaded, is_log), bars(all, is_log)];
    Panel { id: "events", title: "Events", words, figures: figures.into_iter().flatten().collect() }
}

fn raster(events: &[EventRecord], is_log: bool) -> Option<Figure> {
    let rows = raster_rows(events);
    let row_of: HashMap<Surface, usize> = rows.iter().enumerate().map(|(k, s)| (*s, k)).collect();
    let (kept, most) = thin::marks(events, &row_of);
    let mut caption =
        "A row per switching surface that has events, grouped by layer, then unit, then sample; a mark per event."
            .to_owned();
    if most > 1 {
        caption += &format!(
            " {} marks are drawn for {} events: one mark stands for up to {most} of the same kind close to it.",
            kept.len(),
            events.len()
        );
    }
    let firsts: Vec<String> =
        layers(&rows).into_iter().map(|(layer, row)| format!("layer {layer} from row {row}")).collect();
    caption += &format!(" {}.", firsts.join(", "));
    let axis = Axis::linear("surface (layer, unit, sample)");
    let mut figure = Figure::new("raster", "Events by surface", &caption, Axis::time(is_log), axis);
    for kind in EventWord::ALL {
        let points = kept.iter().map(|&k| &events[k]).filter(|e| e.kind == kind);
        let points = points.map(|e| (e.t, row_of[&Surface::of(e)] as f64));
        figure.push(Series::new(kind.as_str().replace('_', " "), Mark::Dots, kind_colour(kind), points));
    }
    // Where one layer ends and the next begins.
    let t_end = events.last().map_or(1.0, |e| e.t);
    let t_first = events.first().map_or(0.0, |e| e.t);
    for (layer, row) in layers(&rows).into_iter().skip(1) {
        let at = row as f64 - 0.5;
        figure.push(Series::new(
            format!("start of layer {layer}"),
            Mark::Dotted,
            Colour::Muted,
            [(t_first, at), (t_end, at)],
        ));
    }
    figure.if_any()
}

/// Layers with the row at which each begins.
fn layers(rows: &[Surface]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (row, surface) in rows.iter().enumerate() {
        if found.last().is_none_or(|(layer, _)| *layer != surface.layer) {
            found.push((surface.layer, row));
        }
    }
    found
}

fn rate(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let events = &loaded.events;
    let (first, t_end) = (events.first()?.t, loaded.t_end());
    let caption = format!("Events per unit of time in {N_BINS} intervals, equally long on the scale that is shown.");
    let mut figure = Figure::new(
        "event-rate",
        "Events per unit of time",
        &caption,
        Axis::time(is_log),
        Axis::log("events per unit of time"),
    );
    let start = if first > 0.0 { first } else { t_end * 1e-6 };
    let (linear, log) = (linear_edges(t_end, N_BINS), log_edges(start, t_end, N_BINS));
    for (edges, only_on) in [(linear, OnlyOn::Linear), (log, OnlyOn::Log)] {
        for kind in EventWord::ALL {
            let counts = histogram(events.iter().filter(|e| e.kind == kind).map(|e| e.t), &edges);
            let mut points: Vec<(f64, f64)> = edges
                .windows(2)
                .zip(&counts)
                .map(|(pair, &count)| (pair[0], if count > 0 { count as f64 / (pair[1] - pair[0]) } else { f64::NAN }))
                .collect();
            points.push((t_end, points.last().map_or(f64::NAN, |p| p.1)));
            let name = kind.as_str().replace('_', " ");
            let series = Series::new(name, Mark::Steps, kind_colour(kind), points);
            figure.push(Series { only_on: Some(only_on), ..series });
        }
    }
    figure.if_any()
}

fn sliding(loaded: &Loaded, is_log: bool) -> Option<Figure> {
    let rows = thin::rows(&loaded.trajectory, &[|r| Some(r.sliding as f64)]);
    if loaded.trajectory.iter().all(|r| r.sliding == 0) {
        return None;
    }
    let points = rows.iter().map(|&k| (loaded.trajectory[k].t, loaded.trajectory[k].sliding as f64));
    let caption = "How many pre-activations (unit on a sample) are held on a kink at once.";
    Figure::new("sliding", "Units sliding", caption, Axis::time(is_log), Axis::linear("units sliding"))
        .with(Series::new("sliding", Mark::Steps, Colour::Main, points))
        .if_any()
}

fn bars(mut all: Vec<Slide>, is_log: bool) -> Option<Figure> {
    let total = all.len();
    all.sort_by(|a, b| b.duration().total_cmp(&a.duration()).then(a.surface.cmp(&b.surface)));
    all.truncate(MOST_SLIDES);
    let mut caption = "Each bar is a slide from entry to exit, the longest at the top; bars that reach the end of the run had not ended.".to_owned();
    if all.len() < total {
        caption += &format!(" The {} longest of {total} are drawn.", all.len());
    }
    let mut figure =
        Figure::new("slides", "Slides", &caption, Axis::time(is_log), Axis::linear("slides, longest at the top"));
    let n = all.len();
    for (is_open, name, colour) in [(false, "ended", Colour::Third), (true, "still sliding at the end", Colour::Second)]
    {
        let bars = all.iter().enumerate().filter(|(_, s)| s.is_open == is_open);
        let points = bars.flat_map(|(k, s)| {
            let y = (n - k) as f64;
            [(s.from, y), (s.to, y), (f64::NAN, f64::NAN)]
        });
        figure.push(Series::new(name, Mark::Bars, colour, points));
    }
    figure.if_any()
}
