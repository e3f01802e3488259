//! One battery for all steppers, explicit and diffsol's alike, on gradient flows with known solutions: each claim is checked
//! through the [`Stepper`] seam by a small loop that accepts, rejects and cuts steps like the real one.

use super::*;
use crate::ode::controller::StepController;
use crate::ode::esdirk::Esdirk;
use crate::ode::explicit_rk::ExplicitRk as OwnRk;
use crate::ode::mode::Mode;
use crate::ode::tableau::{BOGACKI_SHAMPINE_32, DOP853, DORMAND_PRINCE_54};
use crate::ode::testing::{Valley, fitted_slope};

type BoxedStepper = Box<dyn Stepper<Valley>>;

fn explicit_steppers(field: &mut Valley, norm: WrmsNorm) -> Vec<BoxedStepper> {
    let own = [&BOGACKI_SHAMPINE_32, &TSIT5, &DORMAND_PRINCE_54, &DOP853]
        .map(|tableau| Box::new(OwnRk::new(tableau, field.dim())));
    let mut all: Vec<BoxedStepper> = own.into_iter().map(|stepper| stepper as BoxedStepper).collect();
    all.push(diffsol_stepper(DiffsolMethod::Tsit45, field, norm));
    all
}

fn implicit_steppers(field: &mut Valley, norm: WrmsNorm) -> Vec<BoxedStepper> {
    let own: BoxedStepper = Box::new(Esdirk::new(field, norm).expect("the valley has a linearisation"));
    vec![
        diffsol_stepper(DiffsolMethod::Esdirk34, field, norm),
        diffsol_stepper(DiffsolMethod::TrBdf2, field, norm),
        own,
    ]
}

fn diffsol_stepper(method: DiffsolMethod, field: &mut Valley, norm: WrmsNorm) -> BoxedStepper {
    Box::new(DiffsolStepper::new(method, field, norm).expect("the valley has a linearisation"))
}

fn all_steppers(field: &mut Valley, norm: WrmsNorm) -> Vec<BoxedStepper> {
    let mut all = explicit_steppers(field, norm);
    all.extend(implicit_steppers(field, norm));
    all
}

