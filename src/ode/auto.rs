//! A stepper that is explicit where accuracy or events limit the step, and of another kind where stability does.
//!
//! Promise: the decision is made before each step from what the loop tells ([`Outlook`]). The method for stiff stretches is implicit or, where its matrices
//! would be too dear, stabilised explicit; a change between it and the main explicit pair keeps the step length and costs nothing. Where the next event
//! or stability ends a step long before the tolerance would, an explicit pair of low order makes it with fewer stages; how long
//! its steps may be is learned from its own errors, and a step for which that was wrong is attempted again with the main pair.

use super::controller::SAFETY;
use super::field::{NonFinite, PiecewiseField};
use super::norm::Weights;
use super::stepper::{Interpolant, Outlook, Start, Stepper, Work};
use super::{Chebyshev, Esdirk, ExplicitRk};

/// Steps of the method for stiff stretches that do not pay, net of those that do, after which the explicit pair takes over.
const DISAPPOINTMENT: i32 = 4;

/// When to change to the method for stiff stretches and back.
#[derive(Debug, Clone, Copy)]
struct Policy {
    /// A step counts as limited by stability when tolerance and crossings would allow one this much longer.
    ratio: f64,
    /// Steps limited by stability, net of setbacks, after which it takes over.
    patience: i32,
    /// After each disappointment the patience doubles, up to this.
    most_patience: i32,
    /// An event sets the count back by so many steps.
    setback: i32,
    /// A step of it pays when it is at least so many stable explicit steps long.
    worthwhile: f64,
    /// Whether a step that an event cuts short cannot pay.
    fears_events: bool,
}

/// An implicit step costs about as much as six explicit ones whatever its length. How long it may be cannot be told: near the limit of stability
/// the error of the explicit pair is that of what is stiff.
const IMPLICIT: Policy =
    Policy { ratio: 1.0, patience: 25, most_patience: 320, setback: 3, worthwhile: 6.0, fears_events: true };
/// A stabilised step costs the more the longer it is, and at two explicit ones less than they do.
const STABILISED: Policy =
    Policy { ratio: 2.5, patience: 10, most_patience: 160, setback: 1, worthwhile: 1.5, fears_events: false };

/// Step of the low-order pair that the tolerance allows, in parts of the main pair's: a guess for the start, and the most believed.
const LOW_SHARE: (f64, f64) = (0.1, 0.5);
/// The part learned changes by at most this factor in a step.
const MOST_LEARNED: f64 = 2.0;

/// Which method makes the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Active {
    /// The explicit pair of low order.
    Low,
    /// The main explicit pair.
    High,
    /// The method for stiff stretches.
    Stiff,
}

/// The method that takes over where stability limits the explicit pairs.
#[derive(Debug)]
pub enum StiffMethod {
    /// The implicit pair: long steps, each with the factor of a matrix.
    Implicit(Box<Esdirk>),
    /// A stabilised explicit method: no matrix, evaluations like the root of the step's length.
    Stabilised(Box<Chebyshev>),
}

impl StiffMethod {
    fn policy(&self) -> Policy {
        match self {
            Self::Implicit(_) => IMPLICIT,
            Self::Stabilised(_) => STABILISED,
        }
    }

