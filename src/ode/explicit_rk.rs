//! Explicit embedded Runge–Kutta pairs as steppers.
//!
//! Promise: an attempt allocates nothing, evaluates the field last at the end of the step, and refuses states that are not
//! finite. The coefficients are in [`super::tableau`]; acceptance and step length are decided elsewhere.

use super::combine::{Terms, combine, stage_weights};
use super::field::{NonFinite, PiecewiseField};
use super::norm::Weights;
use super::stepper::{Interpolant, Start, Stepper, Work};
use super::tableau::{Dense, ErrorWeights, Tableau};
use crate::vector::{all_finite, dot};

/// A stepper made of a tableau and its buffers: `n_stages` + 3 to `n_stages` + 12 vectors of length P.
#[derive(Debug)]
pub struct ExplicitRk {
    tableau: &'static Tableau,
    stability_interval: f64,
    /// k_2 … k_s at the inner stages, then the field at the end, then the extra stages (k_1 is `start.dy`).
    stages: Vec<Vec<f64>>,
    /// State at which a stage is evaluated.
    at: Vec<f64>,
    end: Vec<f64>,
    /// Error vectors: one, or the fifth- and third-order ones.
    errors: Vec<Vec<f64>>,
    /// F_3 … F_6 of the nested interpolant.
    nested: Vec<Vec<f64>>,
    h: f64,
    work: Work,
}

impl ExplicitRk {
    /// A stepper for states of length `dim`.
    pub fn new(tableau: &'static Tableau, dim: usize) -> Self {
        let n_stages = tableau.n_stages() + tableau.dense.n_extra_stages();
        let (n_errors, n_nested) = (
            match tableau.error {
                ErrorWeights::Single(_) => 1,
                ErrorWeights::Pair { .. } => 2,
            },
            match tableau.dense {
                Dense::Nested { weights, .. } => weights.len(),
                Dense::CubicHermite | Dense::StageWeights(_) => 0,
            },
        );
        Self {
            tableau,
            stability_interval: tableau.stability_interval(),
            stages: vec![vec![0.0; dim]; n_stages],
            at: vec![0.0; dim],
            end: vec![0.0; dim],
            errors: vec![vec![0.0; dim]; n_errors],
            nested: vec![vec![0.0; dim]; n_nested],
            h: 0.0,
            work: Work::default(),
        }
    }

    /// The coefficients.
    pub fn tableau(&self) -> &'static Tableau {
        self.tableau
    }

    /// Evaluates stage `i` (counted from 0) at y + h Σ row_j k_j.
    fn eval_stage<F: PiecewiseField>(
        &mut self,
        field: &mut F,
        start: Start<'_>,
        i: usize,
        row: &[f64],
    ) -> Result<(), NonFinite> {
        let (before, from) = self.stages.split_at_mut(i - 1);
        let finite = combine(&mut self.at, Some(start.y), &Terms::new(self.h, row, start.dy, before));
        if !finite {
            return Err(self.not_finite(&format!("the state at stage {}", i + 1)));
        }
        self.work.evaluations += 1;
        field.eval(&self.at, start.mode, &mut from[0])
    }

    fn not_finite(&self, what: &str) -> NonFinite {
        NonFinite { what: format!("{what} of {} (step {:.3e})", self.tableau.name, self.h) }
    }

    /// Field at the end of the step: the stage after the inner ones.
    fn end_stage(&self) -> &[f64] {
        &self.stages[self.tableau.n_stages() - 1]
    }

    fn estimate_error(&mut self, start: Start<'_>) {
        let sets = match &self.tableau.error {
            ErrorWeights::Single(weights) => [*weights, &[]],
            ErrorWeights::Pair { fifth, third } => [*fifth, *third],
        };
        for (error, weights) in self.errors.iter_mut().zip(sets) {
            combine(error, None, &Terms::new(self.h, weights, start.dy, &self.stages));
        }
    }
}

