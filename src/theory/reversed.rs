//! A piecewise field run backwards in time.
//!
//! Surfaces that attract become repelling ones and the other way round, so that a slide cannot be undone: it has forgotten where it came
//! from. Without slides the reversed flow retraces the flow, at the price of amplifying errors as the flow damps them.

use crate::ode::{Contact, Mode, Noise, NonFinite, PiecewiseField, SlideMargin};

/// ẏ = −f(y).
#[derive(Debug, Clone)]
pub struct Reversed<F>(pub F);

impl<F: PiecewiseField> PiecewiseField for Reversed<F> {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn n_switches(&self) -> usize {
        self.0.n_switches()
    }

    fn breakpoints(&self, switch: usize) -> &[f64] {
        self.0.breakpoints(switch)
    }

    fn common_breakpoints(&self) -> Option<&[f64]> {
        self.0.common_breakpoints()
    }

    fn mode_from_values(&mut self, y: &[f64]) -> Mode {
        self.0.mode_from_values(y)
    }

    fn eval(&mut self, y: &[f64], mode: &Mode, dy: &mut [f64]) -> Result<(), NonFinite> {
        self.0.eval(y, mode, dy)?;
        dy.iter_mut().for_each(|d| *d = -*d);
        Ok(())
    }

    fn values(&self) -> &[f64] {
        self.0.values()
    }

    fn rates(&mut self, direction: &[f64], rates: &mut [f64]) {
        self.0.rates(direction, rates);
    }

    fn margins(&mut self, out: &mut Vec<SlideMargin>) {
        self.0.margins(out);
        out.iter_mut().for_each(|m| (m.below, m.above) = (-m.below, -m.above));
    }

    fn attraction(&self, contact: Contact) -> (f64, f64) {
        let (attraction, noise) = self.0.attraction(contact);
        (-attraction, noise)
    }

    fn measure_noise(&mut self) {
        self.0.measure_noise();
    }

    fn noise(&self) -> (&Noise, bool) {
        self.0.noise()
    }

    fn scale(&self, switch: usize) -> f64 {
        self.0.scale(switch)
    }

    fn largest_scale(&self) -> f64 {
        self.0.largest_scale()
    }

    fn value_at(&mut self, y: &[f64], mode: &Mode, switch: usize) -> f64 {
        self.0.value_at(y, mode, switch)
    }

    fn project(&mut self, y: &mut [f64], mode: &Mode, contacts: &[Contact]) -> Result<(), NonFinite> {
        self.0.project(y, mode, contacts)
    }
}
