//! What is shown of a run, panel by panel: figures with a verdict in words.

mod compare;
mod decay;
mod events;
mod identities;
mod path;
mod spectrum;
mod steps;

use super::figure::Figure;
use super::loaded::Loaded;

pub use events::kind_colour;
pub use path::Frames;

/// A part of a page.
#[derive(Debug)]
pub struct Panel {
    /// Anchor in the page.
    pub id: &'static str,
    /// Heading.
    pub title: &'static str,
    /// What was found, in words; one paragraph each.
    pub words: Vec<String>,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// All panels of a run, in the order of the page. `is_log` is the scale of the time axis to start with.
pub fn of(loaded: &Loaded, is_log: bool) -> Vec<Panel> {
    vec![
        decay::panel(loaded, is_log),
        spectrum::panel(loaded, is_log),
        events::panel(loaded, is_log),
        path::panel(loaded),
        steps::panel(loaded, is_log),
        identities::panel(loaded, is_log),
        compare::panel(loaded, is_log),
    ]
}

/// A logarithmic time axis is the better start where most of what happens is early.
pub fn suits_log_time(loaded: &Loaded) -> bool {
    let times: Vec<f64> = loaded.trajectory.iter().map(|row| row.t).collect();
    times.get(times.len() / 2).is_some_and(|median| *median > 0.0 && *median < 0.05 * loaded.t_end())
}

/// Count and noun: `1 event`, `2 events`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}