fn tolerance(tol: f64) -> WrmsNorm {
    WrmsNorm { rtol: tol, atol: tol }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Every so many steps the loop goes on from the middle of the step instead of its end, as after an event.
#[derive(Clone, Copy)]
struct Cuts(Option<usize>);

struct Run {
    y: Vec<f64>,
    n_steps: usize,
    n_rejected: usize,
    /// Largest error of the dense output inside the accepted steps.
    dense_error: f64,
}

fn run(stepper: &mut dyn Stepper<Valley>, field: &mut Valley, norm: WrmsNorm, t_end: f64, cuts: Cuts) -> Run {
    let mode = Mode::default();
    let (mut t, mut y) = (0.0, field.start());
    let mut dy = vec![0.0; y.len()];
    let mut middle = vec![0.0; y.len()];
    field.eval(&y, &mode, &mut dy).expect("finite");
    let mut controller = StepController::new(1e-5, stepper.error_exponent());
    let mut run = Run { y: Vec::new(), n_steps: 0, n_rejected: 0, dense_error: 0.0 };
    while t < t_end * (1.0 - 1e-14) {
        assert!(run.n_steps + run.n_rejected < 1_000_000, "{} does not arrive", stepper.name());
        let start = Start { t, y: &y, dy: &dy, mode: &mode };
        let h = controller.h().min(t_end - t);
        let taken = match stepper.attempt(field, start, h) {
            Ok(taken) if stepper.error(&norm.with(&[]), start) <= 1.0 => taken,
            refused => {
                let error = refused.map_or(f64::INFINITY, |_| stepper.error(&norm.with(&[]), start));
                controller.reject(h, error);
                stepper.reset();
                run.n_rejected += 1;
                continue;
            }
        };
        assert!(taken > 0.0 && taken <= h, "{} took {taken} of {h}", stepper.name());
        assert_eq!(field.last, stepper.end(), "{}: the last evaluation is not at the end", stepper.name());
        controller.accept(h, stepper.error(&norm.with(&[]), start), stepper.error_exponent());
        run.n_steps += 1;
        stepper.prepare_dense(field, start).expect("finite");
        for x in [0.2, 0.5, 0.7] {
            stepper.interpolate(start, x, &mut middle);
            run.dense_error = run.dense_error.max(distance(&middle, &field.solution(t + x * taken)));
        }
        if cuts.0.is_some_and(|every| run.n_steps.is_multiple_of(every)) {
            t += 0.7 * taken;
            y.copy_from_slice(&middle);
            field.eval(&y, &mode, &mut dy).expect("finite");
            stepper.reset();
        } else {
            t += taken;
            y.copy_from_slice(stepper.end());
            dy.copy_from_slice(stepper.end_field());
        }
    }
    run.y = y;
    run
}

/// Decays of a non-stiff problem, and of one with λ_max T = 1e4 for T = 1.
const MILD: [f64; 6] = [0.3, 0.7, 1.0, 2.0, 3.0, 5.0];
const STIFF: [f64; 6] = [1.0, 3.0, 10.0, 100.0, 1e3, 1e4];

#[test]
fn errors_follow_the_tolerance() {
    let names: Vec<_> =
        all_steppers(&mut Valley::new(&MILD, true), tolerance(1e-4)).iter().map(|stepper| stepper.name()).collect();
    for (i, name) in names.iter().enumerate() {
        for cuts in [Cuts(None), Cuts(Some(3))] {
            let mut points = Vec::new();
            for tol in [1e-4, 1e-5, 1e-6, 1e-7] {
                let mut field = Valley::new(&MILD, true);
                let mut stepper = all_steppers(&mut field, tolerance(tol)).swap_remove(i);
                let run = run(stepper.as_mut(), &mut field, tolerance(tol), 2.0, cuts);
                let error = distance(&run.y, &field.solution(2.0));
                assert!(error < 30.0 * tol, "{name}: error {error:e} at tolerance {tol:e}");
                assert!(run.dense_error < 100.0 * tol, "{name}: dense error {:e} at {tol:e}", run.dense_error);
                points.push((tol, error));
            }
            // Cuts make the errors of the few long steps of a high order a matter of chance.
            let slope = fitted_slope(&points);
            let least = if cuts.0.is_some() { 0.4 } else { 0.6 };
            assert!(slope > least && slope < 1.4, "{name}: errors grow like tol^{slope:.2}: {points:?}");
        }
    }
}

#[test]
fn implicit_methods_take_few_steps_on_a_stiff_flow() {
    for nonlinear in [false, true] {
        let norm = tolerance(1e-5);
        for i in 0..3 {
            let mut field = Valley::new(&STIFF, nonlinear);
            let mut stepper = implicit_steppers(&mut field, norm).swap_remove(i);
            let run = run(stepper.as_mut(), &mut field, norm, 1.0, Cuts(None));
            let error = distance(&run.y, &field.solution(1.0));
            let name = stepper.name();
            assert!(run.n_steps < 300, "{name}: {} steps", run.n_steps);
            assert!(error < 100.0 * norm.rtol, "{name}: error {error:e}");
        }
        let mut field = Valley::new(&STIFF, nonlinear);
        for stepper in &mut explicit_steppers(&mut field, norm) {
            let run = run(stepper.as_mut(), &mut field, norm, 1.0, Cuts(None));
            assert!(run.n_steps > 1000, "{} is not limited by stability: {} steps", stepper.name(), run.n_steps);
        }
    }
}

#[test]
fn linearisations_are_kept_while_they_serve() {
    let norm = tolerance(1e-6);
    for method in [DiffsolMethod::Esdirk34, DiffsolMethod::TrBdf2] {
        let mut field = Valley::new(&STIFF, true);
        let mut stepper = DiffsolStepper::new(method, &mut field, norm).expect("the valley has a linearisation");
        let run = run(&mut stepper, &mut field, norm, 1.0, Cuts(None));
        let LinearCounters { linearisations, factorisations, solves } = stepper.counters();
        assert!(
            linearisations < run.n_steps as u64,
            "{method:?}: {linearisations} linearisations in {} steps",
            run.n_steps
        );
        assert!(factorisations >= linearisations && solves > factorisations);
    }
}

#[test]
fn a_field_that_turns_nan_is_refused_and_recovers() {
    let norm = tolerance(1e-6);
    let mode = Mode::default();
    for i in 0..6 {
        let mut field = Valley::new(&MILD, true);
        let y = field.start();
        let mut dy = vec![0.0; y.len()];
        field.eval(&y, &mode, &mut dy).expect("finite");
        let start = Start { t: 0.0, y: &y, dy: &dy, mode: &mode };
        let mut stepper = all_steppers(&mut field, norm).swap_remove(i);
        field.poison = |_| true;
        // More failures than diffsol forgives a solver in its lifetime.
        for _ in 0..100 {
            let refused = stepper.attempt(&mut field, start, 0.1).expect_err("NaN");
            assert!(refused.what.contains(stepper.name()), "{refused}");
            stepper.reset();
        }
        field.poison = |_| false;
        let run = run(stepper.as_mut(), &mut field, norm, 2.0, Cuts(None));
        let error = distance(&run.y, &field.solution(2.0));
        assert!(error < 100.0 * norm.rtol, "{}: error {error:e} after the recovery", stepper.name());
    }
}

#[test]
fn an_overflowing_step_is_refused_and_a_shorter_one_works() {
    let norm = tolerance(1e-6);
    let mode = Mode::default();
    for i in 0..6 {
        let mut field = Valley::new(&MILD, true);
        // NaN wherever some component is larger than it ever is on the way.
        field.poison = |y| y.iter().any(|y| y.abs() > 1.7);
        let y = field.start();
        let mut dy = vec![0.0; y.len()];
        field.eval(&y, &mode, &mut dy).expect("finite");
        let start = Start { t: 0.0, y: &y, dy: &dy, mode: &mode };
        let mut stepper = all_steppers(&mut field, norm).swap_remove(i);
        if stepper.stability_interval().is_some() {
            stepper.attempt(&mut field, start, 50.0).expect_err("a step far too long leaves the region");
        }
        let run = run(stepper.as_mut(), &mut field, norm, 2.0, Cuts(Some(5)));
        let error = distance(&run.y, &field.solution(2.0));
        assert!(error < 100.0 * norm.rtol, "{}: error {error:e}", stepper.name());
    }
}

#[test]
fn implicit_methods_ask_for_a_linearisation_at_once() {
    let mut field = Valley::new(&MILD, true);
    field.linearised = false;
    for method in DiffsolMethod::ALL {
        let made = DiffsolStepper::new(method, &mut field, tolerance(1e-6)).map(|_| ());
        assert_eq!(made.is_err(), method.is_implicit(), "{method:?}");
        if let Err(missing) = made {
            assert!(missing.to_string().contains(method.name()), "{missing}");
        }
    }
}

#[test]
fn implicit_orders_are_those_promised() {
    // Linear, so that Newton's iteration is exact at any tolerance, and a tolerance that never shortens a step.
    let mode = Mode::default();
    for (method, counts) in
        [(DiffsolMethod::Esdirk34, [10, 14, 20, 28, 40]), (DiffsolMethod::TrBdf2, [20, 28, 40, 56, 80])]
    {
        let points = counts.map(|n: u32| {
            let mut field = Valley::new(&MILD, false);
            let h = 1.0 / f64::from(n);
            let mut stepper = DiffsolStepper::new(method, &mut field, tolerance(0.1)).expect("linearised");
            let (mut y, mut dy) = (field.start(), vec![0.0; field.dim()]);
            field.eval(&y, &mode, &mut dy).expect("finite");
            for i in 0..n {
                let start = Start { t: f64::from(i) * h, y: &y, dy: &dy, mode: &mode };
                stepper.proposed = h;
                let taken = stepper.attempt(&mut field, start, h).expect("finite");
                assert_eq!(taken, h, "{method:?} judged a step that should be fixed");
                y.copy_from_slice(&stepper.step.end);
                dy.copy_from_slice(&stepper.step.end_field);
            }
            (h, distance(&y, &field.solution(1.0)))
        });
        let order = fitted_slope(&points);
        assert!((order - f64::from(method.order())).abs() < 0.2, "{method:?}: order {order:.2} over {points:?}");
    }
}

#[test]
fn the_explicit_pair_is_tsit5() {
    let mode = Mode::default();
    let mut field = Valley::new(&MILD, true);
    let (y, mut dy) = (field.start(), vec![0.0; field.dim()]);
    field.eval(&y, &mode, &mut dy).expect("finite");
    let start = Start { t: 0.0, y: &y, dy: &dy, mode: &mode };
    let [mut a, mut b] = [vec![0.0; y.len()], vec![0.0; y.len()]];
    for h in [1e-12, 1e-3, 0.02] {
        let mut theirs = diffsol_stepper(DiffsolMethod::Tsit45, &mut field, tolerance(1e-3));
        let mut ours: BoxedStepper = Box::new(OwnRk::new(&TSIT5, field.dim()));
        for stepper in [&mut theirs, &mut ours] {
            assert_eq!(stepper.attempt(&mut field, start, h).expect("finite"), h);
        }
        // |y| ≤ 2; the interpolant sums seven stages with weights below 100, and diffsol's are rounded to 14 digits.
        let rounding = 2.0 * (64.0 * f64::EPSILON + 7.0 * 100.0 * 1e-14 * h);
        assert!(distance(theirs.end(), ours.end()) <= rounding);
        assert!(distance(theirs.end_field(), ours.end_field()) <= 100.0 * rounding, "the field has slope below 100");
        for x in [0.0, 0.1, 0.4, 0.77, 1.0] {
            theirs.interpolate(start, x, &mut a);
            ours.interpolate(start, x, &mut b);
            assert!(distance(&a, &b) <= rounding, "x = {x}, h = {h}: {:e}", distance(&a, &b));
        }
    }
}
