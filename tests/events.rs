//! Hand-made flows with closed forms or obvious answers: crossing times, starts on breakpoints, critical points, dying and twin units,
//! duplicates, symmetric grids; and small steps of plain gradient descent agree with the flow up to O(η).

mod common;

use common::naive::descend;
use common::{Case, Watched, narrow_pieces, options, relative_distance, run, run_tracked};
use gradflow::net::{Activation, Network};
use gradflow::observe::EventRow;
use gradflow::ode::{BranchKind, EventKind, Options, Side, StopReason};

const RTOL: f64 = 1e-10;

/// Errors of a run at 1e-10 may be this much larger: a few hundred steps on problems that contract.
const CLOSED_FORM_TOL: f64 = 1e3 * RTOL;

fn case(hidden: &[usize], bias: bool, activation: Activation, x: &[f64], y: &[f64], theta0: &[f64]) -> Case {
    let network = Network::dense(1, hidden, 1, bias, activation).expect("widths");
    let rows = |values: &[f64]| values.iter().map(|&v| vec![v]).collect::<Vec<_>>();
    Case::new(network, &rows(x), &rows(y), theta0.to_vec())
}

fn flow(case: &Case, t_end: f64) -> Watched {
    let run = run_tracked(case, "Tsit5", options(t_end, RTOL), &mut [], &[t_end], false);
    assert_eq!(run.outcome.reason, StopReason::Horizon, "{:?}", run.kept.events);
    run
}

fn summary(events: &[EventRow]) -> Vec<(EventKind, usize, usize, Side)> {
    events.iter().map(|e| (e.kind, e.place.unit, e.place.sample, e.direction)).collect()
}

/// Distance of gradient descent from the flow at `t_end`, for `steps` steps and for twice as many.
fn descent_distances(case: &Case, theta: &[f64], t_end: f64, steps: usize) -> [f64; 2] {
    let (x, y) = case.rows();
    [steps, 2 * steps].map(|steps| {
        let descended = descend(&case.network, &case.theta0, &x, &y, t_end / steps as f64, steps);
        relative_distance(&descended, theta, 1.0)
    })
}

/// The distance is at most `per_step`·η, and falls with η: 0.7 instead of 1/2 leaves room for the second order.
fn assert_descent_agrees(what: &str, case: &Case, run: &Watched, steps: usize, per_step: f64) {
    let t_end = run.outcome.t;
    let [coarse, fine] = descent_distances(case, &run.outcome.y, t_end, steps);
    let step = t_end / steps as f64;
    assert!(coarse <= per_step * step, "{what}: {coarse:e} away with η = {step:e}");
    if run.kept.rows.iter().all(|row| row.sliding == 0) {
        assert!(fine <= 0.7 * coarse, "{what}: {coarse:e} away with η = {step:e}, but {fine:e} with half of it");
    } else {
        // Descent jumps to and fro over a slide, with a phase that has nothing to do with η.
        assert!(fine <= 0.5 * per_step * step, "{what}: {fine:e} away with η = {:e}", 0.5 * step);
    }
}

/// The flow of ½Σ(v s_i w x_i − y_i)² for fixed slopes s_i and v² − w² = k² > 0: w = k sinh u, v = k cosh u and
/// u̇ = B − A (k²/2) sinh 2u with A = Σ(s x)², B = Σ s x y, solved in q = e^{2u} by partial fractions.
struct Chain {
    k: f64,
    /// b = A k²/2, R = √(B² + b²).
    radius: f64,
    roots: [f64; 2],
}

impl Chain {
    fn new(slopes_x: &[f64], y: &[f64], k: f64) -> Self {
        let a: f64 = slopes_x.iter().map(|s| s * s).sum();
        let b: f64 = slopes_x.iter().zip(y).map(|(s, y)| s * y).sum();
        let half = 0.5 * a * k * k;
        let radius = b.hypot(half);
        Self { k, radius, roots: [(b + radius) / half, (b - radius) / half] }
    }

