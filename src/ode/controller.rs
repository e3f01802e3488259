//! Step lengths from error norms.

/// Elementary controller h ← h·clip(0.9·err^{−1/k}) with k the exponent of the error (Hairer, Nørsett & Wanner I, eq. II.4.13).
#[derive(Debug, Clone, Copy)]
pub struct StepController {
    h: f64,
    exponent: u32,
}

/// Part of the step that the error would allow.
pub const SAFETY: f64 = 0.9;
const MIN_FACTOR: f64 = 0.2;
const MAX_FACTOR: f64 = 5.0;
/// Errors above this tell how long a step the tolerance allows, even when something else has limited the step.
const TELLING_ERROR: f64 = 1e-3;

impl StepController {
    /// Starts with step `h` for an error that shrinks like h^`exponent`.
    pub fn new(h: f64, exponent: u32) -> Self {
        Self { h, exponent }
    }

    /// The step that the tolerance allows, as far as known.
    pub fn h(&self) -> f64 {
        self.h
    }

    /// An attempt of length `h` was accepted with the given relative error, which shrinks like h^`exponent`. When something else than the tolerance had limited it and
    /// the error is too small to tell what it would be for a longer step, the tolerance's step may only grow.
    pub fn accept(&mut self, h: f64, error: f64, exponent: u32) {
        self.exponent = exponent;
        let next = h * factor(error, self.exponent);
        let is_telling = h >= 0.999 * self.h || error > TELLING_ERROR;
        self.h = if is_telling { next } else { self.h.max(next.min(MAX_FACTOR * self.h)) };
    }

    /// A pair of lower order, whose errors shrink like h^`exponent`, made a step of length `h` with the given relative error: how long a
    /// step that pair could make, this one's tolerance allows as well.
    pub fn accept_lower(&mut self, h: f64, error: f64, exponent: u32) {
        self.h = self.h.max(h * factor(error, exponent));
    }

    /// An attempt of length `h` was rejected; a non-finite error shrinks the most.
    pub fn reject(&mut self, h: f64, error: f64) {
        let factor = if error.is_finite() { factor(error, self.exponent).min(SAFETY) } else { MIN_FACTOR };
        self.h = h * factor;
    }
}

fn factor(error: f64, exponent: u32) -> f64 {
    (SAFETY * error.max(1e-10).powf(-1.0 / f64::from(exponent))).clamp(MIN_FACTOR, MAX_FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_a_lower_order_only_lengthen_the_step() {
        let mut controller = StepController::new(1.0, 5);
        // 0.3·0.9 is less than what is known already, a step grows by 5 at most, and 0.008^(−1/3) = 5.
        for (h, error, expected) in [(0.3, 1.0, 1.0), (0.3, 1e-9, 1.5), (0.6, 0.008, 0.6 * 0.9 * 5.0)] {
            controller.accept_lower(h, error, 3);
            assert!((controller.h() - expected).abs() < 1e-12, "{error}: {}", controller.h());
        }
    }
}
