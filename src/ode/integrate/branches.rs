//! Branch points: events and near misses beyond which the result hangs on the last digits.

use super::{BRANCH_MARGIN, Integration, Options};
use crate::ode::event::{Exit, Found};
use crate::ode::field::{PiecewiseField, SlideMargin};
use crate::ode::mode::Side;
use crate::ode::observer::{BranchKind, BranchPoint};
use crate::ode::stepper::Stepper;

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'_, F, S> {
    pub(super) fn report_near_misses(&mut self, h: f64, x_end: f64) {
        let narrow = narrow_margin(self.options);
        for approach in self.scratch.approaches.iter().filter(|a| a.x <= x_end && a.distance < narrow) {
            let (attraction, noise) = self.field.attraction(approach.contact);
            if attraction < -1e-9 * noise {
                self.observer.branch_point(&BranchPoint {
                    t: self.t + approach.x * h,
                    contact: approach.contact,
                    kind: BranchKind::NearMiss,
                    margin: approach.distance,
                });
            }
        }
    }

    pub(super) fn report_narrow_events(&mut self, found: &Found, margins: &[SlideMargin], rates: &[f64]) {
        for Exit { contact, side, .. } in &found.exits {
            let at = self.mode.sliding().binary_search(contact);
            let Some(m) = at.ok().and_then(|at| margins.get(at)) else { continue };
            let opposite = if *side == Side::Below { m.above } else { m.below };
            let margin = opposite.max(0.0) / m.scale;
            if margin < narrow_margin(self.options) {
                let kind = BranchKind::NarrowExit;
                self.observer.branch_point(&BranchPoint { t: self.t, contact: *contact, kind, margin });
            }
        }
        let largest_rate = rates.iter().fold(0.0, |m: f64, r| m.max(r.abs()));
        for &contact in &found.hits {
            let (attraction, noise) = self.field.attraction(contact);
            // The depth to which it would sink goes like the square of its speed.
            let margin = (rates[contact.switch] / largest_rate).powi(2);
            if attraction < -1e-9 * noise && margin < narrow_margin(self.options) {
                let kind = BranchKind::NarrowCrossing;
                self.observer.branch_point(&BranchPoint { t: self.t, contact, kind, margin });
            }
        }
    }
}

/// Margins below this are worth listing: errors grow along a run, so that looser tolerances put wider ones in doubt.
pub(super) fn narrow_margin(options: &Options) -> f64 {
    BRANCH_MARGIN.0.max(BRANCH_MARGIN.1 * options.norm.rtol)
}