    /// (q − q₊)/(q − q₋), which decays like e^{−2Rt}.
    fn ratio(&self, u: f64) -> f64 {
        let q = (2.0 * u).exp();
        (q - self.roots[0]) / (q - self.roots[1])
    }

    fn time(&self, from: f64, to: f64) -> f64 {
        (self.ratio(from) / self.ratio(to)).ln() / (2.0 * self.radius)
    }

    /// (w, v) after time t from u.
    fn after(&self, from: f64, t: f64) -> [f64; 2] {
        let e = self.ratio(from) * (-2.0 * self.radius * t).exp();
        let u = 0.5 * ((self.roots[0] - self.roots[1] * e) / (1.0 - e)).ln();
        [self.k * u.sinh(), self.k * u.cosh()]
    }
}

#[test]
fn a_leaky_neuron_crosses_at_the_closed_form_time() {
    let (w, v, y, alpha) = (0.6, 1.0, [-0.8], 0.2);
    let case = case(&[1], false, Activation::leaky_relu(alpha), &[1.0], &y, &[w, v]);
    let k = f64::sqrt(v * v - w * w);
    let (before, after) = (Chain::new(&[1.0], &y, k), Chain::new(&[alpha], &y, k));
    let u0 = f64::asinh(w / k);
    let crossing = before.time(u0, 0.0);
    let run = flow(&case, 5.0);
    assert_eq!(summary(&run.kept.events), [(EventKind::Crossing, 0, 0, Side::Below)]);
    let t = run.kept.events[0].t;
    assert!((t - crossing).abs() < CLOSED_FORM_TOL, "crossing at {t}, closed form {crossing}");
    let want = after.after(0.0, 5.0 - crossing);
    let distance = relative_distance(&run.outcome.y, &want, 1.0);
    assert!(distance < CLOSED_FORM_TOL, "{:?} at the end, closed form {want:?}", run.outcome.y);
    // The rates are −μ s x² with μ = −y·k at z = 0.
    let rates = [run.kept.events[0].rate_before, run.kept.events[0].rate_after];
    let distance = relative_distance(&rates, &[y[0] * k, y[0] * k * alpha], 1e-3);
    assert!(distance < CLOSED_FORM_TOL, "rates {rates:?}");
    assert_descent_agrees("leaky neuron", &case, &run, 2000, 1.0);
}

#[test]
fn without_biases_all_samples_on_a_line_cross_at_one_instant() {
    let (w, v, alpha) = (0.5, 0.9, 0.3);
    let (x, y) = ([1.0, 2.0, -1.5, 0.4], [-0.7, -0.4, 0.6, -0.2]);
    let case = case(&[1], false, Activation::leaky_relu(alpha), &x, &y, &[w, v]);
    let k = f64::sqrt(v * v - w * w);
    let slopes = |positive: bool| x.map(|x| if (x > 0.0) == positive { x } else { alpha * x });
    let (before, after) = (Chain::new(&slopes(true), &y, k), Chain::new(&slopes(false), &y, k));
    let crossing = before.time(f64::asinh(w / k), 0.0);
    let run = flow(&case, 3.0);
    let events = &run.kept.events;
    assert_eq!(events.len(), 4, "{events:?}");
    for (j, event) in events.iter().enumerate() {
        let towards = if x[j] > 0.0 { Side::Below } else { Side::Above };
        assert_eq!((event.kind, event.place.sample, event.direction), (EventKind::Crossing, j, towards));
        assert_eq!((event.index, event.t), (0, events[0].t), "all at one instant");
    }
    assert!((events[0].t - crossing).abs() < CLOSED_FORM_TOL, "at {}, closed form {crossing}", events[0].t);
    assert_eq!(run.observed.events.simultaneous, 1);
    let want = after.after(0.0, 3.0 - crossing);
    let distance = relative_distance(&run.outcome.y, &want, 1.0);
    assert!(distance < CLOSED_FORM_TOL, "{:?} at the end, closed form {want:?}", run.outcome.y);
    assert_descent_agrees("samples on a line", &case, &run, 3000, 2.0);
}

