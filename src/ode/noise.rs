//! Rounding noise of a field: what of a rate, a margin or the field itself is nothing but rounding.
//!
//! A rate is a sum of terms that may cancel. Its rounding error goes with the sizes of these terms and not with what is left of them, so
//! that every switch has a noise of its own: that of a sample whose residual has vanished may be all there is, while another one is
//! still far from rest.

/// Values below this many times their noise are zero: a step of length h carries the noise of the field into the state and makes hλ times as much of it in
/// the next evaluation, and explicit methods go up to hλ = 5.5.
pub const TRUSTED: f64 = 8.0;

/// Noise of everything that decisions rest on, in the units of each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Noise {
    /// Of ‖ẏ‖.
    pub field: f64,
    /// Of each component of ẏ.
    pub components: Vec<f64>,
    /// Of the value of each switch.
    pub values: Vec<f64>,
    /// Of the rate of each switch.
    pub rates: Vec<f64>,
    /// Of what a switch's slope is multiplied with, ∂L/∂a for a network, of each switch.
    pub sensitivities: Vec<f64>,
}

impl Noise {
    /// A field without noise.
    pub const NONE: Self =
        Self { field: 0.0, components: Vec::new(), values: Vec::new(), rates: Vec::new(), sensitivities: Vec::new() };

    /// The value of a switch below which it is rounding.
    pub fn value(&self, switch: usize) -> f64 {
        TRUSTED * self.values.get(switch).copied().unwrap_or(0.0)
    }

    /// The rate of a switch below which it is rounding.
    pub fn rate(&self, switch: usize) -> f64 {
        TRUSTED * self.rates.get(switch).copied().unwrap_or(0.0)
    }

    /// The same for its sensitivity.
    pub fn sensitivity(&self, switch: usize) -> f64 {
        TRUSTED * self.sensitivities.get(switch).copied().unwrap_or(0.0)
    }

    /// The same for the norm of the field.
    pub fn field(&self) -> f64 {
        TRUSTED * self.field
    }
}
