//! A figure as data: what is drawn in a page, written as SVG and PNG, and listed as CSV is one and the same.

use serde::Serialize;

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A line through the points; NaN breaks it.
    Line,
    /// The same, dashed.
    Dashed,
    /// A thin dotted line, for jumps and references.
    Dotted,
    /// A line that keeps its value until the next point.
    Steps,
    /// Points alone.
    Dots,
    /// Crosses.
    Crosses,
    /// Large points, for what is to be found at once.
    Points,
    /// Thick segments.
    Bars,
}

/// Colours by meaning; pages and exports choose tones that can be told apart without colour vision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// The flow itself.
    Main,
    /// Second, third … series.
    Second,
    /// See `Second`.
    Third,
    /// See `Second`.
    Fourth,
    /// See `Second`.
    Fifth,
    /// See `Second`.
    Sixth,
    /// What is looked out for.
    Alert,
    /// References and floors.
    Muted,
}

impl Colour {
    /// Those for series of equal rank.
    pub const CYCLE: [Self; 6] = [Self::Main, Self::Second, Self::Third, Self::Fourth, Self::Fifth, Self::Sixth];

    /// The colour of series number `k`.
    pub fn cycle(k: usize) -> Self {
        Self::CYCLE[k % Self::CYCLE.len()]
    }
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Axis {
    /// Quantity and unit.
    pub label: String,
    /// Whether it is logarithmic; a time axis starts so, and can be changed.
    pub is_log: bool,
    /// Whether it is the time of the flow, which all such figures share.
    pub is_time: bool,
}

/// Which scale of the time axis a series is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlyOn {
    /// The linear one.
    Linear,
    /// The logarithmic one.
    Log,
}

/// A series of points; NaN is a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// Its colour.
    pub colour: Colour,
    /// Abscissae.
    pub x: Vec<f64>,
    /// Ordinates, as many.
    pub y: Vec<f64>,
    /// Drawn on one scale of the time axis only.
    pub only_on: Option<OnlyOn>,
    /// Left out of the legend.
    pub is_unnamed: bool,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Name of its files, and its place in a page.
    pub id: &'static str,
    /// What it shows.
    pub title: String,
    /// How to read it; what has been thinned.
    pub caption: String,
    /// Abscissa.
    pub x: Axis,
    /// Ordinate.
    pub y: Axis,
    /// Series, in the order of drawing.
    pub series: Vec<Series>,
}

impl Axis {
    /// A plain axis.
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), is_log: false, is_time: false }
    }

    /// A logarithmic axis.
    pub fn log(label: &str) -> Self {
        Self { is_log: true, ..Self::linear(label) }
    }

    /// The time of the flow.
    pub fn time(is_log: bool) -> Self {
        Self { is_log, is_time: true, ..Self::linear("time t") }
    }
}

impl Series {
    /// A series.
    pub fn new(
        name: impl Into<String>,
        mark: Mark,
        colour: Colour,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let (x, y) = points.into_iter().unzip();
        Self { name: name.into(), mark, colour, x, y, only_on: None, is_unnamed: false }
    }

    /// Left out of the legend.
    pub fn unnamed(mut self) -> Self {
        self.is_unnamed = true;
        self
    }

    /// Whether a point can be drawn.
    fn has_points(&self, is_log: bool) -> bool {
        self.x.iter().zip(&self.y).any(|(x, y)| x.is_finite() && y.is_finite() && (!is_log || *y > 0.0))
    }
}

impl Figure {
    /// A figure without series.
    pub fn new(id: &'static str, title: &str, caption: &str, x: Axis, y: Axis) -> Self {
        Self { id, title: title.to_owned(), caption: caption.to_owned(), x, y, series: Vec::new() }
    }

    /// Adds a series, if any of its points can be drawn.
    pub fn with(mut self, series: Series) -> Self {
        self.push(series);
        self
    }

    /// Adds a series, if any of its points can be drawn.
    pub fn push(&mut self, series: Series) {
        if series.has_points(self.y.is_log) {
            self.series.push(series);
        }
    }

    /// The figure, if there is anything on it.
    pub fn if_any(self) -> Option<Self> {
        (!self.series.is_empty()).then_some(self)
    }
}
