//! Coefficients as algebra, and the stepper on fields with known solutions.

use super::*;
use crate::ode::WrmsNorm;
use crate::ode::mode::Mode;
use crate::ode::testing::{Smooth, Valley, fitted_slope, stuart_landau, stuart_landau_solution};
use scheme::Finish;

/// A, b and c of a step, with the stages as they are evaluated.
struct Tableau {
    rows: Vec<Vec<f64>>,
    weights: Vec<f64>,
    nodes: Vec<f64>,
}

impl Tableau {
    fn of(scheme: &Scheme) -> Self {
        let n_last = if scheme.finish.is_some() { 4 } else { 0 };
        let n = scheme.stages.len() + n_last;
        let mut states = vec![vec![0.0; n]];
        for (j, stage) in scheme.stages.iter().enumerate() {
            let before = if j == 0 { vec![0.0; n] } else { states[j - 1].clone() };
            let mut state: Vec<f64> =
                states[j].iter().zip(&before).map(|(l, b)| stage.last * l + stage.before * b).collect();
            state[j] += stage.slope;
            state[0] += stage.first_slope;
            states.push(state);
        }
        let mut weights = states.pop().expect("an end");
        if let Some(Finish { rows, weights: last, .. }) = &scheme.finish {
            let from = weights.clone();
            let base = n - n_last;
            states.push(from.clone());
            for row in rows {
                let mut state = from.clone();
                row.iter().enumerate().for_each(|(j, a)| state[base + j] += a);
                states.push(state);
            }
            last.iter().enumerate().for_each(|(j, b)| weights[base + j] += b);
        }
        let nodes = states.iter().map(|row| row.iter().sum()).collect();
        Self { rows: states, weights, nodes }
    }

    fn apply(&self, v: &[f64]) -> Vec<f64> {
        self.rows.iter().map(|row| dot(row, v)).collect()
    }

    /// Left sides minus right sides of the conditions up to order 4, with the order of each.
    fn defects(&self) -> Vec<(u32, f64)> {
        let c = &self.nodes;
        let power = |k: i32| c.iter().map(|c| c.powi(k)).collect::<Vec<_>>();
        let ac = self.apply(c);
        let c_ac: Vec<f64> = c.iter().zip(&ac).map(|(c, a)| c * a).collect();
        [
            (1, power(0), 1.0),
            (2, power(1), 0.5),
            (3, power(2), 1.0 / 3.0),
            (3, ac.clone(), 1.0 / 6.0),
            (4, power(3), 0.25),
            (4, c_ac, 0.125),
            (4, self.apply(&power(2)), 1.0 / 12.0),
            (4, self.apply(&ac), 1.0 / 24.0),
        ]
        .map(|(order, phi, value)| (order, dot(&self.weights, &phi) - value))
        .to_vec()
    }
}

/// Stability polynomial at z.
fn amplification(scheme: &Scheme, z: f64) -> f64 {
    let (mut before, mut last) = (0.0, 1.0);
    for stage in &scheme.stages {
        let next = stage.first + (stage.last + stage.slope * z) * last + stage.before * before + stage.first_slope * z;
        (before, last) = (last, next);
    }
    let Some(finish) = &scheme.finish else { return last };
    let mut slopes = vec![z * last];
    for row in &finish.rows {
        slopes.push(z * (last + dot(row, &slopes)));
    }
    last + dot(&finish.weights, &slopes)
}

#[test]
fn coefficients_meet_the_conditions_of_their_order() {
    let cases = [(Family::Rkc2, 2, [2, 3, 5, 20, 100, 250]), (Family::Rock4, 4, [5, 6, 9, 20, 52, 100])];
    for (family, order, counts) in cases {
        for n_stages in counts {
            let scheme = family.scheme(n_stages);
            let tableau = Tableau::of(&scheme);
            assert_eq!(tableau.nodes.len(), n_stages);
            for (of, defect) in tableau.defects() {
                // Sums of as many terms, of both signs, none larger than about one.
                let room = 4.0 * (n_stages * n_stages) as f64 * f64::EPSILON;
                assert!(
                    of > order || defect.abs() < room,
                    "{}, {n_stages} stages, order {of}: {defect:e}",
                    family.name()
                );
            }
        }
    }
}