#[test]
fn a_dying_relu_stops_on_its_kink() {
    let (w, v, y) = (0.6, 1.0, [-0.8]);
    let case = case(&[1], false, Activation::relu(), &[1.0], &y, &[w, v]);
    let k = f64::sqrt(v * v - w * w);
    let dies = Chain::new(&[1.0], &y, k).time(f64::asinh(w / k), 0.0);
    let run = run(&case, "Tsit5", options(5.0, RTOL), &mut [], &[]);
    let events = &run.kept.events;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!((events[0].t - dies).abs() < CLOSED_FORM_TOL, "at {}, closed form {dies}", events[0].t);
    assert!(events[0].kind != EventKind::SlideExit && events[0].rate_after == 0.0, "{events:?}");
    let distance = relative_distance(&run.outcome.y, &[0.0, k], 1.0);
    assert!(distance < CLOSED_FORM_TOL, "{:?} at the end", run.outcome.y);
    assert!((run.observed.loss_final - 0.32).abs() < CLOSED_FORM_TOL);
    assert_eq!(run.observed.lambda0.expect("tracked").rank, 0, "a dead net has G = 0");
    assert_descent_agrees("dying ReLU", &case, &run, 2000, 2.0);
}

/// One unit with its kink on sample 0 (x = 1) and sample 1 (x = 2) above it, output bias 0: the pushes are μ_A = −y_A on the
/// kink and 3μ_B = 3(½ − y_B) through sample 1, so that ż(s) = −3μ_B − 2sμ_A on sample 0 for the slope s there.
fn start_on_kink(y_on: f64, y_above: f64) -> Case {
    case(&[1], true, Activation::leaky_relu(0.1), &[1.0, 2.0], &[y_on, y_above], &[0.5, -0.5, 1.0, 0.0])
}

#[test]
fn starts_on_a_breakpoint_go_where_the_field_pushes() {
    // ż(s) on either side: (1.5 − 2s·1 …): slides at s = 3/4; up; down.
    for (y_on, y_above, side) in [
        (-1.0, 1.0, None),
        (1.0, 1.0, Some(Side::Above)),
        (-1.0, 0.2, Some(Side::Below)),
        (0.2, 1.0, Some(Side::Above)),
    ] {
        let case = start_on_kink(y_on, y_above);
        let run = flow(&case, 0.05);
        let start = &run.observed.start;
        assert_eq!((start.len(), start[0].place.sample, start[0].side), (1, 0, side), "y = {y_on}, {y_above}");
        assert!(run.observed.branch_points.is_empty(), "{:?}", run.observed.branch_points);
        assert!(run.kept.events.is_empty(), "y = {y_on}, {y_above}: {:?}", run.kept.events);
        let z = run.outcome.y[0] + run.outcome.y[1];
        match side {
            None => assert!(z.abs() < 1e-12, "z = {z:e} in a slide"),
            Some(side) => assert!(side.sign() * z > 1e-3, "z = {z:e} going to {side:?}"),
        }
        assert_descent_agrees(&format!("start on a kink, y = {y_on}, {y_above}"), &case, &run, 4000, 5.0);
    }
}

#[test]
fn a_repelling_start_is_listed_and_follows_one_side() {
    // ż = −3μ_B + 2s with μ_B = ½: −1.3 below, +0.5 above.
    let case = start_on_kink(1.0, 0.0);
    let run = flow(&case, 0.05);
    let kinds: Vec<_> = run.observed.branch_points.iter().map(|b| (b.kind, b.t, b.place.sample, b.margin)).collect();
    assert_eq!(kinds, [(BranchKind::RepellingStart, 0.0, 0, 0.0)]);
    let side = run.observed.start[0].side.expect("a repelling kink cannot be slid on");
    let z = run.outcome.y[0] + run.outcome.y[1];
    assert!(side.sign() * z > 1e-3, "z = {z} after starting to {side:?}");
    assert!(run.kept.events.is_empty());
}

