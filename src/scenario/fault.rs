//! What can be wrong with a scenario, and how it is told.
//!
//! A [`Fault`] is one mistake with its place; a [`ScenarioError`] is why a scenario cannot be run, which for a readable
//! file means *all* its faults. Both are plain text through `Display` and show the source line through `miette`.

use super::embedded::embedded_plans;
use crate::data::DataError;
use crate::loss::TargetError;
use crate::net::ActivationError;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use thiserror::Error;

/// Lines longer than this are not shown around a fault.
const LONGEST_SHOWN_LINE: usize = 160;

/// Why a scenario cannot be run.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read scenario `{path}`: {source}")]
    Unreadable {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Neither a file nor an embedded scenario has this name.
    #[error("`{name}` is neither a file nor an embedded scenario")]
    UnknownName {
        /// The name.
        name: String,
        /// The most similar embedded one.
        nearest: Option<&'static str>,
    },
    /// An override is not of the form `key.path=value`, or its path leads nowhere.
    #[error("--set {argument}: {reason}")]
    Override {
        /// As typed.
        argument: String,
        /// What is wrong with it.
        reason: OverrideFault,
    },
    /// The scenario has faults.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
}

/// What is wrong with an override.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OverrideFault {
    /// No `=`.
    #[error("expected key.path=value, found no `=`")]
    NoEquals,
    /// The part before `=` is not a key path.
    #[error("expected a key path such as flow.rtol or data.x[3], found `{0}`")]
    BadPath(String),
    /// The part behind `=` is not one RON value.
    #[error("expected one RON value, found `{0}`")]
    BadValue(String),
    /// A list has no element with that number.
    #[error("`{path}` has {count} elements")]
    NoElement {
        /// The list.
        path: String,
        /// Its length.
        count: usize,
    },
    /// A field of something that has no fields.
    #[error("`{path}` has no fields: it is `{found}`")]
    NoFields {
        /// The value.
        path: String,
        /// Its text.
        found: String,
    },
}

/// One mistake in a scenario.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The key path it concerns, such as `flow.rtol`; empty for the file as a whole.
    pub path: String,
    /// Where.
    pub place: Place,
    /// Bytes of the text it points to.
    pub span: Range<usize>,
    pub(super) source: NamedSource<Arc<str>>,
}

