//! Ways to build a [`Network`](super::Network): one file per family, each a composition of layers.
//!
//! Only this module knows what a convolution or a graph is. What it hands on are weights, the features they multiply, and what is
//! added to their product.

mod conv;
mod dense;
mod graph;
mod image;
mod polynomial;
mod residual;
mod siamese;
mod unet;

pub use conv::{Block, ConvStage, conv, conv_residual, mobile_net};
pub use dense::dense;
pub use graph::{Graph, GraphForm, NodeBias, Readout, graph_network};
pub use polynomial::polynomial;
pub use residual::residual;
pub use siamese::{SiameseHead, siamese};
pub use unet::{Upsampling, unet};

use super::layer::Bias;
use std::fmt::Display;
use thiserror::Error;

/// Why sizes do not form a network: everything that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .misfits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ArchitectureError {
    /// At least one.
    pub misfits: Vec<Misfit>,
}

/// One size that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}expected {expected}, found {found}", if .field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct Misfit {
    /// The argument it concerns, such as `hidden[1]`; empty for how the data go with the whole.
    pub field: String,
    /// What would fit.
    pub expected: String,
    /// What was given.
    pub found: String,
}

/// Collects misfits.
#[derive(Debug, Default)]
struct Checks(Vec<Misfit>);

impl Checks {
    fn require(&mut self, fits: bool, field: impl Into<String>, expected: impl Into<String>, found: impl Display) {
        if !fits {
            self.0.push(Misfit { field: field.into(), expected: expected.into(), found: found.to_string() });
        }
    }

    /// Notes the misfits of a failure.
    fn absorb<T>(&mut self, result: Result<T, ArchitectureError>) -> Option<T> {
        result.map_err(|error| self.0.extend(error.misfits)).ok()
    }

    fn units(&mut self, hidden: &[usize]) {
        for (l, &width) in hidden.iter().enumerate() {
            self.require(width >= 1, format!("hidden[{l}]"), "at least 1 unit", width);
        }
    }

    fn done(self) -> Result<(), ArchitectureError> {
        if self.0.is_empty() { Ok(()) } else { Err(ArchitectureError { misfits: self.0 }) }
    }
}

/// `rows (columns + biases)` in symbols; `biases` is empty where there are none.
fn count(rows: &str, columns: &str, biases: &str) -> String {
    match (biases, columns.contains(" + ")) {
        ("", true) => format!("{rows} ({columns})"),
        ("", false) => format!("{rows} {columns}"),
        _ => format!("{rows} ({columns} + {biases})"),
    }
}

/// One bias per channel in symbols, or nothing.
fn one(bias: bool) -> &'static str {
    if bias { "1" } else { "" }
}

/// Shared biases or none.
fn shared(bias: bool) -> Bias {
    if bias { Bias::Shared } else { Bias::None }
}
