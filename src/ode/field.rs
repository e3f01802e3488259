//! The seam between the integrator and whatever it integrates: a piecewise-smooth vector field.
//!
//! A field has *switches*: scalar functions z_j(y) with breakpoints. Each switch is in a piece; the vector field
//! is smooth as long as no switch changes its piece. In a given [`Mode`] the field is evaluated with the pieces
//! frozen, also where z_j has left its piece (the smooth continuation), because a step must see one smooth
//! field throughout to keep its order.

use super::contact::LocalModel;
use super::cut::CutField;
use super::mode::{Contact, Mode, Side};
use super::noise::{Noise, TRUSTED};
use thiserror::Error;

/// A non-finite number met while evaluating the field.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{what} is not finite")]
pub struct NonFinite {
    /// What became non-finite, in the field's own words.
    pub what: String,
}

/// How firmly a sliding contact is held: both entries are ≥ 0 while sliding is consistent.
///
/// Were the switch released into the piece below, its rate would be `below` up to a positive factor (pushing it back up
/// when positive); released above, its rate would be −`above` up to the same factor. So `below` < 0 means that the slide
/// ends downwards, `above` < 0 upwards, and `below + above` is the attraction of the kink.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlideMargin {
    /// Push-back from the piece below.
    pub below: f64,
    /// Push-back from the piece above.
    pub above: f64,
    /// Size of the terms whose difference the margins are, those of other switches among them: what a margin is compared with where it is
    /// told how narrow it was.
    pub scale: f64,
    /// Below this a margin is zero: rounding, or what the location of an event can resolve of it.
    pub resolution: f64,
    /// What rates are to margins: released with a margin of −1 the switch moves at about this.
    pub square: f64,
}

/// Part of its own terms to which a margin is resolved where an exit is located, a small multiple of the resolution of time in a step.
pub const LOCATED: f64 = 1e-12;

/// Sensitivities of other switches count among the terms of a margin with this part.
pub const OTHERS: f64 = 1e-3;

impl SlideMargin {
    /// The margins of a slide with multiplier δ and sensitivity μ between the slopes below and above, not compared with other switches. `square` is
    /// ‖∇z‖², and `noise` that of the rate and of μ.
    pub fn of(delta: f64, mu: f64, (low, high): (f64, f64), square: f64, noise: (f64, f64)) -> Self {
        let steepest = low.abs().max(high.abs());
        let own = delta.abs() + steepest * mu.abs();
        // δ is a rate over the square of a gradient.
        let rounding = noise.0 / square + steepest * noise.1;
        let resolution = if rounding.is_finite() { rounding.max(LOCATED * own) } else { LOCATED * own };
        Self { below: delta - low * mu, above: high * mu - delta, scale: own, resolution, square }
    }

    /// The smaller of the two margins.
    pub fn least(&self) -> f64 {
        self.below.min(self.above)
    }

    /// The smaller margin, relative to its scale.
    pub fn relative(&self) -> f64 {
        self.least() / self.scale
    }

    /// Whether the slide has ended.
    pub fn is_over(&self) -> bool {
        self.least() < -self.resolution
    }

    /// Rates that the two sides differ by.
    pub fn rate_scale(&self) -> f64 {
        (self.below.abs() + self.above.abs()) * self.square
    }

    /// Whether one side does not push back at all: what is zero by structure is no more than its rounding, without the room that is left for
    /// judging an end. In between a slide lasts, and is not let go only to be taken up again.
    pub fn is_slack(&self) -> bool {
        self.least() <= self.resolution / TRUSTED
    }

    /// The side that a slide which ends is left to. Where both sides push away the attraction has vanished and changed its sign; the
    /// position between the two sides has stayed what it was, and the closer side is taken.
    pub fn exit(&self) -> Side {
        let repels = self.below < 0.0 && self.above < 0.0;
        if (self.below < self.above) != repels { Side::Below } else { Side::Above }
    }
}

/// A piecewise-smooth vector field ẏ = f(y; mode) with sliding.
///
/// Calls marked *(last)* refer to the point and mode of the most recent successful [`eval`](Self::eval).
pub trait PiecewiseField {
    /// Length of y.
    fn dim(&self) -> usize;

    /// Number of switches.
    fn n_switches(&self) -> usize;

    /// Breakpoints of a switch, strictly increasing.
    fn breakpoints(&self, switch: usize) -> &[f64];

    /// The breakpoints of every switch, where all have the same: scans over all switches are much faster then.
    fn common_breakpoints(&self) -> Option<&[f64]> {
        None
    }

    /// The mode read off the switching values at `y`, none sliding; a value on a breakpoint counts as above it. Only a run's start
    /// uses it.
    fn mode_from_values(&mut self, y: &[f64]) -> Mode;

    /// Evaluates the field in `mode` with all pieces frozen and all sliding switches held: dy·∇z_e = 0 for each of them.
    ///
    /// # Errors
    /// When a value on the way is not finite; the caller rejects the step.
    fn eval(&mut self, y: &[f64], mode: &Mode, dy: &mut [f64]) -> Result<(), NonFinite>;

    /// The same where the multipliers that hold the sliding switches are known, in the order of [`Mode::sliding`].
    ///
    /// # Errors
    /// When a value on the way is not finite.
    fn eval_held(&mut self, y: &[f64], mode: &Mode, multipliers: &[f64], dy: &mut [f64]) -> Result<(), NonFinite> {
        let _ = multipliers;
        self.eval(y, mode, dy)
    }

