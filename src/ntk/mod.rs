//! The NTK Gram matrix G = J Jᵀ along the flow: G without J, its spectrum and resolution, λ₀ over continuous time, verdicts.

pub mod bound;
pub mod estimate;
pub mod extremes;
pub mod gram;
pub mod lanczos;
pub mod reference;
pub mod sensitivity;
pub mod spectrum;
pub mod symmetric;
pub mod track;

pub use bound::{BoundCheck, BoundReport, BoundSample, Verdict};
pub use estimate::{Estimate, Estimator};
pub use gram::GramEvaluator;
pub use lanczos::{Ritz, ends};
pub use spectrum::{Spectrum, SpectrumError, ZeroReason, structural_zero};
pub use track::{Cadence, Coverage, Lambda0, Reading, Sample, SampleSide, Tracker};