impl<F: PiecewiseField> Stepper<F> for ExplicitRk {
    fn name(&self) -> &'static str {
        self.tableau.name
    }

    fn order(&self) -> u32 {
        self.tableau.order
    }

    fn error_exponent(&self) -> u32 {
        self.tableau.error_exponent
    }

    fn stability_interval(&self) -> Option<f64> {
        Some(self.stability_interval)
    }

    fn attempt(&mut self, field: &mut F, start: Start<'_>, h: f64) -> Result<f64, NonFinite> {
        let tableau = self.tableau;
        self.h = h;
        for (i, row) in tableau.stages.iter().enumerate() {
            self.eval_stage(field, start, i + 1, row)?;
        }
        let last = tableau.n_stages() - 1;
        if !combine(&mut self.end, Some(start.y), &Terms::new(h, tableau.weights, start.dy, &self.stages)) {
            return Err(self.not_finite("the state at the end"));
        }
        self.work.evaluations += 1;
        field.eval(&self.end, start.mode, &mut self.stages[last])?;
        // The estimates of some pairs give the end no weight, so that nobody else would notice.
        if !all_finite(&self.stages[last]) {
            return Err(self.not_finite("the field at the end"));
        }
        self.estimate_error(start);
        Ok(h)
    }

    fn end(&self) -> &[f64] {
        &self.end
    }

    fn end_field(&self) -> &[f64] {
        self.end_stage()
    }

    fn error(&self, norm: &Weights<'_>, start: Start<'_>) -> f64 {
        let size = |error: &[f64]| norm.of(error, start.y, &self.end);
        match self.errors.as_slice() {
            [fifth, third] => {
                let (fifth, third) = (size(fifth), size(third));
                // Scaled by the larger one, so that squares neither overflow nor vanish.
                let denominator = fifth.hypot(0.1 * third);
                if denominator == 0.0 { 0.0 } else { fifth * (fifth / denominator) }
            }
            errors => errors.iter().map(|error| size(error)).sum(),
        }
    }

    fn prepare_dense(&mut self, field: &mut F, start: Start<'_>) -> Result<(), NonFinite> {
        let Dense::Nested { stages, weights, .. } = &self.tableau.dense else {
            return Ok(());
        };
        for (i, row) in stages.iter().enumerate() {
            self.eval_stage(field, start, self.tableau.n_stages() + 1 + i, row)?;
        }
        let mut finite = true;
        for (nested, row) in self.nested.iter_mut().zip(*weights) {
            finite &= combine(nested, None, &Terms::new(self.h, row, start.dy, &self.stages));
        }
        if finite { Ok(()) } else { Err(self.not_finite("the dense output")) }
    }

    fn work(&self) -> Work {
        self.work
    }
}