#[test]
fn nothing_happens_at_a_critical_point() {
    // A perfect fit away from kinks, and the origin of a net without any signal, where every unit stands on every kink.
    let perfect = case(&[1], true, Activation::leaky_relu(0.5), &[1.0, 2.0], &[1.0, 1.5], &[0.5, 0.5, 1.0, 0.0]);
    let origin = case(&[2], true, Activation::relu(), &[1.0, -1.0], &[1.0, -1.0], &[0.0; 7]);
    for case in [perfect, origin] {
        let run = run(&case, "Tsit5", options(10.0, RTOL), &mut [], &[]);
        assert_eq!(run.outcome.reason, StopReason::Horizon);
        assert_eq!(run.outcome.y, case.theta0);
        assert!(run.kept.events.is_empty() && run.observed.branch_points.is_empty());
        let mut unlimited = options(f64::INFINITY, RTOL);
        unlimited.max_steps = 1000;
        let run = run_tracked(&case, "Tsit5", unlimited, &mut [], &[], false);
        assert_eq!(run.outcome.reason, StopReason::Stationary);
    }
}

#[test]
fn conflicting_duplicates_move_like_their_mean_and_are_listed_each() {
    let x = [0.5, -1.0, 0.5, 1.0, 0.5];
    let y = [-1.0, 0.5, -0.4, 0.2, -1.6];
    let theta0 = [0.9, -0.7, -0.2, 0.4, 0.8, -0.6, 0.1];
    let case = case(&[2], true, Activation::leaky_relu(0.1), &x, &y, &theta0);
    let run = flow(&case, 2.0);
    assert_descent_agrees("duplicates", &case, &run, 4000, 5.0);
    assert!(!run.kept.events.is_empty());
    let copies: Vec<&EventRow> = run.kept.events.iter().filter(|e| x[e.place.sample] == 0.5).collect();
    assert!(!copies.is_empty() && copies.len().is_multiple_of(3), "{copies:?}");
    for group in copies.chunks(3) {
        let samples: Vec<usize> = group.iter().map(|e| e.place.sample).collect();
        assert_eq!(samples, [0, 2, 4]);
        assert!(group.iter().all(|e| e.t == group[0].t && e.kind == group[0].kind));
    }
    // ½Σ(y − ȳ)² over the copies of 0.5 is a floor of the loss.
    assert!(run.observed.loss_final >= 0.36);
}

#[test]
fn twin_units_cross_at_one_instant_and_stay_twins() {
    // Units 0 and 1 are equal, unit 2 is not.
    let theta0 = [0.8, 0.8, -0.5, -0.1, -0.1, 0.3, 0.7, 0.7, -0.4, 0.05];
    let case = case(&[3], true, Activation::leaky_relu(0.1), &[0.4, -1.0, 1.0], &[-1.0, 0.8, -0.3], &theta0);
    let run = flow(&case, 2.0);
    let y = &run.outcome.y;
    for (a, b) in [(0, 1), (3, 4), (6, 7)] {
        assert!((y[a] - y[b]).abs() < 1e-12, "θ[{a}] = {} and θ[{b}] = {} part", y[a], y[b]);
    }
    let of = |unit: usize| -> Vec<_> {
        run.kept.events.iter().filter(|e| e.place.unit == unit).map(|e| (e.index, e.kind, e.place.sample)).collect()
    };
    assert!(!of(0).is_empty());
    assert_eq!(of(0), of(1), "twins have their events at the same instants");
    assert_descent_agrees("twins", &case, &run, 4000, 5.0);
}

