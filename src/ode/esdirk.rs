//! A singly diagonally implicit Runge–Kutta pair of orders 5(4) with an explicit first stage, for stiff stretches.
//!
//! ESDIRK5(4)7L\[2\]SA2 of Kennedy and Carpenter: L-stable, stiffly accurate, stage order 2. Stage equations
//! Y = base + hγ f(Y) are solved by simplified Newton iterations whose matrix I − hγA comes from the field's
//! [`Linearisation`](super::field::Linearisation), fixed at the start of each step: no P × P matrix anywhere. Slopes of the
//! stages are taken from the stage equations, (Y − base)/(hγ), which damps what is stiff; the field at the end is evaluated, for the next
//! step and for whoever reads the field.
//!
//! The dense output is of order 4 and continuously differentiable: among the polynomials b_i(x) of degree 4 that meet the order
//! conditions identically in x and fit values and slopes at both ends, the one with the smallest coefficients. With stage order 2
//! the conditions reduce to five: Σb = x, Σbc = x²/2, Σbc² = x³/3, Σbc³ = x⁴/4 and Σbᵀ A c² = x⁴/12.

use super::combine::{Terms, combine, stage_weights};
use super::diffsol::MissingLinearisation;
use super::field::{NonFinite, PiecewiseField};
use super::norm::{Weights, WrmsNorm};
use super::stepper::{Interpolant, Start, Stepper, Work};
use crate::vector::{all_finite, dot, norm as length};
use nalgebra::{DMatrix, DVector};

const NAME: &str = "Esdirk54";
const N_STAGES: usize = 7;
const GAMMA: f64 = 23.0 / 125.0;

/// c_1 … c_7 (C. A. Kennedy, M. H. Carpenter, Diagonally implicit Runge–Kutta methods for stiff ODEs, Appl. Numer. Math. 146 (2019)
/// 221-244, ESDIRK5(4)7L\[2\]SA2).
const NODES: [f64; N_STAGES] = [
    0.0,
    46.0 / 125.0,
    7121331996143.0 / 11335814405378.0,
    49.0 / 353.0,
    3706679970760.0 / 5295570149437.0,
    347.0 / 382.0,
    1.0,
];

/// Entries of rows 3 … 6 left of the diagonal, without the first column, which follows from the row sums.
const INNER: [&[f64]; 4] = [
    &[791020047304.0 / 3561426431547.0],
    &[-158159076358.0 / 11257294102345.0, -85517644447.0 / 5003708988389.0],
    &[-1653327111580.0 / 4048416487981.0, 1514767744496.0 / 9099671765375.0, 14283835447591.0 / 12247432691556.0],
    &[
        -4540011970825.0 / 8418487046959.0,
        -1790937573418.0 / 7393406387169.0,
        10819093665085.0 / 7266595846747.0,
        4109463131231.0 / 7386972500302.0,
    ],
];

/// b_2 … b_7; the last row of A is b.
const WEIGHTS: [f64; N_STAGES - 1] = [
    -188593204321.0 / 4778616380481.0,
    2809310203510.0 / 10304234040467.0,
    1021729336898.0 / 2364210264653.0,
    870612361811.0 / 2470410392208.0,
    -1307970675534.0 / 8059683598661.0,
    GAMMA,
];

/// Weights 2 … 7 of the embedded solution of order 4.
const EMBEDDED: [f64; N_STAGES - 1] = [
    -582099335757.0 / 7214068459310.0,
    615023338567.0 / 3362626566945.0,
    3192122436311.0 / 6174152374399.0,
    6156034052041.0 / 14430468657929.0,
    -1011318518279.0 / 9693750372484.0,
    1914490192573.0 / 13754262428401.0,
];

/// An error e of the solution is an error Ae of the field. Rates and slides are read off the field, and far along a stiff tail it is small
/// itself: h·Ae counts with this share beside e.
const FIELD_SHARE: f64 = 0.01;
/// Nor may Ae be more than this part of the field: along the tail of a tail the tolerance of θ would allow errors beside which the field
/// is nothing, and slides would end and begin by them.
const LARGEST_FIELD_ERROR: f64 = 0.1;
/// An error e below this many units in the last place of θ is rounding, and so is Ae.
const ROUNDING: f64 = 100.0 * f64::EPSILON;

