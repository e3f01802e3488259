//! Dense output of the step being committed, by time, and copies of it that outlive the step.

use crate::ode::mode::Mode;
use crate::ode::observer::DenseOutput;
use crate::ode::stepper::{Interpolant, Start};

/// Which part of an attempt, of length h from `t`, became the step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub t: f64,
    pub h: f64,
    /// The cut as a part of h, and its time.
    pub x_cut: f64,
    pub t_cut: f64,
}

impl Extent {
    /// The part of the attempt at time t. The cut is hit exactly: recovering its x from a rounded time would not do.
    fn x(&self, t: f64) -> f64 {
        if t == self.t_cut {
            self.x_cut
        } else if self.h > 0.0 {
            ((t - self.t) / self.h).clamp(0.0, self.x_cut)
        } else {
            0.0
        }
    }
}

pub(super) struct Dense<'a, I: ?Sized> {
    pub interpolant: &'a I,
    pub start: Start<'a>,
    pub extent: Extent,
}

impl<I: Interpolant + ?Sized> DenseOutput for Dense<'_, I> {
    fn at(&self, t: f64, y: &mut [f64]) {
        self.interpolant.interpolate(self.start, self.extent.x(t), y);
    }

    fn dissipation(&self, t: f64) -> Option<f64> {
        self.interpolant.dissipation(self.start, self.extent.x(t))
    }

    fn detached(&self) -> Box<dyn DenseOutput + Send> {
        Box::new(Detached {
            interpolant: self.interpolant.detached(),
            y: self.start.y.to_vec(),
            dy: self.start.dy.to_vec(),
            mode: self.start.mode.clone(),
            extent: self.extent,
        })
    }
}

struct Detached {
    interpolant: Box<dyn Interpolant + Send>,
    y: Vec<f64>,
    dy: Vec<f64>,
    mode: Mode,
    extent: Extent,
}

impl Detached {
    fn dense(&self) -> Dense<'_, dyn Interpolant + Send> {
        let start = Start { t: self.extent.t, y: &self.y, dy: &self.dy, mode: &self.mode };
        Dense { interpolant: &*self.interpolant, start, extent: self.extent }
    }
}

impl DenseOutput for Detached {
    fn at(&self, t: f64, y: &mut [f64]) {
        self.dense().at(t, y);
    }

    fn dissipation(&self, t: f64) -> Option<f64> {
        self.dense().dissipation(t)
    }

    fn detached(&self) -> Box<dyn DenseOutput + Send> {
        self.dense().detached()
    }
}