#[test]
fn a_zero_first_layer_starts_on_all_kinks_and_leaves_where_descent_does() {
    // All pushes point up: v > 0 and residuals are negative, kernels x·x′ + 1 positive.
    let theta0 = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6, 1.1, 0.9, 0.0];
    let up = case(&[3], true, Activation::leaky_relu(0.1), &[0.5, -0.5, 0.9], &[1.0, 0.4, 0.7], &theta0);
    let run = flow(&up, 1.5);
    assert_eq!(run.observed.start.len(), 9);
    assert!(run.observed.start.iter().all(|s| s.side == Some(Side::Above)), "{:?}", run.observed.start);
    assert_descent_agrees("zero first layer", &up, &run, 4000, 10.0);
}

#[test]
fn conflicting_pushes_from_a_zero_first_layer_still_give_a_flow() {
    for activation in [Activation::leaky_relu(0.1), Activation::relu(), Activation::abs()] {
        let theta0 = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6, -1.1, 0.9, 0.1];
        let case = case(&[3], true, activation, &[0.5, -0.5, 0.9], &[1.0, -0.4, 0.7], &theta0);
        let run = flow(&case, 2.0);
        assert_eq!(run.observed.start.len(), 9);
        let identities = run.observed.identities;
        assert!(identities.energy_defect < CLOSED_FORM_TOL && identities.displacement_bound_ok, "{identities:?}");
        assert!(run.observed.loss_final < run.observed.loss_initial);
    }
}

#[test]
fn units_with_several_breakpoints_follow_descent() {
    let (mut n_events, mut breakpoints) = (0, [0, 0]);
    for seed in 0..4 {
        let mut case = Case::random(&[2, 5, 1], true, narrow_pieces(), 6, seed);
        case.theta0.iter_mut().for_each(|t| *t *= 1.5);
        let run = flow(&case, 3.0);
        assert_descent_agrees(&format!("seed {seed}"), &case, &run, 3000, 20.0);
        n_events += run.kept.events.len();
        run.kept.events.iter().for_each(|e| breakpoints[usize::from(e.breakpoint)] += 1);
    }
    assert!(n_events > 20 && breakpoints.iter().all(|&n| n >= 3), "{n_events} events, {breakpoints:?}");
}

/// y = |x| − ½ on 21 points with mirrored pairs of units.
fn mirror_grid(activation: Activation) -> Case {
    let x: Vec<f64> = (0..21).map(|k| f64::from(k - 10) / 10.0).collect();
    let y: Vec<f64> = x.iter().map(|x| x.abs() - 0.5).collect();
    let (w, b, v) = ([0.7, -0.4, 1.1], [0.13, -0.27, 0.31], [0.5, -0.6, 0.3]);
    let mut theta0: Vec<f64> = w.iter().flat_map(|w| [*w, -*w]).collect();
    theta0.extend(b.iter().chain(&v).flat_map(|b| [*b, *b]));
    theta0.push(0.05);
    case(&[6], true, activation, &x, &y, &theta0)
}

#[test]
fn a_mirror_symmetric_grid_keeps_its_symmetry() {
    for (name, activation) in
        [("leaky", Activation::leaky_relu(0.1)), ("ReLU", Activation::relu()), ("abs", Activation::abs())]
    {
        let case = mirror_grid(activation);
        let run = flow(&case, 2.0);
        let y = &run.outcome.y;
        for pair in 0..3 {
            let (a, b) = (2 * pair, 2 * pair + 1);
            let parts = [y[a] + y[b], y[6 + a] - y[6 + b], y[12 + a] - y[12 + b]];
            // Rounding grows with the flow's own sensitivity, which is modest over this time.
            assert!(parts.iter().all(|p| p.abs() < 1e-10), "{name}: pair {pair} parts by {parts:?}");
        }
        let events = &run.kept.events;
        assert!(events.len() >= 6, "{name}: {} events", events.len());
        for e in events {
            let mirrored = events.iter().any(|m| {
                (m.place.unit, m.place.sample) == (e.place.unit ^ 1, 20 - e.place.sample)
                    && m.kind == e.kind
                    && (m.t - e.t).abs() < 1e-9
            });
            assert!(mirrored, "{name}: no mirror image of {e:?}");
        }
        assert_descent_agrees(name, &case, &run, 8000, 50.0);
    }
}