/// Where a fault was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the scenario's text.
    Text {
        /// The file's name.
        file: String,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// In an override; the string is `key.path=value`.
    Override(String),
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FaultKind {
    /// The text is not RON.
    #[error("syntax error: expected {expected}, found {found}")]
    Syntax {
        /// What should stand there.
        expected: String,
        /// What does.
        found: String,
    },
    /// A field that the section does not have.
    #[error("unknown field `{name}`, expected {}", one_of(.known))]
    UnknownField {
        /// As typed.
        name: String,
        /// Fields the section has.
        known: Vec<String>,
    },
    /// A name that is none of the choices.
    #[error("unknown variant `{name}`, expected {}", one_of(.known))]
    UnknownVariant {
        /// As typed.
        name: String,
        /// The choices.
        known: Vec<String>,
    },
    /// An axis of a sweep leads nowhere in its base.
    #[error(transparent)]
    Axis(OverrideFault),
    /// The base of a sweep is neither a file nor an embedded scenario.
    #[error("`{name}` is neither a file beside the plan nor an embedded scenario")]
    UnknownBase {
        /// As typed.
        name: String,
        /// The most similar embedded one.
        nearest: Option<&'static str>,
    },
    /// A field given twice.
    #[error("field `{0}` is given twice")]
    Duplicate(String),
    /// Required fields that are not there.
    #[error("missing {}: {}", if .0.len() == 1 { "field" } else { "fields" }, quoted(.0))]
    Missing(Vec<String>),
    /// A value of another kind or out of its range.
    #[error("expected {expected}, found {found}")]
    Value {
        /// What would be right.
        expected: String,
        /// What was given.
        found: String,
        /// What to do about it, where that is not obvious.
        hint: Option<&'static str>,
    },
    /// The pieces do not make a continuous piecewise polynomial.
    #[error(transparent)]
    Activation(ActivationError),
    /// The rows do not make a data set.
    #[error(transparent)]
    Data(DataError),
    /// θ has another length than the network needs.
    #[error("expected P = {expected} parameters, found {found}")]
    ParameterCount {
        /// P.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// A data file cannot be read.
    #[error("cannot read `{file}`: {reason}")]
    File {
        /// As typed.
        file: String,
        /// Why.
        reason: String,
    },
    /// A CSV file has no such column.
    #[error("`{file}` has no column `{name}`, expected {}", one_of(.known))]
    Column {
        /// The file.
        file: String,
        /// As typed.
        name: String,
        /// Its header.
        known: Vec<String>,
    },
    /// A CSV cell is not a finite number.
    #[error("{file}:{line}, column {column} (`{name}`): expected a finite number, found `{found}`")]
    Cell {
        /// The file.
        file: String,
        /// Line in the file, from 1.
        line: u64,
        /// Field in the line, from 1.
        column: usize,
        /// The column's header.
        name: String,
        /// The cell's text.
        found: String,
    },
    /// Save times that are fractions of a time horizon, without one.
    #[error("`{0}` divides the time horizon, but `flow.until` has no `Time(..)`")]
    NoHorizon(&'static str),
    /// The targets are none for the loss.
    #[error(transparent)]
    Target(TargetError),
    /// Pooling by maxima.
    #[error("max pooling is not supported: which element is largest would be a switching surface of its own kind")]
    MaxPool,
    /// A size that leads to more memory than a scenario may take.
    #[error("{what} would need {}, the limit is {limit_gib} GiB", gib(*.estimate_gib))]
    Memory {
        /// What takes it.
        what: &'static str,
        /// Estimate.
        estimate_gib: f64,
        /// Limit.
        limit_gib: f64,
    },
    /// Following the spectrum needs too much memory.
    #[error("the Gram matrix of {targets} targets needs {estimate_gib:.2} GiB, the limit is {limit_gib} GiB")]
    GramMemory {
        /// nM.
        targets: usize,
        /// Estimate.
        estimate_gib: f64,
        /// Limit.
        limit_gib: f64,
    },
}

impl FaultKind {
    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownField { name, known } | Self::UnknownVariant { name, known } => did_you_mean(name, known),
            Self::Column { name, known, .. } => did_you_mean(name, known),
            Self::Value { hint, .. } => hint.map(str::to_owned),
            Self::UnknownBase { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::ParameterCount { .. } => {
                Some("layer by layer W row-major (out × in), then b, then the layer's slope if Prelu".to_owned())
            }
            Self::File { .. } => Some("paths are relative to the scenario's folder".to_owned()),
            Self::NoHorizon(_) => Some("add Time(..) to flow.until, or use `times` or `every`".to_owned()),
            Self::Target(TargetError::OneClass) => {
                Some("give class probabilities, class indices with at least two classes, or use Logistic".to_owned())
            }
            Self::Target(_) => {
                Some("targets are class probabilities, or loss: SquaredError takes any numbers".to_owned())
            }
            Self::MaxPool => Some("use AvgPool(kernel: [..]), or a convolution with a stride".to_owned()),
            Self::Memory { .. } => Some("on a machine with room for it, raise memory_limit_gib".to_owned()),
            Self::GramMemory { .. } => {
                Some("estimate it without a matrix by ntk: (track: Estimate), leave it out by (track: false), or raise memory_limit_gib there".to_owned())
            }
            Self::Activation(ActivationError::Discontinuous { .. }) => {
                Some("coefficients are low order first; neighbouring pieces must agree at their breakpoint".to_owned())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Override(argument) => write!(f, "--set {argument}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.kind)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.kind.hint().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let shown = matches!(self.place, Place::Text { .. }) && self.lines_are_short();
        shown.then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source_code()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, self.span.clone()))))
    }
}

impl Fault {
    /// Whether the lines a report would show fit on a screen: inline data may be one line of many thousand numbers.
    fn lines_are_short(&self) -> bool {
        let text = self.source.inner();
        let line = text[..self.span.start].matches('\n').count();
        let last = text[..self.span.end].matches('\n').count();
        let shown = text.lines().skip(line.saturating_sub(1)).take(last - line + 3);
        last - line < 10 && shown.map(str::len).max().unwrap_or(0) <= LONGEST_SHOWN_LINE
    }
}

impl Diagnostic for ScenarioError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self {
            Self::UnknownName { name, .. } if embedded_plans().iter().any(|plan| plan.name == name) => {
                Some(Box::new(format!("`{name}` is a plan: gradflow sweep {name}")))
            }
            Self::UnknownName { nearest: Some(nearest), .. } => Some(Box::new(format!("did you mean `{nearest}`?"))),
            Self::UnknownName { nearest: None, .. } => Some(Box::new("`gradflow list` shows the embedded ones")),
            Self::Override { .. } => Some(Box::new("for example --set flow.rtol=1e-9")),
            Self::Unreadable { .. } | Self::Faults(_) => None,
        }
    }
}

/// The candidate most similar to `name`, if it is similar at all.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.into_iter().map(|c| (strsim::jaro_winkler(&name.to_lowercase(), &c.to_lowercase()), c));
    scored.filter(|&(score, _)| score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// An amount of memory, whatever its size.
fn gib(value: f64) -> String {
    if value < 1e6 { format!("{value:.2} GiB") } else { format!("{value:.1e} GiB") }
}

fn did_you_mean(name: &str, known: &[String]) -> Option<String> {
    nearest(name, known.iter().map(String::as_str)).map(|candidate| format!("did you mean `{candidate}`?"))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn one_of(known: &[String]) -> String {
    if known.len() == 1 { quoted(known) } else { format!("one of {}", quoted(known)) }
}

fn list(faults: &[Fault]) -> String {
    let one = |fault: &Fault| match fault.kind.hint() {
        Some(hint) => format!("{fault}\n  hint: {hint}"),
        None => fault.to_string(),
    };
    faults.iter().map(one).collect::<Vec<_>>().join("\n")
}
