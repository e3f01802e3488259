//! Slides as intervals, and surfaces as rows: from the list of events alone.

use crate::record::{EventRecord, EventWord, StartSummary};
use std::collections::HashMap;

/// A switching surface: hidden layer, unit, sample, breakpoint. Its order is that of the rows of a raster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Surface {
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Unit, from 0.
    pub unit: usize,
    /// Sample, from 0.
    pub sample: usize,
    /// Breakpoint, from 0.
    pub breakpoint: usize,
}

impl Surface {
    /// The surface of an event.
    pub fn of(event: &EventRecord) -> Self {
        Self { layer: event.layer, unit: event.unit, sample: event.sample, breakpoint: event.breakpoint }
    }
}

/// A slide from its entry to its exit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slide {
    /// Along which surface.
    pub surface: Surface,
    /// When it began.
    pub from: f64,
    /// When it ended, or the run.
    pub to: f64,
    /// Whether it was still going on at the end of the run.
    pub is_open: bool,
}

impl Slide {
    /// How long it took.
    pub fn duration(&self) -> f64 {
        self.to - self.from
    }
}

/// All slides in the order of their beginning; those of `start` began with the run.
pub fn slides(events: &[EventRecord], start: &[StartSummary], t_end: f64) -> Vec<Slide> {
    let sliding = start.iter().filter(|s| s.direction.is_none());
    let mut open: HashMap<Surface, f64> = sliding
        .map(|s| (Surface { layer: s.layer, unit: s.unit, sample: s.sample, breakpoint: s.breakpoint }, 0.0))
        .collect();
    let mut found = Vec::new();
    for event in events {
        let surface = Surface::of(event);
        match event.kind {
            EventWord::SlideEnter => {
                open.insert(surface, event.t);
            }
            EventWord::SlideExit => {
                if let Some(from) = open.remove(&surface) {
                    found.push(Slide { surface, from, to: event.t, is_open: false });
                }
            }
            EventWord::Crossing | EventWord::Graze => {}
        }
    }
    found.extend(open.into_iter().map(|(surface, from)| Slide { surface, from, to: t_end.max(from), is_open: true }));
    found.sort_by(|a, b| a.from.total_cmp(&b.from).then(a.surface.cmp(&b.surface)));
    found
}

/// The rows of a raster: every surface that has an event, grouped by layer and unit.
pub fn raster_rows(events: &[EventRecord]) -> Vec<Surface> {
    let mut rows: Vec<Surface> = events.iter().map(Surface::of).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}
