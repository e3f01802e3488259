//! The seam for steps that hold many events: a gradient field opened at some of its switches.
//!
//! A switch c takes in its value z_c and passes on a_c = σ(z_c), linear in each piece; what comes back is its *seed* D_c = ∂L/∂z_c. Cut at
//! a set of *active* switches, a_c and D_c are inputs, and everything else is smooth for as long as only active switches change
//! their pieces: with V_c = ∇z_c and g the gradient in which no active switch takes part, θ̇ = −(g + Σ_c D_c V_c).
//!
//! Such a field stands at several points (*nodes*) at once, each with its own mode, outputs and seeds of the active switches.

use super::field::NonFinite;
use super::mode::Mode;
use super::noise::Noise;

/// Number of nodes a field has to keep.
pub const N_NODES: usize = 4;

/// The node at the start of a step: the point of the field's last evaluation.
pub const START: usize = 0;

/// Active switch `reader` reads the output of active switch `source`: ∂z_reader/∂a_source = `weight` ≠ 0, through no other active switch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Position of the reader among the active switches.
    pub reader: usize,
    /// Position of the source among them, smaller than that of the reader.
    pub source: usize,
    /// ∂z/∂a.
    pub weight: f64,
}

/// See the module. Lists of active switches are increasing, and vectors over them are in the same order.
pub trait CutField {
    /// Intercept and slope of what a switch passes on in each of its pieces, lowest piece first: a = intercept + slope·z.
    fn lines(&self) -> &[(f64, f64)];

    /// Breakpoints between the pieces, strictly increasing.
    fn breakpoints(&self) -> &[f64];

    /// Seeds of switches at [`START`], sliding ones included.
    fn seeds(&self, switches: &[usize], out: &mut Vec<f64>);

    /// The largest ∂L/∂a at [`START`] among those that margins of a switch are compared with.
    fn largest_sensitivity(&self, switch: usize) -> f64;

    /// Rounding noise of the field at [`START`], by switch.
    fn noise(&self) -> &Noise;

    /// The group of a switch, if it has one. Switches with a group come before those without; they read no other switch, and
    /// ⟨V_c, V_d⟩ = 0 between groups whatever the point.
    fn group(&self, switch: usize) -> Option<usize>;

    /// Moves a node to `y`: values of all switches there in `mode`, in which the switches of `passed` (increasing) output what is given.
    ///
    /// # Errors
    /// When a value is not finite.
    fn stand(&mut self, node: usize, y: &[f64], mode: &Mode, passed: &[(usize, f64)]) -> Result<(), NonFinite>;

    /// Values of all switches at a node.
    fn values(&self, node: usize) -> &[f64];

    /// Cuts the field at the switches `active`, at every node that was moved before; they include those of earlier cuts.
    fn cut(&mut self, active: &[usize]);

    /// Rates of the active switches and their ∂L/∂a at a node while their seeds are `seeds`; rates do not pass through active switches.
    fn respond(&mut self, node: usize, seeds: &[f64], rates: &mut [f64], sensitivities: &mut [f64]);

    /// ⟨V_c, V_d⟩ of all active switches (column-major, both triangles), and the links between them by increasing reader.
    fn couple(&mut self, node: usize, gram: &mut Vec<f64>, links: &mut Vec<Link>);

    /// The field at a node while the seeds of the active switches are `seeds`.
    ///
    /// # Errors
    /// When it is not finite.
    fn field(&mut self, node: usize, seeds: &[f64], out: &mut [f64]) -> Result<(), NonFinite>;

    /// out = Σ_c weights_c V_c at a node.
    fn pull(&mut self, node: usize, weights: &[f64], out: &mut [f64]);
}