    fn stepper<'a, F: PiecewiseField + 'a>(&'a self) -> &'a dyn Stepper<F> {
        match self {
            Self::Implicit(stepper) => &**stepper,
            Self::Stabilised(stepper) => &**stepper,
        }
    }

    fn stepper_mut<'a, F: PiecewiseField + 'a>(&'a mut self) -> &'a mut dyn Stepper<F> {
        match self {
            Self::Implicit(stepper) => &mut **stepper,
            Self::Stabilised(stepper) => &mut **stepper,
        }
    }

    fn interpolant(&self) -> &dyn Interpolant {
        match self {
            Self::Implicit(stepper) => &**stepper,
            Self::Stabilised(stepper) => &**stepper,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Auto {
    low: ExplicitRk,
    high: ExplicitRk,
    stiff: StiffMethod,
    active: Active,
    /// Step that the tolerance allows the low-order pair, in parts of what it allows the other.
    low_share: f64,
    /// Step that the tolerance allows, when the method was last chosen.
    h_tolerance: f64,
    /// Longest stable step of the main explicit pair, and of the low-order one, times the decay rate.
    stable: f64,
    stable_low: f64,
    score: i32,
    patience: i32,
    stretch: Stretch,
    n_switches: u64,
}

/// What the method for stiff stretches has done since it took over last, or since the last stride.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    /// Time until which it has been counted.
    t: f64,
    /// Stable explicit steps that would have gone as far.
    n_explicit: f64,
    /// Evaluations and solves of the run before it did.
    n_before: u64,
}

impl Auto {
    /// Starts with the explicit pair of high order; `share` is the part of its stability interval that steps may use.
    pub fn new<F: PiecewiseField>(low: ExplicitRk, high: ExplicitRk, stiff: StiffMethod, share: f64) -> Self {
        let stable = |pair: &ExplicitRk| share * Stepper::<F>::stability_interval(pair).unwrap_or(f64::INFINITY);
        Self {
            stable: stable(&high),
            stable_low: stable(&low),
            low,
            high,
            patience: stiff.policy().patience,
            stiff,
            active: Active::High,
            low_share: LOW_SHARE.0,
            h_tolerance: 0.0,
            score: 0,
            stretch: Stretch::default(),
            n_switches: 0,
        }
    }

    fn active<'a, F: PiecewiseField + 'a>(&'a self) -> &'a dyn Stepper<F> {
        match self.active {
            Active::Low => &self.low,
            Active::High => &self.high,
            Active::Stiff => self.stiff.stepper(),
        }
    }

    fn active_mut<'a, F: PiecewiseField + 'a>(&'a mut self) -> &'a mut dyn Stepper<F> {
        match self.active {
            Active::Low => &mut self.low,
            Active::High => &mut self.high,
            Active::Stiff => self.stiff.stepper_mut(),
        }
    }

    fn interpolant(&self) -> &dyn Interpolant {
        match self.active {
            Active::Low => &self.low,
            Active::High => &self.high,
            Active::Stiff => self.stiff.interpolant(),
        }
    }

    fn switch(&mut self, to: Active) {
        self.active = to;
        self.n_switches += 1;
        self.score = 0;
    }

    /// Evaluations and solves of the run so far.
    fn spent<F: PiecewiseField>(&self, outlook: &Outlook) -> u64 {
        outlook.n_evaluations + self.stiff.stepper::<F>().work().solves
    }

    fn begin_stretch<F: PiecewiseField>(&mut self, outlook: &Outlook) {
        self.stretch = Stretch { t: outlook.t, n_explicit: 0.0, n_before: self.spent::<F>(outlook) };
    }

    /// Learns from a step of the low-order pair what part of the other's step it can make.
    fn learn(&mut self, h: f64, error: f64) {
        let exponent = f64::from(self.low.tableau().error_exponent);
        let part = h * SAFETY * error.max(1e-10).powf(-1.0 / exponent) / self.h_tolerance;
        let change = (part / self.low_share).sqrt().clamp(1.0 / MOST_LEARNED, MOST_LEARNED);
        self.low_share = (self.low_share * change).min(LOW_SHARE.1);
    }
}

impl<F: PiecewiseField> Stepper<F> for Auto {
    fn name(&self) -> &'static str {
        match self.stiff.stepper::<F>().name() {
            "Rkc2" => "Auto (BogackiShampine32, Tsit5, Rkc2)",
            "Rock4" => "Auto (BogackiShampine32, Tsit5, Rock4)",
            _ => "Auto (BogackiShampine32, Tsit5, Esdirk54)",
        }
    }

    fn order(&self) -> u32 {
        self.active::<F>().order()
    }

    fn error_exponent(&self) -> u32 {
        self.active::<F>().error_exponent()
    }

    fn stability_interval(&self) -> Option<f64> {
        self.active::<F>().stability_interval()
    }

    fn is_for_stiff(&self) -> bool {
        self.active == Active::Stiff
    }

    fn takes_differences(&self) -> bool {
        self.active::<F>().takes_differences()
    }

    fn uses_decay(&self) -> bool {
        true
    }

    fn choose(&mut self, outlook: &Outlook) {
        self.stiff.stepper_mut::<F>().choose(outlook);
        if self.active == Active::Low && outlook.last_attempt > 0.0 {
            self.learn(outlook.last_attempt, outlook.last_error);
        }
        let policy = self.stiff.policy();
        let decay = outlook.decay.filter(|decay| *decay > 0.0);
        let wanted = outlook.h_tolerance.min(outlook.h_crossing);
        if self.active == Active::Stiff {
            let Some(decay) = decay else { return };
            if outlook.last_attempt == 0.0 {
                // A stride says nothing about this method, and is not its work.
                self.begin_stretch::<F>(outlook);
                return;
            }
            self.stretch.n_explicit += (outlook.t - self.stretch.t) * decay / self.stable;
            self.stretch.t = outlook.t;
            let in_vain = policy.fears_events && outlook.was_cut;
            let pays = outlook.last_attempt >= policy.worthwhile * self.stable / decay && !in_vain;
            self.score = (self.score + if pays { -1 } else { 1 }).max(-DISAPPOINTMENT);
            if self.score >= DISAPPOINTMENT {
                // Steps in vain may follow many that were worth them all.
                let n_spent = (self.spent::<F>(outlook) - self.stretch.n_before) as f64;
                let has_paid = self.stretch.n_explicit * self.high.tableau().n_stages() as f64 >= n_spent;
                self.patience = if has_paid { policy.patience } else { (2 * self.patience).min(policy.most_patience) };
                self.switch(Active::High);
            }
            return;
        }
        if let Some(decay) = decay {
            let stable = self.stable / decay;
            self.score = match (outlook.was_cut, wanted >= policy.ratio * stable) {
                (true, _) => self.score - policy.setback,
                (false, true) => self.score + 1,
                (false, false) => self.score - 1,
            }
            .max(0);
            if self.score >= self.patience {
                self.switch(Active::Stiff);
                self.begin_stretch::<F>(outlook);
                return;
            }
        }
        self.h_tolerance = outlook.h_tolerance;
        let limit = decay.map_or(f64::INFINITY, |decay| self.stable_low / decay).min(outlook.h_crossing);
        self.active = if limit <= self.low_share * outlook.h_tolerance { Active::Low } else { Active::High };
    }

    fn stands_in(&self) -> bool {
        self.active == Active::Low
    }

    fn retries(&mut self, h: f64, error: f64) -> bool {
        match self.active {
            Active::Low => {
                self.learn(h, error);
                self.active = Active::High;
                true
            }
            Active::High => false,
            Active::Stiff => self.stiff.stepper_mut::<F>().retries(h, error),
        }
    }

    fn attempt(&mut self, field: &mut F, start: Start<'_>, h: f64) -> Result<f64, NonFinite> {
        self.active_mut().attempt(field, start, h)
    }

    fn end(&self) -> &[f64] {
        match (self.active, &self.stiff) {
            (Active::Low, _) => Stepper::<F>::end(&self.low),
            (Active::High, _) => Stepper::<F>::end(&self.high),
            (Active::Stiff, StiffMethod::Implicit(stepper)) => Stepper::<F>::end(&**stepper),
            (Active::Stiff, StiffMethod::Stabilised(stepper)) => Stepper::<F>::end(&**stepper),
        }
    }

    fn end_field(&self) -> &[f64] {
        match (self.active, &self.stiff) {
            (Active::Low, _) => Stepper::<F>::end_field(&self.low),
            (Active::High, _) => Stepper::<F>::end_field(&self.high),
            (Active::Stiff, StiffMethod::Implicit(stepper)) => Stepper::<F>::end_field(&**stepper),
            (Active::Stiff, StiffMethod::Stabilised(stepper)) => Stepper::<F>::end_field(&**stepper),
        }
    }

    fn error(&self, norm: &Weights<'_>, start: Start<'_>) -> f64 {
        self.active::<F>().error(norm, start)
    }

    fn dissipation_error(&self, start: Start<'_>) -> Option<f64> {
        self.active::<F>().dissipation_error(start)
    }

    fn weigh(&mut self, norm: &Weights<'_>) {
        if self.active == Active::Stiff {
            self.stiff.stepper_mut::<F>().weigh(norm);
        }
    }

    fn prepare_dense(&mut self, field: &mut F, start: Start<'_>) -> Result<(), NonFinite> {
        self.active_mut().prepare_dense(field, start)
    }

    fn reset(&mut self) {
        self.active_mut::<F>().reset();
    }

    fn work(&self) -> Work {
        let steppers: [&dyn Stepper<F>; 3] = [&self.low, &self.high, self.stiff.stepper()];
        let mut total = Work { switches: self.n_switches, ..Work::default() };
        for work in steppers.map(|stepper| stepper.work()) {
            total.evaluations += work.evaluations;
            total.linearisations += work.linearisations;
            total.solves += work.solves;
        }
        total
    }
}

impl Interpolant for Auto {
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]) {
        self.interpolant().interpolate(start, x, out);
    }

    fn dissipation(&self, start: Start<'_>, x: f64) -> Option<f64> {
        self.interpolant().dissipation(start, x)
    }

    fn detached(&self) -> Box<dyn Interpolant + Send> {
        self.interpolant().detached()
    }
}