/// Newton's iteration ends when what is left is below this part of the tolerance.
const NEWTON_TOL: f64 = 1e-4;
/// Where rounding of the field keeps it from that (slides that nearly depend on each other), this part will do.
const STALLED: f64 = 1e-2;
/// And is given up after so many iterations, or when it contracts by less than this twice in a row.
const MAX_ITERATIONS: u32 = 12;
const SLOWEST: f64 = 0.9;

/// The coefficients, the small ones made from the tables above.
#[derive(Debug, Clone)]
struct Coefficients {
    /// Rows of A left of the diagonal.
    rows: Vec<Vec<f64>>,
    /// b − embedded b.
    error: Vec<f64>,
    /// b_i(x) = Σ_p dense\[i\]\[p\] x^(p+1).
    dense: Vec<[f64; 4]>,
}

impl Coefficients {
    fn new() -> Self {
        let mut rows: Vec<Vec<f64>> = vec![Vec::new(), Vec::new()];
        rows.extend(INNER.iter().map(|inner| inner.to_vec()));
        rows.push(WEIGHTS[..N_STAGES - 2].to_vec());
        for (i, row) in rows.iter_mut().enumerate().skip(1) {
            let rest: f64 = row.iter().sum();
            row.insert(0, NODES[i] - GAMMA - rest);
        }
        let full = |tail: &[f64]| -> Vec<f64> {
            [1.0 - tail.iter().sum::<f64>()].into_iter().chain(tail.iter().copied()).collect()
        };
        let weights = full(&WEIGHTS);
        let error = weights.iter().zip(full(&EMBEDDED)).map(|(b, d)| b - d).collect();
        let dense = dense_weights(&rows, &weights);
        Self { rows, error, dense }
    }
}

/// See the module: a least-norm solution of the conditions on the coefficients of x², x³ and x⁴; that of x is (1, 0, …, 0), the slope at
/// the start.
fn dense_weights(rows: &[Vec<f64>], weights: &[f64]) -> Vec<[f64; 4]> {
    let n = N_STAGES;
    let entry = |i: usize, j: usize| match i {
        0 => 0.0,
        _ if i == j => GAMMA,
        _ => rows[i].get(j).copied().unwrap_or(0.0),
    };
    let a_c2: Vec<f64> = (0..n).map(|i| (0..n).map(|j| entry(i, j) * NODES[j] * NODES[j]).sum()).collect();
    let conditions: [(Vec<f64>, usize, f64); 5] = [
        (vec![1.0; n], 1, 1.0),
        (NODES.to_vec(), 2, 0.5),
        (NODES.iter().map(|c| c * c).collect(), 3, 1.0 / 3.0),
        (NODES.iter().map(|c| c.powi(3)).collect(), 4, 0.25),
        (a_c2, 4, 1.0 / 12.0),
    ];
    // Unknowns: coefficient of x^p (p = 2, 3, 4) of stage i at (p − 2)·n + i.
    let mut matrix: Vec<Vec<f64>> = Vec::new();
    let mut right = Vec::new();
    for power in 2..=4 {
        for (phi, degree, value) in &conditions {
            let mut row = vec![0.0; 3 * n];
            row[(power - 2) * n..(power - 1) * n].copy_from_slice(phi);
            matrix.push(row);
            right.push(if *degree == power { *value } else { 0.0 });
        }
    }
    for i in 0..n {
        let start = if i == 0 { 1.0 } else { 0.0 };
        let end = if i + 1 == n { 1.0 } else { 0.0 };
        let (mut value, mut slope) = (vec![0.0; 3 * n], vec![0.0; 3 * n]);
        for power in 2..=4 {
            value[(power - 2) * n + i] = 1.0;
            slope[(power - 2) * n + i] = power as f64;
        }
        matrix.extend([value, slope]);
        right.extend([weights[i] - start, end - start]);
    }
    let matrix = DMatrix::from_fn(matrix.len(), 3 * n, |i, j| matrix[i][j]);
    let svd = matrix.svd(true, true);
    // Conditions that follow from others leave singular values at rounding level.
    let solution = svd.solve(&DVector::from_vec(right), 1e-10).expect("both factors were asked for");
    (0..n)
        .map(|i| {
            let first = if i == 0 { 1.0 } else { 0.0 };
            [first, solution[i], solution[n + i], solution[2 * n + i]]
        })
        .collect()
}

