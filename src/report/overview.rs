//! Events at a glance, for a terminal: by layer and unit, over time, the longest slides.

use super::histogram::{histogram, linear_edges, log_edges};
use super::number::significant;
use super::slides::{Slide, slides};
use crate::record::{EventRecord, EventWord, StartSummary};
use std::collections::BTreeMap;
use std::fmt;

/// Lines of the histogram.
const N_BINS: usize = 16;

/// Width of its longest bar.
const LONGEST_BAR: usize = 40;

/// Units and slides that are listed.
const MOST_LISTED: usize = 10;

/// Counts by kind, in the order of [`EventWord::ALL`].
type Counts = [u64; 4];

/// See the module; its text is its `Display`.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// All events, and the instants they happen at.
    pub total: (u64, u64),
    /// By layer.
    pub by_layer: BTreeMap<usize, Counts>,
    /// By layer and unit.
    pub by_unit: BTreeMap<(usize, usize), Counts>,
    /// Edges of the intervals, and the events in each.
    pub over_time: (Vec<f64>, Vec<u64>),
    /// The slides with their entry among the events (or at the start), the longest first.
    pub slides: Vec<Slide>,
}

impl Overview {
    /// Of events in the order of time; `t_end` is the end of the run. `start` are the units that slide from the start.
    pub fn of(events: &[EventRecord], start: &[StartSummary], t_end: f64) -> Self {
        let (mut by_layer, mut by_unit) = (BTreeMap::new(), BTreeMap::new());
        let (mut n_instants, mut last) = (0, None);
        for event in events {
            by_layer.entry(event.layer).or_insert([0; 4])[event.kind as usize] += 1;
            by_unit.entry((event.layer, event.unit)).or_insert([0; 4])[event.kind as usize] += 1;
            n_instants += u64::from(last != Some(event.index));
            last = Some(event.index);
        }
        let times = || events.iter().map(|e| e.t);
        let first = times().find(|t| *t > 0.0);
        let median = events.get(events.len() / 2).map_or(0.0, |e| e.t);
        let edges = match first {
            // Most events are early: equal quotients show more than equal lengths.
            Some(first) if median < 0.1 * t_end && first < t_end => log_edges(first, t_end, N_BINS),
            _ => linear_edges(t_end, N_BINS),
        };
        let counts = histogram(times(), &edges);
        let mut slides = slides(events, start, t_end);
        slides.sort_by(|a, b| b.duration().total_cmp(&a.duration()).then(a.surface.cmp(&b.surface)));
        Self { total: (events.len() as u64, n_instants), by_layer, by_unit, over_time: (edges, counts), slides }
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, instants) = self.total;
        writeln!(f, "{total} events at {instants} instants")?;
        if total == 0 {
            return Ok(());
        }
        let line = |f: &mut fmt::Formatter<'_>, name: &str, counts: &Counts| {
            write!(f, "  {name:<20} {:>8}", counts.iter().sum::<u64>())?;
            counts.iter().try_for_each(|n| write!(f, " {n:>11}"))?;
            writeln!(f)
        };
        write!(f, "\n  {:<20} {:>8}", "by layer", "events")?;
        EventWord::ALL.iter().try_for_each(|kind| write!(f, " {kind:>11}"))?;
        writeln!(f)?;
        for (layer, counts) in &self.by_layer {
            line(f, &format!("layer {layer}"), counts)?;
        }
        let mut units: Vec<(&(usize, usize), &Counts)> = self.by_unit.iter().collect();
        units.sort_by_key(|(place, counts)| (std::cmp::Reverse(counts.iter().sum::<u64>()), **place));
        let shown = units.len().min(MOST_LISTED);
        writeln!(f, "\n  busiest units ({shown} of {} with events)", units.len())?;
        for ((layer, unit), counts) in units.into_iter().take(MOST_LISTED) {
            line(f, &format!("layer {layer}, unit {unit}"), counts)?;
        }
        let (edges, counts) = &self.over_time;
        let most = counts.iter().copied().max().unwrap_or(1).max(1);
        writeln!(f, "\n  over time")?;
        for (pair, count) in edges.windows(2).zip(counts) {
            let bar = "█".repeat((*count as usize * LONGEST_BAR).div_ceil(most as usize));
            let (from, to) = (significant(Some(pair[0])), significant(Some(pair[1])));
            writeln!(f, "  {from:>10} to {to:<10} {count:>7} {bar}")?;
        }
        if !self.slides.is_empty() {
            let shown = self.slides.len().min(MOST_LISTED);
            writeln!(f, "\n  longest slides ({shown} of {})", self.slides.len())?;
            for slide in self.slides.iter().take(MOST_LISTED) {
                let at = slide.surface;
                let end = if slide.is_open { "the end of the run".to_owned() } else { significant(Some(slide.to)) };
                let duration = significant(Some(slide.duration()));
                let from = significant(Some(slide.from));
                writeln!(
                    f,
                    "  {duration:>10}  from {from} to {end}: layer {}, unit {}, sample {}, breakpoint {}",
                    at.layer, at.unit, at.sample, at.breakpoint
                )?;
            }
        }
        Ok(())
    }
}