/// Unit, sample, side and depth of the closest approach to a kink inside the run: where ±z of a first-layer unit is least, not at an end.
fn closest_approach(case: &Case, thetas: &[(f64, Vec<f64>)]) -> Option<(usize, usize, f64, f64)> {
    let (x, width) = (case.rows().0, case.network.widths()[1]);
    let n_in = case.network.widths()[0];
    let z = |theta: &[f64], u: usize, x: &[f64]| -> f64 {
        theta[n_in * width + u] + (0..n_in).map(|i| theta[u * n_in + i] * x[i]).sum::<f64>()
    };
    let mut best: Option<(usize, usize, f64, f64)> = None;
    for u in 0..width {
        for (j, x) in x.iter().enumerate() {
            let sign = z(&thetas[0].1, u, x).signum();
            let values: Vec<f64> = thetas.iter().map(|(_, theta)| sign * z(theta, u, x)).collect();
            let at = (0..values.len()).min_by(|a, b| values[*a].total_cmp(&values[*b])).expect("there are values");
            let is_inside = at > 20 && at + 20 < values.len();
            if is_inside && best.is_none_or(|b| values[at].abs() < b.3.abs()) {
                best = Some((u, j, sign, values[at]));
            }
        }
    }
    best
}

/// A unit that crosses its kink and comes back within a part of a step has the same sign at both ends of it.
///
/// The bias of the unit with the closest approach is moved until it dips 1e-5 below its kink, for about 0.01 in time. Steps have four
/// times this length in the run under test, without anything that cuts them short before predicted crossings.
#[test]
fn double_crossings_inside_one_step_are_found() {
    const DEPTH: f64 = 1e-5;
    const STEP: f64 = 0.04;
    let saves: Vec<f64> = (0..=400).map(|k| f64::from(k) / 400.0).collect();
    let mut n_pairs = 0;
    for seed in 0..150 {
        let mut case = Case::random(&[2, 6, 1], true, Activation::leaky_relu(0.3), 6, seed);
        case.theta0.iter_mut().for_each(|t| *t *= 1.5);
        let tight = |case: &Case| run_tracked(case, "Tsit5", options(1.0, RTOL), &mut [], &saves, false);
        let mut reference = tight(&case);
        for _ in 0..12 {
            let Some((u, _, sign, least)) = closest_approach(&case, &reference.kept.thetas) else { break };
            case.theta0[2 * 6 + u] -= 0.8 * sign * (least + DEPTH);
            reference = tight(&case);
        }
        let events = &reference.kept.events;
        let n = events
            .windows(2)
            .filter(|e| {
                let crossings = e.iter().all(|e| e.kind == EventKind::Crossing);
                crossings && e[0].place == e[1].place && e[1].t - e[0].t < STEP / 2.0
            })
            .count();
        if n == 0 {
            continue;
        }
        let fixed = Options { fixed_step: Some(STEP), ..options(1.0, 1e-8) };
        let coarse = run_tracked(&case, "Dop853", fixed, &mut [], &[], false);
        let distance = relative_distance(&coarse.outcome.y, &reference.outcome.y, 1.0);
        // Only where the coarse run is much closer than the dip is deep must it see it; a missed dip moves θ by far less than this.
        if distance > 0.1 * DEPTH {
            continue;
        }
        n_pairs += n;
        assert_eq!(summary(&coarse.kept.events), summary(events), "seed {seed}: {distance:e} apart");
    }
    println!("{n_pairs} double crossings inside a step");
    assert!(n_pairs >= 5, "only {n_pairs} pairs");
}