/// The stepper; it holds 13 vectors of the length of the state.
#[derive(Debug, Clone)]
pub struct Esdirk {
    coefficients: Coefficients,
    norm: WrmsNorm,
    floors: Vec<f64>,
    /// Slopes of stages 2 … 7.
    slopes: Vec<Vec<f64>>,
    base: Vec<f64>,
    at: Vec<f64>,
    change: Vec<f64>,
    end: Vec<f64>,
    end_field: Vec<f64>,
    error: Vec<f64>,
    /// The error of the field, Ae.
    field_error: Vec<f64>,
    h: f64,
    work: Work,
}

impl Esdirk {
    /// A stepper for `field`; stage equations are solved to a part of the tolerances of `norm`.
    ///
    /// # Errors
    /// When the field has no linearisation.
    pub fn new<F: PiecewiseField>(field: &mut F, norm: WrmsNorm) -> Result<Self, MissingLinearisation> {
        if field.linearisation().is_none() {
            return Err(MissingLinearisation { method: NAME });
        }
        let dim = field.dim();
        Ok(Self {
            coefficients: Coefficients::new(),
            norm,
            floors: Vec::new(),
            slopes: vec![vec![0.0; dim]; N_STAGES - 1],
            base: vec![0.0; dim],
            at: vec![0.0; dim],
            change: vec![0.0; dim],
            end: vec![0.0; dim],
            end_field: vec![0.0; dim],
            error: vec![0.0; dim],
            field_error: vec![0.0; dim],
            h: 0.0,
            work: Work::default(),
        })
    }

    /// The same method applied to the scalar component E with Ė = ‖dy‖².
    fn quadrature(&self, start: Start<'_>, weights: &[f64]) -> f64 {
        let slopes = std::iter::once(start.dy).chain(self.slopes.iter().map(Vec::as_slice));
        self.h * weights.iter().zip(slopes).map(|(w, k)| w * dot(k, k)).sum::<f64>()
    }

    /// Solves the equation of stage `i` (from 0); leaves the state in `at` and the slope in its place.
    fn solve_stage<F: PiecewiseField>(&mut self, field: &mut F, start: Start<'_>, i: usize) -> Result<(), NonFinite> {
        let lost = |what: &str| NonFinite { what: format!("{what} of stage {} of {NAME}", i + 1) };
        let (before, own) = self.slopes.split_at_mut(i - 1);
        let slope = &mut own[0];
        let terms = Terms::new(self.h, &self.coefficients.rows[i], start.dy, before);
        if !combine(&mut self.base, Some(start.y), &terms) {
            return Err(lost("the start"));
        }
        let reach = self.h * GAMMA;
        // The slope at the nearest node so far is the first guess; for linear equations any guess does.
        let nearest = (0..i).min_by(|a, b| {
            let distance = |j: &usize| (NODES[*j] - NODES[i]).abs();
            distance(a).total_cmp(&distance(b))
        });
        let guess = match nearest {
            Some(j) if j > 0 => &before[j - 1][..],
            _ => start.dy,
        };
        for ((at, base), g) in self.at.iter_mut().zip(&self.base).zip(guess) {
            *at = base + reach * g;
        }
        let (mut last, mut was_slow) = (f64::INFINITY, false);
        for iteration in 0..MAX_ITERATIONS {
            self.work.evaluations += 1;
            field.eval(&self.at, start.mode, slope)?;
            for (((c, f), at), base) in self.change.iter_mut().zip(&*slope).zip(&self.at).zip(&self.base) {
                *c = base + reach * f - at;
            }
            self.work.solves += 1;
            let linear = field.linearisation().ok_or_else(|| lost("the linearisation"))?;
            linear.solve(&mut self.change);
            // Against the changed state: a component that leaves zero, as those of a unit that wakes, has no other size.
            self.at.iter_mut().zip(&self.change).for_each(|(at, c)| *at += c);
            let size = self.norm.with(&self.floors).of(&self.change, start.y, &self.at);
            if !size.is_finite() {
                return Err(lost("the iteration"));
            }
            // What is left after a change of this size, if the iteration goes on contracting as it does.
            let contraction = if iteration == 0 { 0.1 } else { size / last };
            let is_slow = contraction >= SLOWEST && size > NEWTON_TOL;
            let is_done = size * (contraction / (1.0 - contraction.min(SLOWEST))) <= NEWTON_TOL;
            // A component that has just left zero counts for more than all before it; the next change tells.
            let has_stalled = is_slow && was_slow;
            if is_done || has_stalled && size <= STALLED {
                for ((s, at), base) in slope.iter_mut().zip(&self.at).zip(&self.base) {
                    *s = (at - base) / reach;
                }
                return Ok(());
            }
            if has_stalled {
                break;
            }
            was_slow = is_slow;
            last = size;
        }
        Err(lost("the solution"))
    }
}

