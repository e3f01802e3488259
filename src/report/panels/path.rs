//! The path of θ through its pieces, and the network function over time.

use super::Panel;
use crate::record::SavedTheta;
use crate::report::figure::{Axis, Colour, Figure, Mark, Series};
use crate::report::loaded::Loaded;
use crate::report::plane::principal_plane;
use crate::report::thin;
use serde::Serialize;

/// Marks of piece changes that are drawn.
const MOST_CHANGES: usize = 1500;

/// Positions of the slider of the network function.
const MOST_FRAMES: usize = 60;

/// Inputs at which the network function is computed.
const N_INPUTS: usize = 161;

/// Outputs of the network function that are drawn.
const MOST_OUTPUTS: usize = 4;

/// The network function at several times.
#[derive(Debug, Serialize)]
pub struct Frames {
    /// Times.
    pub times: Vec<f64>,
    /// Inputs.
    pub inputs: Vec<f64>,
    /// Per time and output: its values at the inputs.
    pub outputs: Vec<Vec<Vec<f64>>>,
    /// Per time: inputs at which a unit is on a breakpoint.
    pub kinks: Vec<Vec<f64>>,
    /// Inputs of the samples.
    pub x: Vec<f64>,
    /// Per output: their targets.
    pub y: Vec<Vec<f64>>,
}

pub(super) fn panel(loaded: &Loaded) -> Panel {
    let mut words = Vec::new();
    let figure = loaded.path.as_ref().filter(|p| p.times.len() > 1).and_then(|p| plane(loaded, p));
    match &loaded.path {
        Some(path) => {
            words.push(format!("{} points of the path are on record, evenly spread over the steps.", path.times.len()))
        }
        None => words.push("The path of θ is not on record.".to_owned()),
    }
    Panel { id: "path", title: "Pieces", words, figures: figure.into_iter().collect() }
}

fn plane(loaded: &Loaded, path: &SavedTheta) -> Option<Figure> {
    let plane = principal_plane(&path.theta, path.n_parameters)?;
    let at = |k: usize| plane.points[k];
    // Where an event lies between two points of the path, on the straight line between them.
    let position = |t: f64| {
        let after = path.times.partition_point(|p| *p < t).min(path.times.len() - 1);
        let before = after.saturating_sub(1);
        let (t0, t1) = (path.times[before], path.times[after]);
        let x = if t1 > t0 { ((t - t0) / (t1 - t0)).clamp(0.0, 1.0) } else { 1.0 };
        let (a, b) = (at(before), at(after));
        (a.0 + x * (b.0 - a.0), a.1 + x * (b.1 - a.1))
    };
    let mut instants: Vec<f64> = loaded.events.iter().map(|e| e.t).collect();
    instants.dedup();
    let kept = thin::evenly(instants.len(), MOST_CHANGES);
    let mut caption = format!(
        "θ(t) − θ₀ in the plane of the first two principal components of the path, which hold {:.2} % and {:.2} % of its variance; every mark is a change \
         of piece.",
        100.0 * plane.shares.0,
        100.0 * plane.shares.1
    );
    if kept.len() < instants.len() {
        caption += &format!(" {} of {} changes are marked.", kept.len(), instants.len());
    }
    let mut figure = Figure::new(
        "path",
        "Path through the pieces",
        &caption,
        Axis::linear("first principal component"),
        Axis::linear("second principal component"),
    );
    figure.push(Series::new("path", Mark::Line, Colour::Main, plane.points.iter().copied()));
    figure.push(Series::new(
        "change of piece",
        Mark::Dots,
        Colour::Second,
        kept.iter().map(|&k| position(instants[k])),
    ));
    figure.push(Series::new("start", Mark::Points, Colour::Third, plane.points.first().copied()));
    figure.push(Series::new("end", Mark::Points, Colour::Alert, plane.points.last().copied()));
    figure.if_any()
}

impl Frames {
    /// The network function along the path, for networks of one input.
    pub fn of(loaded: &Loaded) -> Option<Self> {
        let (setting, path) = (loaded.setting.as_ref()?, loaded.path.as_ref()?);
        if !setting.is_function_of_one_input(path.n_parameters) || path.times.is_empty() {
            return None;
        }
        let low = setting.x.iter().copied().fold(f64::INFINITY, f64::min);
        let high = setting.x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let margin = if high > low { 0.25 * (high - low) } else { 1.0 };
        let step = (high - low + 2.0 * margin) / (N_INPUTS - 1) as f64;
        let mut inputs: Vec<f64> = (0..N_INPUTS).map(|k| low - margin + step * k as f64).collect();
        inputs.extend_from_slice(&setting.x);
        inputs.sort_by(f64::total_cmp);
        inputs.dedup();
        let n_outputs = *setting.widths().last()?;
        let kept = thin::evenly(path.times.len(), MOST_FRAMES);
        let curves = kept
            .iter()
            .map(|&k| setting.function(&path.theta[k * path.n_parameters..(k + 1) * path.n_parameters], &inputs));
        let (outputs, kinks) =
            curves.map(|c| (c.outputs.into_iter().take(MOST_OUTPUTS).collect::<Vec<_>>(), c.kinks)).unzip();
        let targets = |m: usize| setting.y.iter().skip(m).step_by(n_outputs).copied().collect();
        Some(Self {
            times: kept.iter().map(|&k| path.times[k]).collect(),
            outputs,
            kinks,
            x: setting.x.clone(),
            y: (0..n_outputs.min(MOST_OUTPUTS)).map(targets).collect(),
            inputs,
        })
    }
}