#[test]
fn the_estimate_of_rock4_sees_nothing_up_to_order_three() {
    for n_stages in [5, 6, 9, 20, 52, 100] {
        let scheme = Family::Rock4.scheme(n_stages);
        let finish = scheme.finish.as_ref().expect("ROCK4 has last stages");
        let (tableau, length) = (Tableau::of(&scheme), finish.weights.iter().sum::<f64>());
        // Nodes and Ac of the last stages and of the end, from where the recurrence ended.
        let from = tableau.nodes[n_stages - 4];
        let mut nodes: Vec<f64> = tableau.nodes[n_stages - 4..].iter().map(|c| c - from).collect();
        let mut ac = vec![0.0];
        ac.extend(finish.rows.iter().map(|row| dot(row, &nodes[..row.len()])));
        ac.push(dot(&finish.weights, &nodes));
        nodes.push(length);
        let squares: Vec<f64> = nodes.iter().map(|c| c * c).collect();
        let size: f64 = finish.error.iter().map(|e| e.abs()).sum();
        for phi in [vec![1.0; 5], nodes, squares, ac] {
            let sum = dot(&finish.error, &phi);
            assert!(sum.abs() < 100.0 * f64::EPSILON * size, "{n_stages} stages: {sum:e} of {size:e}");
        }
        let cubes: f64 = finish.error.iter().zip(&tableau.nodes[n_stages - 4..]).map(|(e, c)| e * c.powi(3)).sum();
        assert!(cubes.abs() > 1e-6 * size, "{n_stages} stages: the estimate is blind");
    }
}

#[test]
fn stability_polynomials_stay_within_their_damping_on_the_whole_interval() {
    let cases = [(Family::Rkc2, 0.96, vec![2, 3, 5, 20, 100, 250]), (Family::Rock4, 0.37, (5..=100).collect())];
    for (family, damping, counts) in cases {
        for n_stages in counts {
            let scheme = family.scheme(n_stages);
            let length = family.interval(n_stages);
            let n_points = 40 * n_stages;
            for k in 0..=n_points {
                // Dense at both ends, as the oscillations are.
                let z = -length
                    * (0.5 * std::f64::consts::PI * f64::from(k as u32) / f64::from(n_points as u32)).sin().powi(2);
                let r = amplification(&scheme, z);
                // Before the oscillations begin the polynomial follows the exponential.
                let bound = if z > -3.0 { (0.3 * z).exp() } else { damping };
                // Rounding in the recurrence, brought back by the last stages of ROCK4.
                let rounding = match family {
                    Family::Rkc2 => 1e-10,
                    Family::Rock4 => 0.2 * f64::EPSILON * length.powi(4),
                };
                assert!(r.abs() <= bound.max(damping) + rounding, "{}, {n_stages} stages: R({z}) = {r}", family.name());
            }
        }
    }
}

fn stepper(family: Family, dim: usize, rtol: f64) -> Chebyshev {
    match family {
        Family::Rkc2 => Chebyshev::rkc2(dim, rtol),
        Family::Rock4 => Chebyshev::rock4(dim, rtol),
    }
}

fn tell<F: PiecewiseField>(stepper: &mut Chebyshev, decay: f64) {
    let outlook = Outlook {
        t: 0.0,
        h_tolerance: 1.0,
        h_crossing: f64::INFINITY,
        decay: Some(decay),
        last_attempt: 0.0,
        last_error: 1.0,
        was_cut: false,
        n_evaluations: 0,
    };
    Stepper::<F>::choose(stepper, &outlook);
}