impl<F: PiecewiseField> Stepper<F> for Esdirk {
    fn name(&self) -> &'static str {
        NAME
    }

    fn order(&self) -> u32 {
        5
    }

    fn error_exponent(&self) -> u32 {
        5
    }

    fn stability_interval(&self) -> Option<f64> {
        None
    }

    fn is_for_stiff(&self) -> bool {
        true
    }

    fn takes_differences(&self) -> bool {
        true
    }

    fn attempt(&mut self, field: &mut F, start: Start<'_>, h: f64) -> Result<f64, NonFinite> {
        self.h = h;
        let missing = || NonFinite { what: "a missing linearisation".into() };
        let linear = field.linearisation().ok_or_else(missing)?;
        self.work.linearisations += 1;
        linear.linearise(start.y, start.mode)?;
        linear.factor(h * GAMMA)?;
        for i in 1..N_STAGES {
            self.solve_stage(field, start, i)?;
        }
        std::mem::swap(&mut self.end, &mut self.at);
        self.work.evaluations += 1;
        field.eval(&self.end, start.mode, &mut self.end_field)?;
        if !all_finite(&self.end_field) {
            return Err(NonFinite { what: format!("the field at the end of {NAME}") });
        }
        combine(&mut self.error, None, &Terms::new(h, &self.coefficients.error, start.dy, &self.slopes));
        self.work.solves += 1;
        field.linearisation().ok_or_else(missing)?.apply(&self.error, &mut self.field_error);
        Ok(h)
    }

    fn end(&self) -> &[f64] {
        &self.end
    }

    fn end_field(&self) -> &[f64] {
        &self.end_field
    }

    fn weigh(&mut self, norm: &Weights<'_>) {
        norm.copy_floors(&mut self.floors);
    }

    fn error(&self, norm: &Weights<'_>, start: Start<'_>) -> f64 {
        let of_solution = norm.of(&self.error, start.y, &self.end);
        let of_field = FIELD_SHARE * self.h * norm.of(&self.field_error, start.y, &self.end);
        let is_rounding = length(&self.error) <= ROUNDING * length(&self.end);
        let part = length(&self.field_error) / length(&self.end_field);
        of_solution.max(of_field).max(if is_rounding { 0.0 } else { part / LARGEST_FIELD_ERROR })
    }

    fn dissipation_error(&self, start: Start<'_>) -> Option<f64> {
        Some(self.quadrature(start, &self.coefficients.error).abs())
    }

    fn work(&self) -> Work {
        self.work
    }
}

