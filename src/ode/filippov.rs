//! Piecewise-smooth systems of your own: right-hand side and switching functions in, a [`PiecewiseField`] with sliding out.
//!
//! You implement [`PiecewiseSystem`]; [`FilippovField`] adds what the integrator needs to hold slides. With N the gradients of
//! the sliding switching functions (one per row) and D the jumps of the right-hand side across them (one per column, above minus
//! below), the field is f + D·α, where f has every sliding switch in its piece below and α solves N·D·α = −N·f: Utkin's
//! equivalent control, which for one switch is Filippov's convex combination. See `examples/own_field.rs`.

use super::field::{LOCATED, NonFinite, PiecewiseField, SlideMargin};
use super::mode::{Contact, Mode};
use super::noise::Noise;
use crate::vector::{all_finite, dot, norm};
use nalgebra::{DMatrix, DVector};

/// Singular values below this part of the largest one count as zero.
const SINGULAR: f64 = 1e-13;

/// A piecewise-smooth system ẏ = f(y; pieces), where switching function z_j(y) decides the piece of switch j.
///
/// Time enters as a component of y with rate 1. Where several switches slide at once, their jumps are taken to add up: the jump of f
/// across one of them must not depend on the side of another one. Products of two relays, say, need another convention.
pub trait PiecewiseSystem {
    /// Length of y.
    fn dim(&self) -> usize;

    /// Number of switches.
    fn n_switches(&self) -> usize;

    /// Breakpoints of a switch, strictly increasing; k of them make k + 1 pieces, numbered from below.
    fn breakpoints(&self, switch: usize) -> &[f64];

    /// Writes f(y; pieces) into `dy`. The pieces are given and y may lie outside of them: continue each piece smoothly, and never
    /// decide by the signs of switching values.
    fn rhs(&self, y: &[f64], pieces: &[u16], dy: &mut [f64]);

    /// z_j(y), smooth.
    fn switching_value(&self, switch: usize, y: &[f64]) -> f64;

    /// Writes ∇z_j(y) into `gradient`; must not vanish on a breakpoint.
    fn switching_gradient(&self, switch: usize, y: &[f64], gradient: &mut [f64]);

    /// Typical size of z_j, for telling values from rounding; 1 by default. Larger terms |∂z_j/∂y_i·y_i| are seen without help.
    fn typical_value(&self, switch: usize) -> f64 {
        let _ = switch;
        1.0
    }
}

/// A [`PiecewiseSystem`] as a field with sliding. An evaluation costs one right-hand side per sliding switch and one more, all
/// switching values and gradients, and a dense factorisation of the size of the sliding set.
#[derive(Debug, Clone)]
pub struct FilippovField<S> {
    system: S,
    y: Vec<f64>,
    values: Vec<f64>,
    /// ∇z_j, one row per switch.
    gradients: Vec<f64>,
    sliding: Sliding,
    /// Pieces of the last evaluation.
    pieces: Vec<u16>,
    margins: Vec<SlideMargin>,
    /// Size of the terms of each component of the field.
    magnitudes: Vec<f64>,
    noise: Noise,
    noise_is_current: bool,
}

/// The sliding set of an evaluation with its equations.
#[derive(Debug, Clone, Default)]
struct Sliding {
    contacts: Vec<Contact>,
    /// D, one column per contact.
    jumps: Vec<Vec<f64>>,
    /// (N·D)⁻¹, or its pseudo-inverse.
    inverse: DMatrix<f64>,
}

impl<S: PiecewiseSystem> FilippovField<S> {
    /// The field of `system`.
    pub fn new(system: S) -> Self {
        let (dim, n_switches) = (system.dim(), system.n_switches());
        Self {
            y: vec![0.0; dim],
            values: vec![0.0; n_switches],
            gradients: vec![0.0; n_switches * dim],
            sliding: Sliding::default(),
            pieces: vec![0; n_switches],
            margins: Vec::new(),
            magnitudes: vec![0.0; dim],
            noise: Noise::default(),
            noise_is_current: false,
            system,
        }
    }

    /// The system.
    pub fn system(&self) -> &S {
        &self.system
    }

    /// *(last)* Positions α between the piece below (0) and the piece above (1), in the order of [`Mode::sliding`].
    pub fn positions(&self) -> impl Iterator<Item = f64> {
        self.margins.iter().map(|m| m.below / (m.below + m.above))
    }

    fn gradient(&self, switch: usize) -> &[f64] {
        &self.gradients[switch * self.y.len()..(switch + 1) * self.y.len()]
    }

