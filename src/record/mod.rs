//! The run directory: written as a run grows, read back by everything that comes after it.
//!
//! The types on disk ([`Summary`], [`TrajectoryRecord`], [`EventRecord`]) are their own and versioned; only [`RunWriter`] knows the
//! simulation. A report needs nothing but a [`Run`].
//!
//! While a run is under way `summary.json` says `"status": "running"` and the `bound` column of `trajectory.csv` has
//! e^{−λ₀t}‖r_0‖ with λ₀ the minimum *so far*; when it ends the column is rewritten with the λ₀ of the whole run. Rows reach the
//! file system in whole lines, θ row by row, so that a crash leaves readable files.

mod compare;
mod error;
mod json;
mod npy;
mod run;
mod setting;
mod summary;
mod sweep;
mod table;
mod verify;
mod writer;

pub use compare::{
    CompareSummary, ConditionSummary, DescentRecord, DescentSummary, DifferingSummary, JumpSummary, ModifiedRecord,
    ModifiedSummary, OrderSummary, SharpnessRecord, SharpnessSummary, write_comparison,
};
pub use error::RecordError;
pub use run::{Rows, Run, SavedTheta};
pub use setting::{FunctionCurve, Setting};
pub use summary::{
    AccuracySummary, AuditSummary, BoundSummary, BranchSummary, CoarseBlock, EstimateSummary, EventSummary,
    IdentitySummary, LambdaSummary, RestSummary, SCHEMA, StartSummary, Status, Summary, Tolerances, TrackingSummary,
    WorkSummary,
};
pub use sweep::Sweep;
pub use table::{
    ConservedRecord, Direction, EventRecord, EventWord, LimitSide, LimitWord, SpectrumRecord, StepRecord,
    TrajectoryRecord,
};
pub use verify::{VerifyRecord, VerifyRow};
pub(crate) use writer::Table;
pub use writer::{RunWriter, accuracy_summary, default_folder, folder_under};

/// Names of the files in a run directory.
pub mod file {
    /// One JSON object: what ran, how it ended, verdicts and counters.
    pub const SUMMARY: &str = "summary.json";
    /// One line per accepted step, per save time, and two at every event.
    pub const TRAJECTORY: &str = "trajectory.csv";
    /// One line per change at an event.
    pub const EVENTS: &str = "events.csv";
    /// θ at the save times, K × P.
    pub const THETA: &str = "theta.npy";
    /// Those times.
    pub const THETA_TIMES: &str = "theta_times.csv";
    /// The resolved scenario.
    pub const SCENARIO: &str = "scenario.ron";
    /// One line per accepted step: its length, what limited it, and the identities at its end.
    pub const STEPS: &str = "steps.csv";
    /// All eigenvalues of G at chosen times.
    pub const SPECTRUM: &str = "spectrum.csv";
    /// θ along the path, K × P, K at most 257.
    pub const PATH: &str = "path.npy";
    /// Steps and times of those points.
    pub const PATH_TIMES: &str = "path_times.csv";
    /// The conserved quantities, one per line.
    pub const CONSERVED: &str = "conserved.csv";
    /// Discrete gradient descent against the flow.
    pub const DESCENT: &str = "descent.csv";
    /// What a comparison found.
    pub const COMPARE: &str = "compare.json";
    /// The sharpness along the flow.
    pub const SHARPNESS: &str = "sharpness.csv";
    /// The flow that backward error analysis puts in the place of gradient descent.
    pub const MODIFIED_FLOW: &str = "modified_flow.csv";
    /// Verdicts on the claims of the theory.
    pub const VERIFY: &str = "verify.json";
    /// The cells of a sweep.
    pub const SWEEP: &str = "sweep.csv";
    /// The page made from all of these.
    pub const REPORT: &str = "report.html";
}
