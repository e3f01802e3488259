//! What is said about a claim: figure, tolerance, verdict, one sentence.

use crate::ntk;

/// A verdict on a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The claim says something about this run, and the run keeps it.
    Holds,
    /// The run breaks the claim beyond what tolerances explain.
    Violated,
    /// The claim says nothing here, though it applies: its rate is zero.
    Vacuous,
    /// It cannot be told, for the reason given.
    Unresolved,
    /// A condition of the claim is not met.
    DoesNotApply,
}

impl Verdict {
    /// The words in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => ntk::Verdict::Holds.as_str(),
            Self::Violated => ntk::Verdict::Violated.as_str(),
            Self::Vacuous => ntk::Verdict::Vacuous.as_str(),
            Self::Unresolved => ntk::Verdict::Unresolved.as_str(),
            Self::DoesNotApply => "does not apply",
        }
    }
}

impl From<ntk::Verdict> for Verdict {
    fn from(verdict: ntk::Verdict) -> Self {
        match verdict {
            ntk::Verdict::Holds => Self::Holds,
            ntk::Verdict::Violated => Self::Violated,
            ntk::Verdict::Vacuous => Self::Vacuous,
            ntk::Verdict::Unresolved => Self::Unresolved,
        }
    }
}

/// A claim and what a run says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRow {
    /// Identifier of the claim; scripts depend on it.
    pub claim: &'static str,
    /// The claim in words, with its source.
    pub title: &'static str,
    /// What was measured; `None` where there was nothing to measure.
    pub figure: Option<f64>,
    /// What it is compared with.
    pub tolerance: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// One sentence on what figure and verdict mean here.
    pub meaning: String,
    /// The file of the run directory that shows a failure.
    pub file: Option<&'static str>,
}

/// A claim, before anything is known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub id: &'static str,
    pub title: &'static str,
}

impl Claim {
    /// A row without a figure.
    pub fn row(self, verdict: Verdict, meaning: impl Into<String>) -> ClaimRow {
        ClaimRow {
            claim: self.id,
            title: self.title,
            figure: None,
            tolerance: None,
            verdict,
            meaning: meaning.into(),
            file: None,
        }
    }
}

impl ClaimRow {
    /// With a figure and what it is compared with; values that are not finite are left out.
    pub(super) fn measured(mut self, figure: f64, tolerance: f64) -> Self {
        self.figure = Some(figure).filter(|v| v.is_finite());
        self.tolerance = Some(tolerance).filter(|v| v.is_finite());
        self
    }

    /// With the file that shows a failure.
    pub(super) fn shown_in(mut self, file: &'static str) -> Self {
        if self.verdict == Verdict::Violated {
            self.file = Some(file);
        }
        self
    }
}

/// `n` of something, in the singular where that is right.
pub(super) fn count(n: usize, one: &str) -> String {
    match (n, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {one}s"),
    }
}
