//! The lines of `trajectory.csv` and `events.csv`: one struct per file, its fields the columns in their order.
//!
//! Numbers are shortest decimals that read back as the same f64; `None` is an empty cell.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which limit a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSide {
    /// Not at an event; an empty cell.
    #[serde(rename = "")]
    Smooth,
    /// Limit from before an event.
    Before,
    /// Limit from after an event.
    After,
}

/// One line of `trajectory.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrajectoryRecord {
    /// Time.
    pub t: f64,
    /// Which limit.
    pub side: LimitSide,
    /// L(θ).
    pub loss: f64,
    /// ‖F − y‖.
    pub residual_norm: f64,
    /// ‖θ̇‖.
    pub gradient_norm: f64,
    /// λ_min(G).
    pub lambda_min: Option<f64>,
    /// λ_max(G).
    pub lambda_max: Option<f64>,
    /// e^{−λ₀t}‖r_0‖.
    pub bound: Option<f64>,
    /// exp(−∫λ_min)‖r_0‖.
    pub integral_bound: Option<f64>,
    /// rᵀGr / rᵀr.
    pub rayleigh: Option<f64>,
    /// Index of the step, from 1; 0 at the start.
    pub step: u64,
    /// Number of sliding units.
    pub sliding: u64,
}

impl TrajectoryRecord {
    /// The header.
    pub const COLUMNS: [&'static str; 12] = [
        "t",
        "side",
        "loss",
        "residual_norm",
        "gradient_norm",
        "lambda_min",
        "lambda_max",
        "bound",
        "integral_bound",
        "rayleigh",
        "step",
        "sliding",
    ];
}

/// What happened at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventWord {
    /// The unit went through its breakpoint.
    Crossing,
    /// It began to slide along it.
    SlideEnter,
    /// It stopped sliding.
    SlideExit,
    /// It touched the breakpoint and stayed on its side.
    Graze,
}

impl EventWord {
    /// All of them, in the order of the summary.
    pub const ALL: [Self; 4] = [Self::Crossing, Self::SlideEnter, Self::SlideExit, Self::Graze];

    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crossing => "crossing",
            Self::SlideEnter => "slide_enter",
            Self::SlideExit => "slide_exit",
            Self::Graze => "graze",
        }
    }
}

/// A direction of the pre-activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Growing.
    Up,
    /// Falling.
    Down,
}

impl Direction {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for EventWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of `events.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Index of the instant, from 0; simultaneous changes share it.
    pub index: u64,
    /// Time.
    pub t: f64,
    /// What happened.
    pub kind: EventWord,
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Unit, from 0.
    pub unit: usize,
    /// Sample, from 0.
    pub sample: usize,
    /// Breakpoint, from 0.
    pub breakpoint: usize,
    /// For an exit the side it leaves to, for an entry the direction it came in.
    pub direction: Direction,
    /// Rate of the pre-activation just before.
    pub rate_before: f64,
    /// Rate just after.
    pub rate_after: f64,
    /// λ_min just before.
    pub lambda_min_before: Option<f64>,
    /// λ_min just after.
    pub lambda_min_after: Option<f64>,
    /// Loss.
    pub loss: f64,
    /// Number of sliding units after.
    pub sliding: u64,
}

impl EventRecord {
    /// The header.
    pub const COLUMNS: [&'static str; 14] = [
        "index",
        "t",
        "kind",
        "layer",
        "unit",
        "sample",
        "breakpoint",
        "direction",
        "rate_before",
        "rate_after",
        "lambda_min_before",
        "lambda_min_after",
        "loss",
        "sliding",
    ];
}

/// What limited a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitWord {
    /// The tolerance.
    Accuracy,
    /// The stability of the method.
    Stability,
    /// A crossing predicted soon after.
    Crossing,
    /// An event cut it short.
    Event,
    /// The run ended there.
    End,
}

impl LimitWord {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Accuracy, Self::Stability, Self::Crossing, Self::Event, Self::End];

    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Stability => "stability",
            Self::Crossing => "crossing",
            Self::Event => "event",
            Self::End => "end",
        }
    }
}

/// One line of `steps.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Index, from 1.
    pub step: u64,
    /// Time at the end.
    pub t: f64,
    /// Length.
    pub length: f64,
    /// What limited it.
    pub limit: LimitWord,
    /// Attempts rejected before it.
    pub rejected: u64,
    /// Changes of method so far.
    pub method_switches: u64,
    /// |L(0) − L(t) − ∫‖∇L‖²| / L(0).
    pub energy_defect: f64,
    /// Largest relative change of a conserved quantity.
    pub conservation_drift: Option<f64>,
    /// ‖θ − θ_0‖.
    pub displacement: f64,
    /// ‖θ − θ_0‖² / (t·(L(0) − L(t))).
    pub displacement_ratio: Option<f64>,
}

impl StepRecord {
    /// The header.
    pub const COLUMNS: [&'static str; 10] = [
        "step",
        "t",
        "length",
        "limit",
        "rejected",
        "method_switches",
        "energy_defect",
        "conservation_drift",
        "displacement",
        "displacement_ratio",
    ];
}

/// One line of `spectrum.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SpectrumRecord {
    /// Time.
    pub t: f64,
    /// Index, from 0; eigenvalues decrease.
    pub index: usize,
    /// Eigenvalue of G.
    pub eigenvalue: f64,
}

impl SpectrumRecord {
    /// The header.
    pub const COLUMNS: [&'static str; 3] = ["t", "index", "eigenvalue"];
}

/// One line of `conserved.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConservedRecord {
    /// Hidden layer of the (first) channel, from 1.
    pub layer: usize,
    /// That channel, from 0.
    pub channel: usize,
    /// ‖w_in‖² + b² − ‖w_out‖² at θ_0.
    pub initial: f64,
    /// At the end.
    #[serde(rename = "final")]
    pub last: f64,
    /// Largest change at the end of any step.
    pub largest_change: f64,
}

impl ConservedRecord {
    /// The header.
    pub const COLUMNS: [&'static str; 5] = ["layer", "channel", "initial", "final", "largest_change"];
}