impl Interpolant for ExplicitRk {
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]) {
        // The ends are copied, because the sums below only reach them to rounding.
        if x == 0.0 {
            return out.copy_from_slice(start.y);
        }
        if x == 1.0 {
            return out.copy_from_slice(&self.end);
        }
        let end = (&self.end[..], self.end_stage());
        match &self.tableau.dense {
            Dense::StageWeights(table) => {
                let at_x = stage_weights(table, x);
                combine(out, Some(start.y), &Terms::new(self.h, &at_x[..table.len()], start.dy, &self.stages));
            }
            Dense::CubicHermite => {
                combine(out, Some(start.y), &Terms::hermite(self.h, x, start, end));
            }
            Dense::Nested { .. } => {
                let mut terms = Terms::hermite(self.h, x, start, end);
                let u = 1.0 - x;
                let mut factor = (x * u).powi(2);
                for (j, nested) in self.nested.iter().enumerate() {
                    terms.push(factor, nested);
                    factor *= if j % 2 == 0 { x } else { u };
                }
                combine(out, Some(start.y), &terms);
            }
        }
    }

    fn dissipation(&self, start: Start<'_>, x: f64) -> Option<f64> {
        // The same method applied to the scalar component E with Ė = ‖dy‖², whose stages are known already.
        let squared = |v: &[f64]| dot(v, v);
        let first = [squared(start.dy)];
        let stages: Vec<Vec<f64>> = self.stages.iter().map(|k| vec![squared(k)]).collect();
        let mut scalar = Self {
            tableau: self.tableau,
            stability_interval: self.stability_interval,
            stages,
            at: Vec::new(),
            end: vec![0.0],
            errors: Vec::new(),
            nested: vec![vec![0.0]; self.nested.len()],
            h: self.h,
            work: Work::default(),
        };
        combine(&mut scalar.end, None, &Terms::new(self.h, self.tableau.weights, &first, &scalar.stages));
        if let Dense::Nested { weights, .. } = &self.tableau.dense {
            for (nested, row) in scalar.nested.iter_mut().zip(*weights) {
                combine(nested, None, &Terms::new(self.h, row, &first, &scalar.stages));
            }
        }
        let mut out = [0.0];
        scalar.interpolate(Start { y: &[0.0], dy: &first, ..start }, x, &mut out);
        Some(out[0])
    }

    fn detached(&self) -> Box<dyn Interpolant + Send> {
        Box::new(Self {
            tableau: self.tableau,
            stability_interval: self.stability_interval,
            stages: self.stages.clone(),
            at: Vec::new(),
            end: self.end.clone(),
            errors: Vec::new(),
            nested: self.nested.clone(),
            h: self.h,
            work: Work::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ode::WrmsNorm;
    use crate::ode::mode::Mode;
    use crate::ode::tableau::{BOGACKI_SHAMPINE_32, DOP853, DORMAND_PRINCE_54, TSIT5};
    use crate::ode::testing::{Smooth, fitted_slope, stuart_landau, stuart_landau_solution};

    /// Steps with a fixed length; returns the end.
    fn fixed_steps(tableau: &'static Tableau, span: f64, n_steps: u32) -> Vec<f64> {
        let mut field = stuart_landau();
        let mode = Mode::default();
        let mut stepper = ExplicitRk::new(tableau, 2);
        let h = span / f64::from(n_steps);
        let mut y = stuart_landau_solution(0.0);
        let mut dy = vec![0.0; 2];
        field.eval(&y, &mode, &mut dy).expect("finite");
        for i in 0..n_steps {
            let start = Start { t: f64::from(i) * h, y: &y, dy: &dy, mode: &mode };
            stepper.attempt(&mut field, start, h).expect("finite");
            let (end, end_field) =
                (Stepper::<Smooth>::end(&stepper).to_vec(), Stepper::<Smooth>::end_field(&stepper).to_vec());
            (y, dy) = (end, end_field);
        }
        let per_step = tableau.n_stages() as u64;
        assert_eq!(Stepper::<Smooth>::work(&stepper).evaluations, per_step * u64::from(n_steps));
        y
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn measured_orders_are_those_of_the_tableaux() {
        // Step counts inside each method's asymptotic window: errors between 1e-4 and 1e-13.
        let cases =
            [(&BOGACKI_SHAMPINE_32, 40, 640), (&TSIT5, 20, 320), (&DORMAND_PRINCE_54, 20, 320), (&DOP853, 6, 24)];
        for (tableau, least, most) in cases {
            let counts: Vec<u32> =
                std::iter::successors(Some(least), |n| Some(n * 5 / 4 + 1)).take_while(|n| *n <= most).collect();
            let points: Vec<_> = counts
                .iter()
                .map(|n| {
                    let error = distance(&fixed_steps(tableau, 2.0, *n), &stuart_landau_solution(2.0));
                    (2.0 / f64::from(*n), error)
                })
                .collect();
            let order = fitted_slope(&points);
            let promised = f64::from(tableau.order);
            // The leading error coefficients of Tsit5 are so small that its next order still shows; a lost order would be −1.
            let gain = order - promised;
            assert!(gain > -0.3 && gain < 0.7, "{}: order {order:.2} over {points:?}", tableau.name);
        }
    }

    #[test]
    fn dense_output_of_one_step_has_its_order_and_meets_both_ends() {
        for (tableau, dense_order, largest) in
            [(&BOGACKI_SHAMPINE_32, 3, 0.1), (&TSIT5, 4, 0.2), (&DORMAND_PRINCE_54, 4, 0.2), (&DOP853, 7, 0.5)]
        {
            let mut field = stuart_landau();
            let mode = Mode::default();
            let y = stuart_landau_solution(0.3);
            let mut dy = vec![0.0; 2];
            field.eval(&y, &mode, &mut dy).expect("finite");
            let start = Start { t: 0.3, y: &y, dy: &dy, mode: &mode };
            let mut stepper = ExplicitRk::new(tableau, 2);
            let mut points = Vec::new();
            for i in 0..10 {
                let h = largest * 0.85_f64.powi(i);
                stepper.attempt(&mut field, start, h).expect("finite");
                stepper.prepare_dense(&mut field, start).expect("finite");
                let mut out = vec![0.0; 2];
                let mut at = |x: f64| {
                    stepper.interpolate(start, x, &mut out);
                    out.clone()
                };
                assert_eq!(at(0.0), y);
                assert_eq!(at(1.0), Stepper::<Smooth>::end(&stepper));
                let near = 1e-9;
                for (x, end) in [(near, &y[..]), (1.0 - near, Stepper::<Smooth>::end(&stepper))] {
                    let jump = distance(&at(x), end);
                    // |ẏ| ≤ 5 here, and a combination of 16 terms with weights below 400 h |ẏ| rounds by a few hundred ε.
                    assert!(jump < 5.0 * near * h + 1e3 * f64::EPSILON, "{} jumps by {jump:e} at {x}", tableau.name);
                }
                let error = (1..20)
                    .map(|i| f64::from(i) / 20.0)
                    .map(|x| distance(&at(x), &stuart_landau_solution(0.3 + x * h)))
                    .fold(0.0, f64::max);
                points.push((h, error));
            }
            let slope = fitted_slope(&points);
            let promised = f64::from(dense_order + 1);
            assert!((slope - promised).abs() < 0.35, "{}: slope {slope:.2} over {points:?}", tableau.name);
        }
    }

    #[test]
    fn error_estimates_shrink_with_their_exponent() {
        for (tableau, largest) in
            [(&BOGACKI_SHAMPINE_32, 0.05), (&TSIT5, 0.1), (&DORMAND_PRINCE_54, 0.1), (&DOP853, 0.3)]
        {
            let mut field = stuart_landau();
            let mode = Mode::default();
            let y = stuart_landau_solution(0.3);
            let mut dy = vec![0.0; 2];
            field.eval(&y, &mode, &mut dy).expect("finite");
            let start = Start { t: 0.3, y: &y, dy: &dy, mode: &mode };
            let mut stepper = ExplicitRk::new(tableau, 2);
            let norm = WrmsNorm { rtol: 0.0, atol: 1.0 };
            let points: Vec<_> = (0..10)
                .map(|i| largest * 0.85_f64.powi(i))
                .map(|h| {
                    stepper.attempt(&mut field, start, h).expect("finite");
                    (h, Stepper::<Smooth>::error(&stepper, &norm.with(&[]), start))
                })
                .collect();
            let slope = fitted_slope(&points);
            let promised = f64::from(tableau.error_exponent);
            assert!((slope - promised).abs() < 0.35, "{}: slope {slope:.2} over {points:?}", tableau.name);
        }
    }

    #[test]
    fn non_finite_stages_are_refused_and_named() {
        // Fields that write NaN without saying so, beyond a threshold of the state: the first stage, or only the end, meets it.
        for tableau in [&BOGACKI_SHAMPINE_32, &TSIT5, &DOP853] {
            let mode = Mode::default();
            let mut at_once = Smooth::new(1, |_, dy| dy[0] = f64::NAN);
            let start = Start { t: 0.0, y: &[0.0], dy: &[1.0], mode: &mode };
            let mut stepper = ExplicitRk::new(tableau, 1);
            let refused = stepper.attempt(&mut at_once, start, 0.1).expect_err("not finite");
            assert!(refused.what.contains("stage 3") && refused.what.contains(tableau.name), "{refused}");

            let n_last = tableau.n_stages();
            let mut calls = 0;
            let mut at_the_end = Smooth::new(1, move |_, dy| {
                calls += 1;
                dy[0] = if calls == n_last { f64::NAN } else { 1.0 };
            });
            let refused = stepper.attempt(&mut at_the_end, start, 0.1).expect_err("not finite");
            assert!(refused.what.contains("field at the end"), "{refused}");
        }
    }
}