    /// f(above) − f(below) at `contact`, the other switches in `pieces`.
    fn jump(&self, y: &[f64], pieces: &[u16], contact: Contact) -> Vec<f64> {
        let mut pieces = pieces.to_vec();
        let (mut below, mut above) = (vec![0.0; y.len()], vec![0.0; y.len()]);
        pieces[contact.switch] = contact.breakpoint;
        self.system.rhs(y, &pieces, &mut below);
        pieces[contact.switch] = contact.breakpoint + 1;
        self.system.rhs(y, &pieces, &mut above);
        above.iter().zip(&below).map(|(a, b)| a - b).collect()
    }

    /// Turns `dy` = f with all contacts below into the field that holds them, and notes the margins.
    fn hold(&mut self, dy: &mut [f64]) -> Result<(), NonFinite> {
        let mut margins = std::mem::take(&mut self.margins);
        let mut magnitudes = std::mem::take(&mut self.magnitudes);
        let contacts = &self.sliding.contacts;
        let k = contacts.len();
        let jumps: Vec<Vec<f64>> = contacts.iter().map(|&c| self.jump(&self.y, &self.pieces, c)).collect();
        for jump in &jumps {
            magnitudes.iter_mut().zip(jump).for_each(|(m, j)| *m += j.abs());
        }
        let row = |e: usize| self.gradient(contacts[e].switch);
        let system = DMatrix::from_fn(k, k, |e, d| dot(row(e), &jumps[d]));
        let rates_below = DVector::from_fn(k, |e, _| dot(row(e), dy));
        let inverse = pseudo_inverse(system).ok_or_else(|| NonFinite { what: "the jump across a surface".into() })?;
        let position = -(&inverse * &rates_below);
        margins.clear();
        for e in 0..k {
            // Released, switch e would move at κ(0 − α) below and κ(1 − α) above while the others stay held.
            let kappa = if inverse[(e, e)] == 0.0 { 0.0 } else { 1.0 / inverse[(e, e)] };
            let scale = terms(row(e), &magnitudes);
            let (below, above) = (-kappa * position[e], -kappa * (1.0 - position[e]));
            let resolution = self.noise.rate(contacts[e].switch).max(LOCATED * scale);
            margins.push(SlideMargin { below, above, scale, resolution, square: 1.0 });
        }
        for (jump, alpha) in jumps.iter().zip(position.iter()) {
            dy.iter_mut().zip(jump).for_each(|(d, j)| *d += alpha * j);
        }
        self.margins = margins;
        self.magnitudes = magnitudes;
        self.sliding.jumps = jumps;
        self.sliding.inverse = inverse;
        Ok(())
    }
}

/// Σ |n_i v_i|.
fn terms(n: &[f64], v: &[f64]) -> f64 {
    n.iter().zip(v).map(|(n, v)| (n * v).abs()).sum()
}

/// A⁺ with small singular values cut off, or `None` when A is not finite.
fn pseudo_inverse(matrix: DMatrix<f64>) -> Option<DMatrix<f64>> {
    if !matrix.iter().all(|v| v.is_finite()) {
        return None;
    }
    let decomposition = matrix.svd(true, true);
    let cut_off = SINGULAR * decomposition.singular_values.max();
    decomposition.pseudo_inverse(cut_off).ok()
}

impl<S: PiecewiseSystem> PiecewiseField for FilippovField<S> {
    fn dim(&self) -> usize {
        self.system.dim()
    }

    fn n_switches(&self) -> usize {
        self.system.n_switches()
    }

    fn breakpoints(&self, switch: usize) -> &[f64] {
        self.system.breakpoints(switch)
    }

    fn mode_from_values(&mut self, y: &[f64]) -> Mode {
        let piece = |j| {
            let z = self.system.switching_value(j, y);
            self.system.breakpoints(j).partition_point(|&b| b <= z) as u16
        };
        Mode::new((0..self.system.n_switches()).map(piece).collect())
    }

    fn eval(&mut self, y: &[f64], mode: &Mode, dy: &mut [f64]) -> Result<(), NonFinite> {
        self.noise_is_current = false;
        self.y.copy_from_slice(y);
        self.pieces.copy_from_slice(mode.pieces());
        self.sliding.contacts.clear();
        self.sliding.contacts.extend_from_slice(mode.sliding());
        self.margins.clear();
        for (j, (value, gradient)) in
            self.values.iter_mut().zip(self.gradients.chunks_exact_mut(y.len().max(1))).enumerate()
        {
            *value = self.system.switching_value(j, y);
            self.system.switching_gradient(j, y, gradient);
        }
        // A sliding switch is in its piece below as far as a mode's pieces tell.
        self.system.rhs(y, mode.pieces(), dy);
        self.magnitudes.iter_mut().zip(&*dy).for_each(|(m, d)| *m = d.abs());
        if mode.sliding().is_empty() {
            self.sliding.jumps.clear();
            self.sliding.inverse = DMatrix::zeros(0, 0);
        } else {
            self.hold(dy)?;
        }
        if !all_finite(&self.values) {
            return Err(NonFinite { what: "a switching value".into() });
        }
        if !all_finite(dy) {
            return Err(NonFinite { what: "the right-hand side".into() });
        }
        Ok(())
    }

