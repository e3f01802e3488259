//! A sink that shows how far a run has come, and hands everything on.

use gradflow::observe::{ConservedRow, EventRow, Path, Row, Sink, StepRow};
use gradflow::scenario::{Plan, Stop};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Resolution of the bar.
const LENGTH: f64 = 1000.0;

/// Time between two lines: formatting each row would cost more than some steps.
const BETWEEN: Duration = Duration::from_millis(80);

/// See the module. Without a terminal on stderr it only hands on.
pub(super) struct Progress<'a> {
    inner: &'a mut dyn Sink,
    bar: Option<ProgressBar>,
    until: &'a [Stop],
    first: Option<Row>,
    n_events: usize,
    lambda0: Option<f64>,
    shown: Instant,
}

impl<'a> Progress<'a> {
    pub fn new(inner: &'a mut dyn Sink, plan: &'a Plan, quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:12} {percent:>3}% ETA {eta:<4} {wide_msg}");
            let bar = ProgressBar::new(LENGTH as u64);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let until = &plan.until;
        Self { inner, bar, until, first: None, n_events: 0, lambda0: None, shown: Instant::now() }
    }

    fn show(&mut self, row: &Row) {
        let first = *self.first.get_or_insert(*row);
        if let Some(lambda) = row.lambda_min {
            self.lambda0 = Some(self.lambda0.map_or(lambda, |least| least.min(lambda)));
        }
        let Some(bar) = self.bar.as_ref().filter(|_| self.shown.elapsed() >= BETWEEN) else { return };
        self.shown = Instant::now();
        let done = self.until.iter().map(|stop| part_done(*stop, &first, row)).fold(0.0, f64::max);
        bar.set_position((done.clamp(0.0, 1.0) * LENGTH) as u64);
        let lambda = self.lambda0.map_or(String::new(), |least| format!("  λ₀ {least:.2e}"));
        let (t, loss, n_events, sliding) = (row.t, row.loss, self.n_events, row.sliding);
        bar.set_message(format!("t {t:.4}  loss {loss:.2e}  events {n_events}  sliding {sliding}{lambda}"));
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Sink for Progress<'_> {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.show(row);
        self.inner.row(row)
    }

    fn event(&mut self, rows: &[EventRow]) -> io::Result<()> {
        self.n_events += rows.len();
        self.inner.event(rows)
    }

    fn theta(&mut self, t: f64, theta: &[f64]) -> io::Result<()> {
        self.inner.theta(t, theta)
    }

    fn step(&mut self, row: &StepRow) -> io::Result<()> {
        self.inner.step(row)
    }

    fn eigenvalues(&mut self, t: f64, eigenvalues: &[f64]) -> io::Result<()> {
        self.inner.eigenvalues(t, eigenvalues)
    }

    fn path(&mut self, path: &Path) -> io::Result<()> {
        self.inner.path(path)
    }

    fn conserved(&mut self, rows: &[ConservedRow]) -> io::Result<()> {
        self.inner.conserved(rows)
    }
}

/// How much of the way to a stop is done: linear in time, and in the logarithm of what decays.
fn part_done(stop: Stop, first: &Row, now: &Row) -> f64 {
    let part = |start: f64, target: f64, value: f64| (start / value).ln() / (start / target).ln();
    let done = match stop {
        Stop::Time(horizon) => now.t / horizon,
        Stop::Loss(target) => part(first.loss, target, now.loss),
        Stop::LossRatio(ratio) => part(first.loss, ratio * first.loss, now.loss),
        Stop::GradientNorm(target) => part(first.gradient_norm, target, now.gradient_norm),
    };
    if done.is_finite() { done } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gradflow::observe::RowSide;

    #[test]
    fn progress_is_linear_in_time_and_in_the_logarithm_of_the_loss() {
        let row = |t: f64, loss: f64| Row {
            t,
            side: RowSide::Smooth,
            loss,
            residual_norm: (2.0 * loss).sqrt(),
            gradient_norm: loss,
            lambda_min: None,
            lambda_max: None,
            bound: None,
            integral_bound: None,
            rayleigh: None,
            step: 0,
            sliding: 0,
        };
        let (first, now) = (row(0.0, 1.0), row(2.0, 1e-2));
        let rounding = 4.0 * f64::EPSILON;
        for (stop, expected) in [
            (Stop::Time(8.0), 0.25),
            (Stop::Loss(1e-8), 0.25),
            (Stop::LossRatio(1e-4), 0.5),
            (Stop::GradientNorm(1e-4), 0.5),
            (Stop::Loss(1.0), 0.0),
        ] {
            assert!((part_done(stop, &first, &now) - expected).abs() <= rounding, "{stop:?}");
        }
    }
}