/// End and evaluations of a run with steps of equal length.
fn run<F: PiecewiseField>(
    stepper: &mut Chebyshev,
    field: &mut F,
    start: &[f64],
    (span, n_steps, decay): (f64, u32, f64),
) -> (Vec<f64>, u64) {
    let mode = Mode::default();
    let h = span / f64::from(n_steps);
    let (mut y, mut dy) = (start.to_vec(), vec![0.0; start.len()]);
    field.eval(&y, &mode, &mut dy).expect("finite");
    for i in 0..n_steps {
        tell::<F>(stepper, decay);
        let start = Start { t: f64::from(i) * h, y: &y, dy: &dy, mode: &mode };
        stepper.attempt(field, start, h).expect("finite");
        (y, dy) = (Stepper::<F>::end(stepper).to_vec(), Stepper::<F>::end_field(stepper).to_vec());
    }
    (y, Stepper::<F>::work(stepper).evaluations)
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn measured_orders_do_not_depend_on_the_number_of_stages() {
    for (family, fewest, most) in [(Family::Rkc2, 80, 800), (Family::Rock4, 20, 160)] {
        for n_stages in [family.fewest_stages(), 7, 12] {
            let counts = std::iter::successors(Some(fewest), |n| Some(n * 5 / 4 + 1)).take_while(|n| *n <= most);
            let points: Vec<(f64, f64)> = counts
                .map(|n| {
                    let h = 2.0 / f64::from(n);
                    // A rate that asks for just so many stages.
                    let decay = 0.999 * STABILITY_SHARE * family.interval(n_stages) / h;
                    let mut stepper = stepper(family, 2, 1e-8);
                    let (y, evaluations) =
                        run(&mut stepper, &mut stuart_landau(), &stuart_landau_solution(0.0), (2.0, n, decay));
                    assert_eq!(evaluations, u64::from(n) * n_stages as u64);
                    (h, distance(&y, &stuart_landau_solution(2.0)))
                })
                .collect();
            let gain = fitted_slope(&points) - f64::from(Stepper::<Smooth>::order(&stepper(family, 2, 1e-8)));
            assert!(gain.abs() < 0.3, "{}, {n_stages} stages: order off by {gain:.2} over {points:?}", family.name());
        }
    }
}

#[test]
fn estimates_and_dense_output_shrink_with_their_exponents() {
    // The interpolant is a cubic: h⁴, whatever the method, once its own ends are more exact than that.
    for (family, largest, dense) in [(Family::Rkc2, 0.05, 3.0), (Family::Rock4, 0.2, 4.0)] {
        let (mut field, mode) = (stuart_landau(), Mode::default());
        let y = stuart_landau_solution(0.3);
        let mut dy = vec![0.0; 2];
        field.eval(&y, &mode, &mut dy).expect("finite");
        let start = Start { t: 0.3, y: &y, dy: &dy, mode: &mode };
        let mut stepper = stepper(family, 2, 1e-8);
        let norm = WrmsNorm { rtol: 0.0, atol: 1.0 };
        let (mut estimates, mut errors, mut energies) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..10 {
            let h = largest * 0.85_f64.powi(i);
            stepper.attempt(&mut field, start, h).expect("finite");
            estimates.push((h, Stepper::<Smooth>::error(&stepper, &norm.with(&[]), start)));
            let mut out = vec![0.0; 2];
            let mut at = |x: f64| {
                stepper.interpolate(start, x, &mut out);
                out.clone()
            };
            assert_eq!(at(0.0), y);
            assert_eq!(at(1.0), Stepper::<Smooth>::end(&stepper));
            let worst = (1..20)
                .map(|k| distance(&at(f64::from(k) / 20.0), &stuart_landau_solution(0.3 + f64::from(k) / 20.0 * h)));
            errors.push((h, worst.fold(0.0, f64::max)));
            // ∫‖ẏ‖² by Simpson's rule on the exact solution, at half the step.
            let exact = |t: f64| {
                let mut dy = vec![0.0; 2];
                stuart_landau().eval(&stuart_landau_solution(t), &mode, &mut dy).expect("finite");
                dot(&dy, &dy)
            };
            let panel = h / 2.0 / 64.0;
            let simpson: f64 = (0..64)
                .map(|k| 0.3 + panel * f64::from(k))
                .map(|t| panel / 6.0 * (exact(t) + 4.0 * exact(t + 0.5 * panel) + exact(t + panel)))
                .sum();
            energies.push((h, (stepper.dissipation(start, 0.5).expect("its own quadrature") - simpson).abs()));
        }
        let exponent = f64::from(Stepper::<Smooth>::error_exponent(&stepper));
        let slopes = [&estimates, &errors, &energies].map(|points| fitted_slope(points));
        // At the middle of a step the leading error of the energy may cancel.
        for (slope, promised, most) in [(slopes[0], exponent, 0.5), (slopes[1], dense, 1.0), (slopes[2], dense, 4.0)] {
            assert!(slope > promised - 0.3 && slope < promised + most, "{}: {slopes:?}", family.name());
        }
    }
}

#[test]
fn a_stiff_valley_costs_the_root_of_its_stiffness() {
    let decays = [0.3, 1.0, 30.0, 1e3, 1e4];
    for (family, nonlinear, n_steps, room) in
        [(Family::Rkc2, false, 50, 1e-3), (Family::Rock4, false, 50, 2e-5), (Family::Rkc2, true, 400, 1e-3)]
    {
        let mut field = Valley::new(&decays, nonlinear);
        let (start, span) = (field.solution(0.2), 2.0);
        let mut stepper = stepper(family, start.len(), 1e-4);
        let rate = if nonlinear { 1.1e4 } else { 1e4 };
        let (y, evaluations) = run(&mut stepper, &mut field, &start, (span, n_steps, rate));
        let error = distance(&y, &field.solution(0.2 + span));
        assert!(error < room, "{}: error {error:e}", family.name());
        // An explicit pair of order 5 needs six for every 3/λ.
        let explicit = 6.0 * span * 1e4 / 3.0;
        assert!(3 * evaluations < explicit as u64, "{}: {evaluations}, {explicit} without", family.name());
    }
}

#[test]
fn rejections_raise_the_rate_that_is_provided_for_and_steps_lower_it_again() {
    let mut stepper = Chebyshev::rkc2(2, 1e-6);
    tell::<Smooth>(&mut stepper, 100.0);
    let before = stepper.n_stages(1.0);
    for _ in 0..20 {
        assert!(!Stepper::<Smooth>::retries(&mut stepper, 1.0, 2.0));
    }
    let after = stepper.n_stages(1.0);
    let grown = Family::Rkc2.interval(after) / Family::Rkc2.interval(before);
    assert!(grown > 3.0 && grown < 5.0, "{before} to {after} stages");
    (0..100).for_each(|_| tell::<Smooth>(&mut stepper, 100.0));
    assert_eq!(stepper.n_stages(1.0), before);
}

#[test]
fn what_is_not_finite_is_refused() {
    for family in [Family::Rkc2, Family::Rock4] {
        let mut field = Valley::new(&[1.0, 2.0], false);
        let y = field.start();
        let mode = Mode::default();
        let mut dy = vec![0.0; y.len()];
        field.eval(&y, &mode, &mut dy).expect("finite");
        field.poison = |_| true;
        let start = Start { t: 0.0, y: &y, dy: &dy, mode: &mode };
        let mut stepper = stepper(family, y.len(), 1e-6);
        let refused = stepper.attempt(&mut field, start, 0.1).expect_err("the field is NaN");
        assert!(refused.to_string().contains(family.name()), "{refused}");
    }
}

#[test]
fn tolerances_limit_the_number_of_stages() {
    assert_eq!(rkc2::most_stages(1e-4), 250);
    assert_eq!(rkc2::most_stages(1e-12), 21);
    assert_eq!([1e-4, 1e-6, 1e-8, 1e-12].map(rock4::most_stages), [52, 29, 16, 6]);
}