    fn values(&self) -> &[f64] {
        &self.values
    }

    fn rates(&mut self, direction: &[f64], rates: &mut [f64]) {
        for (j, rate) in rates.iter_mut().enumerate() {
            *rate = dot(self.gradient(j), direction);
        }
    }

    fn margins(&mut self, out: &mut Vec<SlideMargin>) {
        out.clone_from(&self.margins);
    }

    fn attraction(&self, contact: Contact) -> (f64, f64) {
        if let Ok(e) = self.sliding.contacts.binary_search(&contact) {
            let margin = self.margins[e];
            return (margin.below + margin.above, margin.scale);
        }
        let gradient = self.gradient(contact.switch);
        let mut jump = self.jump(&self.y, &self.pieces, contact);
        let scale = terms(gradient, &jump);
        // The sliding switches answer the jump so that they stay held.
        let Sliding { contacts, jumps, inverse } = &self.sliding;
        let rates = DVector::from_fn(contacts.len(), |e, _| dot(self.gradient(contacts[e].switch), &jump));
        let answer = inverse * rates;
        for (alpha, held) in answer.iter().zip(jumps) {
            jump.iter_mut().zip(held).for_each(|(j, h)| *j -= alpha * h);
        }
        (-dot(gradient, &jump), scale)
    }

    fn scale(&self, switch: usize) -> f64 {
        terms(self.gradient(switch), &self.y).max(self.system.typical_value(switch))
    }

    fn measure_noise(&mut self) {
        let unit = f64::EPSILON * (1.0 + (self.y.len() as f64).sqrt());
        self.noise.field = unit * norm(&self.magnitudes);
        let rates = (0..self.values.len()).map(|j| unit * terms(self.gradient(j), &self.magnitudes)).collect();
        self.noise.rates = rates;
        self.noise_is_current = true;
    }

    fn noise(&self) -> (&Noise, bool) {
        (&self.noise, self.noise_is_current)
    }

    fn value_at(&mut self, y: &[f64], _mode: &Mode, switch: usize) -> f64 {
        self.system.switching_value(switch, y)
    }