    /// *(last)* Values of all switches.
    fn values(&self) -> &[f64];

    /// *(last)* Rates of all switches when y moves along `direction`.
    fn rates(&mut self, direction: &[f64], rates: &mut [f64]);

    /// *(last)* Margins of the sliding contacts, in the order of [`Mode::sliding`].
    fn margins(&mut self, out: &mut Vec<SlideMargin>);

    /// *(last)* Positive when the two sides of the contact push towards each other (as `below + above` of its margin), negative
    /// when they push apart, zero when the field does not jump there. Returned with the size below which it is rounding.
    fn attraction(&self, contact: Contact) -> (f64, f64);

    /// *(last)* Measures rounding noise; costs about two evaluations. It changes slowly where what cancels stays as large as it was.
    fn measure_noise(&mut self) {}

    /// The noise as it was measured last, and whether that was at the point of the last evaluation. By default there is none.
    fn noise(&self) -> (&Noise, bool) {
        (const { &Noise::NONE }, true)
    }

    /// *(last)* Magnitude of a switch's value, for rounding floors.
    fn scale(&self, switch: usize) -> f64;

    /// *(last)* The largest [`scale`](Self::scale) of any switch.
    fn largest_scale(&self) -> f64 {
        (0..self.n_switches()).map(|switch| self.scale(switch)).fold(0.0, f64::max)
    }

    /// *(last)* What errors of each component count against besides its own value, where tolerances are to scale with the state; none by
    /// default, and where they are not.
    fn scales(&mut self, out: &mut Vec<f64>) {
        out.clear();
    }

    /// Exact value of one switch at `y`; meant to cost far less than a full evaluation.
    fn value_at(&mut self, y: &[f64], mode: &Mode, switch: usize) -> f64;

    /// Moves `y` by the smallest step that puts every contact exactly on its breakpoint (one Newton step).
    ///
    /// # Errors
    /// When a value on the way is not finite.
    fn project(&mut self, y: &mut [f64], mode: &Mode, contacts: &[Contact]) -> Result<(), NonFinite>;

    /// *(last)* [`project`](Self::project) onto the sliding contacts of `mode` and onto `hits`, free ones (increasing), of a `y` that is the
    /// point of the last evaluation, which was in that mode.
    ///
    /// # Errors
    /// When a value on the way is not finite.
    fn project_last(&mut self, y: &mut [f64], mode: &Mode, hits: &[Contact]) -> Result<(), NonFinite> {
        self.project(y, mode, &mode.contacts_with(hits))
    }

    /// After [`project_last`](Self::project_last), whether its surfaces were independent of each other, so that their contacts can be decided one by one.
    fn meets_regularly(&self) -> bool {
        true
    }

    /// *(last)* Whether the surfaces slid on are independent of each other.
    fn slides_regularly(&self) -> bool {
        true
    }

    /// The flow next to `y`, cut open at `contacts` (increasing), all that slide in `mode` among them; `None` if there is no such thing.
    ///
    /// # Errors
    /// When a value on the way is not finite.
    fn local_model(&mut self, y: &[f64], mode: &Mode, contacts: &[Contact]) -> Result<Option<LocalModel>, NonFinite> {
        let _ = (y, mode, contacts);
        Ok(None)
    }

    /// *(last)* After [`project_last`](Self::project_last), whether one of its hits, which arrives at `rate`, will be pushed back from the other
    /// side, as far as can be foreseen without an evaluation there. A first guess that spares evaluations; `false` when nothing is known.
    fn is_pushed_back(&self, hit: Contact, rate: f64) -> bool {
        let _ = (hit, rate);
        false
    }

    /// *(last)* Estimate of the largest decay rate of the linearised field, or `None` when unknown. Explicit methods limit their
    /// step with it. May keep a warm start between calls.
    fn decay_rate(&mut self, mode: &Mode) -> Option<f64> {
        let _ = mode;
        None
    }

    /// The linearisation that implicit methods use, if this field offers one.
    fn linearisation(&mut self) -> Option<&mut dyn Linearisation> {
        None
    }

    /// *(last)* The field as one that can be cut open at its switches, standing at [`START`](super::cut::START), if it is of that kind.
    fn cut(&mut self) -> Option<&mut dyn CutField> {
        None
    }

    /// That field as it was left, whatever has been evaluated since.
    fn cut_again(&mut self) -> Option<&mut dyn CutField> {
        None
    }
}

/// An approximate Jacobian A ≈ ∂f/∂y whose shifted systems can be solved without forming it.
///
/// For gradient flow A = −(JP)ᵀ(JP) with P the projector on the sliding tangent (Gauss–Newton), of rank at most n·M.
pub trait Linearisation {
    /// Fixes A at `y` in `mode`.
    ///
    /// # Errors
    /// When a value on the way is not finite.
    fn linearise(&mut self, y: &[f64], mode: &Mode) -> Result<(), NonFinite>;

    /// out = A·v with the A fixed last.
    fn apply(&mut self, v: &[f64], out: &mut [f64]);

    /// Prepares (I − shift·A)⁻¹; `shift` > 0.
    ///
    /// # Errors
    /// When the factorisation breaks down.
    fn factor(&mut self, shift: f64) -> Result<(), NonFinite>;

    /// b ← (I − shift·A)⁻¹ b with the shift prepared last.
    fn solve(&mut self, b: &mut [f64]);
}
