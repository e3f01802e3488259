//! The coefficients of one step with a given number of stages, as numbers: what the recurrences are is said by the families.

/// One stage of a three-term recurrence: g_j = `first`·y + `last`·g_{j−1} + `before`·g_{j−2} + h(`slope`·f(g_{j−1}) + `first_slope`·f(y)).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stage {
    pub first: f64,
    pub last: f64,
    pub before: f64,
    pub slope: f64,
    pub first_slope: f64,
}

/// Stages of an ordinary Runge–Kutta step of the same h that starts where the recurrence ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finish {
    /// Rows 2, 3 and 4 of A.
    pub rows: [Vec<f64>; 3],
    /// b.
    pub weights: [f64; 4],
    /// Weights of the error estimate: of the four stages and of the field at the end.
    pub error: [f64; 5],
}

/// A step: the recurrence, and what ends it. Its stages are evaluations of the field, the one at the end of the step not counted but
/// that at its start.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scheme {
    pub stages: Vec<Stage>,
    pub finish: Option<Finish>,
}