    fn project(&mut self, y: &mut [f64], _mode: &Mode, contacts: &[Contact]) -> Result<(), NonFinite> {
        let (dim, k) = (y.len(), contacts.len());
        let mut gradient = vec![0.0; dim];
        let mut normals = DMatrix::zeros(k, dim);
        let mut offsets = DVector::zeros(k);
        for (e, contact) in contacts.iter().enumerate() {
            let at = self.system.breakpoints(contact.switch)[usize::from(contact.breakpoint)];
            offsets[e] = self.system.switching_value(contact.switch, y) - at;
            self.system.switching_gradient(contact.switch, y, &mut gradient);
            gradient.iter().enumerate().for_each(|(i, g)| normals[(e, i)] = *g);
        }
        let what = || NonFinite { what: "the projection onto the sliding surfaces".into() };
        // The least-norm solution of N·Δy = −offsets.
        let correction = pseudo_inverse(normals).ok_or_else(what)? * offsets;
        if !correction.iter().all(|c| c.is_finite()) {
            return Err(what());
        }
        y.iter_mut().zip(correction.iter()).for_each(|(y, c)| *y -= c);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! Against closed forms: times of events to 1e-9, states to 1e-9 at rtol 1e-11.

    use super::*;
    use crate::ode::tableau::TSIT5;
    use crate::ode::{
        Event, EventKind, ExplicitRk, Observer, Options, Outcome, Point, Side, StartContact, StopReason, WrmsNorm,
        integrate,
    };
    use std::f64::consts::PI;

    type Rhs = fn(&[f64], &[f64], &mut [f64]);

    /// ẏ = rhs(y, signs), z_j = y[coordinate j], with breakpoint 0.
    struct Relays {
        dim: usize,
        coordinates: Vec<usize>,
        rhs: Rhs,
    }

    impl PiecewiseSystem for Relays {
        fn dim(&self) -> usize {
            self.dim
        }

        fn n_switches(&self) -> usize {
            self.coordinates.len()
        }

        fn breakpoints(&self, _: usize) -> &[f64] {
            &[0.0]
        }

        fn rhs(&self, y: &[f64], pieces: &[u16], dy: &mut [f64]) {
            let signs: Vec<f64> = pieces.iter().map(|&p| if p == 0 { -1.0 } else { 1.0 }).collect();
            (self.rhs)(y, &signs, dy);
        }

        fn switching_value(&self, switch: usize, y: &[f64]) -> f64 {
            y[self.coordinates[switch]]
        }

        fn switching_gradient(&self, switch: usize, _: &[f64], gradient: &mut [f64]) {
            gradient.fill(0.0);
            gradient[self.coordinates[switch]] = 1.0;
        }
    }

    #[derive(Default)]
    struct Seen {
        start: Vec<StartContact>,
        events: Vec<(f64, EventKind, usize, Side)>,
    }

    impl<F> Observer<F> for Seen {
        fn start(&mut self, _: &Point<'_, F>, contacts: &[StartContact]) {
            self.start = contacts.to_vec();
        }

        fn event(&mut self, after: &Point<'_, F>, event: &Event) {
            self.events.extend(event.changes.iter().map(|c| (after.t, c.kind, c.contact.switch, c.towards)));
        }
    }

    fn run<S: PiecewiseSystem>(system: S, y: &[f64], t_end: f64) -> (Outcome, Seen) {
        let norm = WrmsNorm { rtol: 1e-11, atol: 1e-12 };
        let options = Options { t_end, norm, max_steps: 100_000, fixed_step: None, retake: false, strides: false };
        let mut stepper = ExplicitRk::new(&TSIT5, system.dim());
        let mut seen = Seen::default();
        let mut field = FilippovField::new(system);
        let outcome = integrate(&mut field, &mut stepper, y, &options, &mut [], &mut seen);
        assert_eq!(outcome.reason, StopReason::Horizon);
        (outcome, seen)
    }

    fn assert_events(seen: &Seen, expected: &[(f64, EventKind, usize, Side)]) {
        assert_eq!(seen.events.len(), expected.len(), "{:?}", seen.events);
        for (found, wanted) in seen.events.iter().zip(expected) {
            assert_eq!((found.1, found.2, found.3), (wanted.1, wanted.2, wanted.3), "{:?}", seen.events);
            assert!((found.0 - wanted.0).abs() < 1e-9, "{:?} instead of {wanted:?}", found);
        }
    }

    #[test]
    fn a_relay_slides_until_the_drift_overcomes_it() {
        // ẏ = s − 2 sign y, ṡ = 1 from y = 1: down to 0 at 2 − √2, held while s < 2, then (t − 2)²/2.
        let relay = Relays {
            dim: 2,
            coordinates: vec![0],
            rhs: |y, sign, dy| {
                dy[0] = y[1] - 2.0 * sign[0];
                dy[1] = 1.0;
            },
        };
        let (outcome, seen) = run(relay, &[1.0, 0.0], 3.0);
        let enters = (2.0 - 2.0_f64.sqrt(), EventKind::SlideEnter, 0, Side::Below);
        assert_events(&seen, &[enters, (2.0, EventKind::SlideExit, 0, Side::Above)]);
        assert!((outcome.y[0] - 0.5).abs() < 1e-9, "{}", outcome.y[0]);
    }

    #[test]
    fn dry_friction_loses_twice_its_strength_per_half_swing_and_then_sticks() {
        // ẍ = −x − sign ẋ from rest at 3.5: turns at −1.5 after π, at −0.5 after 2π, where the spring is too weak to go on.
        let oscillator = Relays {
            dim: 2,
            coordinates: vec![1],
            rhs: |y, sign, dy| {
                dy[0] = y[1];
                dy[1] = -y[0] - sign[0];
            },
        };
        let (outcome, seen) = run(oscillator, &[3.5, 0.0], 10.0);
        assert_eq!(seen.start.iter().map(|c| c.side).collect::<Vec<_>>(), [Some(Side::Below)]);
        let expected = [(PI, EventKind::Crossing, 0, Side::Above), (2.0 * PI, EventKind::SlideEnter, 0, Side::Below)];
        assert_events(&seen, &expected);
        assert!((outcome.y[0] + 0.5).abs() < 1e-9 && outcome.y[1].abs() < 1e-14, "{:?}", outcome.y);
    }

    #[test]
    fn a_block_slips_when_the_pull_exceeds_friction() {
        // v̇ = t − 1.5 sign v from rest: sticks from the start, slips at 1.5, then v = (t − 1.5)²/2.
        let block = Relays {
            dim: 2,
            coordinates: vec![0],
            rhs: |y, sign, dy| {
                dy[0] = y[1] - 1.5 * sign[0];
                dy[1] = 1.0;
            },
        };
        let (outcome, seen) = run(block, &[0.0, 0.0], 2.5);
        assert_eq!(seen.start.iter().map(|c| c.side).collect::<Vec<_>>(), [None]);
        assert_events(&seen, &[(1.5, EventKind::SlideExit, 0, Side::Above)]);
        assert!((outcome.y[0] - 0.5).abs() < 1e-9, "{}", outcome.y[0]);
    }

    #[test]
    fn coupled_relays_share_the_load_and_let_go_one_by_one() {
        // ẏ = (s, 0.2) − B sign y with B = [2 ½; ½ 1.5]. Both held: u = B⁻¹(s, 0.2), so u_1 = (1.5 s − 0.1)/2.75 reaches 1 at
        // s = 1.9; then u_2 = −0.2 stays and ẏ_1 = s − 1.9.
        let relays = Relays {
            dim: 3,
            coordinates: vec![0, 1],
            rhs: |y, sign, dy| {
                dy[0] = y[2] - 2.0 * sign[0] - 0.5 * sign[1];
                dy[1] = 0.2 - 0.5 * sign[0] - 1.5 * sign[1];
                dy[2] = 1.0;
            },
        };
        let (outcome, seen) = run(relays, &[0.0, 0.0, 0.0], 2.9);
        assert_eq!(seen.start.iter().map(|c| c.side).collect::<Vec<_>>(), [None, None]);
        assert_events(&seen, &[(1.9, EventKind::SlideExit, 0, Side::Above)]);
        assert!((outcome.y[0] - 0.5).abs() < 1e-9 && outcome.y[1].abs() < 1e-14, "{:?}", outcome.y);
        assert_eq!(outcome.mode.sliding(), [Contact { switch: 1, breakpoint: 0 }]);
    }

    /// Inside the unit circle outwards, outside of it inwards, rotating at different speeds: a limit cycle on a curved surface.
    struct Circle;

    impl PiecewiseSystem for Circle {
        fn dim(&self) -> usize {
            2
        }

        fn n_switches(&self) -> usize {
            1
        }

        fn breakpoints(&self, _: usize) -> &[f64] {
            &[1.0]
        }

        fn rhs(&self, y: &[f64], pieces: &[u16], dy: &mut [f64]) {
            let (radial, angular) = if pieces[0] == 0 { (1.0, 1.0) } else { (-3.0, 5.0) };
            dy[0] = radial * y[0] - angular * y[1];
            dy[1] = radial * y[1] + angular * y[0];
        }

        fn switching_value(&self, _: usize, y: &[f64]) -> f64 {
            y[0] * y[0] + y[1] * y[1]
        }

        fn switching_gradient(&self, _: usize, y: &[f64], gradient: &mut [f64]) {
            (gradient[0], gradient[1]) = (2.0 * y[0], 2.0 * y[1]);
        }
    }

    #[test]
    fn sliding_on_a_curved_surface_is_filippovs_convex_combination() {
        // r grows like e^t from ½ to 1 at ln 2; there α = ¼ and the angle turns at ¾·1 + ¼·5 = 2.
        let (outcome, seen) = run(Circle, &[0.5, 0.0], 3.0);
        let enters = 2.0_f64.ln();
        assert_events(&seen, &[(enters, EventKind::SlideEnter, 0, Side::Above)]);
        let angle = enters + 2.0 * (3.0 - enters);
        let distance = (outcome.y[0] - angle.cos()).hypot(outcome.y[1] - angle.sin());
        assert!(distance < 1e-9, "{distance:e}");
    }

    #[test]
    fn positions_and_attraction_are_those_of_the_two_sides() {
        let mut field = FilippovField::new(Circle);
        let mut mode = field.mode_from_values(&[0.6, 0.8]);
        let contact = Contact { switch: 0, breakpoint: 0 };
        let mut dy = [0.0; 2];
        field.eval(&[0.6, 0.8], &mode, &mut dy).unwrap();
        let free = field.attraction(contact).0;
        mode.hold(contact);
        field.eval(&[0.6, 0.8], &mode, &mut dy).unwrap();
        // Rates of z = r² are 2 below and −6 above.
        assert!((free - 8.0).abs() < 1e-13 && (field.attraction(contact).0 - 8.0).abs() < 1e-13);
        assert!((field.positions().next().unwrap() - 0.25).abs() < 1e-14);
        assert!((dy[0] * 0.6 + dy[1] * 0.8).abs() < 1e-14, "{dy:?}");
    }
}