impl Interpolant for Esdirk {
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]) {
        // The ends are copied, because the sum below only reaches them to rounding and to Newton's tolerance.
        if x == 0.0 {
            return out.copy_from_slice(start.y);
        }
        if x == 1.0 {
            return out.copy_from_slice(&self.end);
        }
        let at_x = stage_weights(&self.coefficients.dense, x);
        combine(out, Some(start.y), &Terms::new(self.h, &at_x, start.dy, &self.slopes));
    }

    fn dissipation(&self, start: Start<'_>, x: f64) -> Option<f64> {
        Some(self.quadrature(start, &stage_weights(&self.coefficients.dense, x)))
    }

    fn detached(&self) -> Box<dyn Interpolant + Send> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ode::mode::Mode;
    use crate::ode::testing::{Valley, fitted_slope};

    /// A in full.
    fn matrix() -> Vec<Vec<f64>> {
        let rows = Coefficients::new().rows;
        let entry = |i: usize, j: usize| match i {
            0 => 0.0,
            _ if i == j => GAMMA,
            _ => rows[i].get(j).copied().unwrap_or(0.0),
        };
        (0..N_STAGES).map(|i| (0..N_STAGES).map(|j| entry(i, j)).collect()).collect()
    }

    fn times(a: &[Vec<f64>], v: &[f64]) -> Vec<f64> {
        a.iter().map(|row| dot(row, v)).collect()
    }

    fn power(k: i32) -> Vec<f64> {
        NODES.iter().map(|c| c.powi(k)).collect()
    }

    /// Order conditions for weights that reach x, up to `order` ≤ 5, given stage order 2: all trees that are not equivalent then.
    fn violations(weights: &[f64], x: f64, order: i32) -> Vec<f64> {
        let a = matrix();
        let (ac2, ac3) = (times(&a, &power(2)), times(&a, &power(3)));
        let cac2: Vec<f64> = NODES.iter().zip(&ac2).map(|(c, v)| c * v).collect();
        let conditions = [
            (power(0), 1, 1.0),
            (power(1), 2, 0.5),
            (power(2), 3, 1.0 / 3.0),
            (power(3), 4, 0.25),
            (ac2.clone(), 4, 1.0 / 12.0),
            (power(4), 5, 0.2),
            (cac2, 5, 1.0 / 15.0),
            (ac3, 5, 1.0 / 20.0),
            (times(&a, &ac2), 5, 1.0 / 60.0),
        ];
        let wanted = conditions.iter().filter(|(_, degree, _)| *degree <= order);
        wanted.map(|(phi, degree, value)| (dot(weights, phi) - value * x.powi(*degree)).abs()).collect()
    }

    fn full(tail: &[f64]) -> Vec<f64> {
        [1.0 - tail.iter().sum::<f64>()].into_iter().chain(tail.iter().copied()).collect()
    }

    #[test]
    fn the_tables_are_a_pair_of_orders_five_and_four_with_stage_order_two() {
        let a = matrix();
        for (i, (sum, stage)) in times(&a, &power(0)).iter().zip(times(&a, &power(1))).enumerate() {
            assert!((sum - NODES[i]).abs() < 1e-15, "row {i}");
            // The published fractions are rounded to about 25 digits of which f64 keeps 16.
            assert!((stage - 0.5 * NODES[i].powi(2)).abs() < 1e-14, "stage order of row {i}: {stage}");
        }
        let (weights, embedded) = (full(&WEIGHTS), full(&EMBEDDED));
        assert!(violations(&weights, 1.0, 5).iter().all(|v| *v < 1e-14), "{:?}", violations(&weights, 1.0, 5));
        assert!(violations(&embedded, 1.0, 4).iter().all(|v| *v < 1e-14), "{:?}", violations(&embedded, 1.0, 4));
        assert!(violations(&embedded, 1.0, 5).iter().any(|v| *v > 1e-5), "it would estimate nothing");
        let last = a[N_STAGES - 1].iter().zip(&weights);
        assert!(last.clone().all(|(a, b)| (a - b).abs() < 1e-15), "stiffly accurate: {last:?}");
    }

    #[test]
    fn the_method_is_stable_on_the_imaginary_axis_and_damps_what_is_stiff() {
        let a = matrix();
        // |R(z)|² for z = u + iv by solving (I − zA) k = 1 in pairs of real numbers, row by row: A is lower triangular.
        let modulus = |u: f64, v: f64| {
            let mut k: Vec<(f64, f64)> = Vec::new();
            for row in &a {
                let sum = row.iter().zip(&k).fold((0.0, 0.0), |(x, y), (a, k)| (x + a * k.0, y + a * k.1));
                let right = (1.0 + u * sum.0 - v * sum.1, u * sum.1 + v * sum.0);
                let diagonal = row[k.len()];
                let (p, q) = (1.0 - u * diagonal, -v * diagonal);
                let size = p * p + q * q;
                k.push(((right.0 * p + right.1 * q) / size, (right.1 * p - right.0 * q) / size));
            }
            // Stiffly accurate: the end is the last stage.
            let (x, y) = k[N_STAGES - 1];
            x.hypot(y)
        };
        for i in 0..4000 {
            let v = 1e-3 * 1.005_f64.powi(i);
            assert!(modulus(0.0, v) <= 1.0 + 1e-12, "|R(i{v})| = {}", modulus(0.0, v));
        }
        assert!(modulus(-1e9, 0.0) < 1e-7 && modulus(0.0, 1e9) < 1e-7);
    }

    #[test]
    fn the_interpolant_is_of_order_four_and_smooth_at_both_ends() {
        let coefficients = Coefficients::new();
        let at = |x: f64| -> Vec<f64> {
            coefficients.dense.iter().map(|row| row.iter().rev().fold(0.0, |sum, w| (sum + w) * x)).collect()
        };
        for x in [0.1, 0.37, 0.5, 0.81, 1.0] {
            assert!(violations(&at(x), x, 4).iter().all(|v| *v < 1e-13), "{x}: {:?}", violations(&at(x), x, 4));
        }
        for (b, end) in at(1.0).iter().zip(full(&WEIGHTS)) {
            assert!((b - end).abs() < 1e-13);
        }
        for (i, row) in coefficients.dense.iter().enumerate() {
            let slope = row.iter().zip(1..).map(|(w, p)| w * f64::from(p)).sum::<f64>();
            let wanted = if i + 1 == N_STAGES { 1.0 } else { 0.0 };
            assert!((slope - wanted).abs() < 1e-12, "slope at the end: {slope} for stage {i}");
        }
        assert!(coefficients.dense.iter().flatten().all(|w| w.abs() < 30.0), "{:?}", coefficients.dense);
    }

    #[test]
    fn fixed_steps_show_the_order_of_the_solution_and_of_the_interpolant() {
        let decays = [0.3, 0.7, 1.0, 2.0, 3.0, 5.0];
        let norm = WrmsNorm { rtol: 1e-10, atol: 1e-10 };
        let mode = Mode::default();
        let (mut ends, mut inside) = (Vec::new(), Vec::new());
        let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        for n in [32, 40, 50, 63, 79, 99, 124] {
            let mut field = Valley::new(&decays, true);
            let mut stepper = Esdirk::new(&mut field, norm).expect("the valley has a linearisation");
            let h = 1.0 / f64::from(n);
            let (mut y, mut dy) = (field.start(), vec![0.0; 12]);
            field.eval(&y, &mode, &mut dy).expect("finite");
            for i in 0..n {
                let start = Start { t: f64::from(i) * h, y: &y, dy: &dy, mode: &mode };
                stepper.attempt(&mut field, start, h).expect("Newton converges");
                let end = (Stepper::<Valley>::end(&stepper).to_vec(), Stepper::<Valley>::end_field(&stepper).to_vec());
                (y, dy) = end;
            }
            ends.push((h, distance(&y, &field.solution(1.0))));
            // The interpolant in one step from the start, where everything changes fastest.
            let (y, h) = (field.start(), 0.2 * h);
            field.eval(&y, &mode, &mut dy).expect("finite");
            let start = Start { t: 0.0, y: &y, dy: &dy, mode: &mode };
            stepper.attempt(&mut field, start, h).expect("Newton converges");
            let mut middle = vec![0.0; y.len()];
            let mut error_at = |x: f64| {
                stepper.interpolate(start, x, &mut middle);
                distance(&middle, &field.solution(x * h))
            };
            inside.push((h, [0.2, 0.4, 0.6, 0.8].into_iter().map(&mut error_at).fold(0.0, f64::max)));
        }
        let (order, dense) = (fitted_slope(&ends), fitted_slope(&inside));
        assert!((order - 5.0).abs() < 0.3, "order {order:.2} over {ends:?}");
        // One step of an interpolant of order 4 errs by h⁵.
        assert!((dense - 5.0).abs() < 0.3, "dense order {dense:.2} over {inside:?}");
    }
}
