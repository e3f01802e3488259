//! Gradient descent against the flow, held to closed forms, naive loops and known orders; products with the Hessian held to differences
//! and to dense matrices.
//!
//! Tolerances: closed forms to 1e-10, which the flow's rtol of 1e-12 leaves room for. Central differences of a gradient with h = 1e-5 err
//! by h²·|third derivative| and ε/h, both of about 1e-10 here.

mod common;

use common::Kept;
use common::naive::loss_and_gradient;
use common::program::{self, gradflow};
use gradflow::descent::{Ending, Iterates, ModifiedEnd, Report, SharpnessWatch, compare};
use gradflow::flow::FlowField;
use gradflow::ntk::SampleSide;
use gradflow::ode::{Contact, Event, EventKind, Mode, Observer, PiecewiseField, Point, StepView};
use gradflow::record::{LimitSide, Run};
use gradflow::scenario::{Cadence, DescentRun, Folder, Scenario, Source};
use gradflow::simulate::{Watch, simulate, simulate_beside};
use gradflow::vector::dot;
use nalgebra::DMatrix;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::ops::ControlFlow;
use std::path::PathBuf;

fn scenario(text: &str) -> Scenario {
    let source = Source::new("test.ron", format!("(\n{text}\n)"));
    Scenario::from_source(source, &Folder::Disk(PathBuf::new()), &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn load(name: &str, overrides: &[&str]) -> Scenario {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    Scenario::load(name, &overrides).unwrap_or_else(|error| panic!("{error}"))
}

fn compared(scenario: &Scenario) -> Report {
    let (run, report) = compare(&scenario.problem, &scenario.plan, 1, &mut (), &|| false);
    assert!(run.outcome.reason.is_completion(), "{}", run.outcome.reason);
    report
}

fn field_of(scenario: &Scenario) -> FlowField {
    let problem = &scenario.problem;
    FlowField::with_loss(problem.network.clone(), &problem.data, problem.loss)
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

const LINEAR: &str =
    "data: Inline(x: [[1, 0.5], [-0.3, 2]], y: [[1], [-0.7]]), network: Dense(hidden: [], bias: false),
    activation: Identity, initial: Inline([0.4, -0.9])";

/// For L = ½‖Xθ − y‖² with square X: (e^{−tXᵀX}, (I − ηXᵀX)^k) applied to θ₀ − θ*, and θ*.
fn linear(t: f64, eta: f64, k: i32) -> (Vec<f64>, Vec<f64>) {
    let x: DMatrix<f64> = DMatrix::from_row_slice(2, 2, &[1.0, 0.5, -0.3, 2.0]);
    let y = DMatrix::from_row_slice(2, 1, &[1.0, -0.7]);
    let solution = x.clone().lu().solve(&y).expect("regular");
    let start = DMatrix::from_row_slice(2, 1, &[0.4, -0.9]) - &solution;
    let eigen = (x.transpose() * &x).symmetric_eigen();
    let apply = |f: &dyn Fn(f64) -> f64| {
        let diagonal = DMatrix::from_diagonal(&eigen.eigenvalues.map(f));
        (&eigen.eigenvectors * diagonal * eigen.eigenvectors.transpose() * &start + &solution).as_slice().to_vec()
    };
    (apply(&|l| (-l * t).exp()), apply(&|l| (1.0 - eta * l).powi(k)))
}

#[test]
fn descent_and_flow_of_a_linear_network_are_their_closed_forms() {
    let flow = "flow: (until: [Time(2)], rtol: 1e-12, atol: 1e-14)";
    let steps = "descent: [(step: 0.1, steps: 20), (step: 0.05, steps: 40), (step: 0.02, steps: 100), (step: 0.013, steps: 150)]";
    let scenario = scenario(&format!("{LINEAR}, {flow}, {steps}"));
    let report = compared(&scenario);
    let mut n_rows = 0;
    for run in &report.runs {
        let last = run.last();
        assert_eq!((&run.ending, last.k), (&Ending::Completed, run.plan.steps));
        for row in &run.rows {
            let (exact_flow, exact_descent) = linear(row.t, run.plan.step, row.k as i32);
            let exact = distance(&exact_flow, &exact_descent);
            assert!((row.distance - exact).abs() < 1e-10, "k = {}: {} against {exact}", row.k, row.distance);
            assert!((row.relative_distance - exact / norm(&exact_flow)).abs() < 1e-10);
            let loss = |theta: &[f64]| {
                0.5 * ((theta[0] + 0.5 * theta[1] - 1.0).powi(2) + (-0.3 * theta[0] + 2.0 * theta[1] + 0.7).powi(2))
            };
            assert!((row.loss_flow - loss(&exact_flow)).abs() < 1e-10, "k = {}", row.k);
            assert!((row.loss_descent - loss(&exact_descent)).abs() < 1e-10, "k = {}", row.k);
            n_rows += 1;
        }
        let (exact_flow, exact_descent) = linear(last.t, run.plan.step, last.k as i32);
        let outputs = |theta: &[f64]| [theta[0] + 0.5 * theta[1], -0.3 * theta[0] + 2.0 * theta[1]];
        let exact = distance(&outputs(&exact_flow), &outputs(&exact_descent));
        assert!((run.prediction_distance - exact).abs() < 1e-10);
        assert!((run.per_layer[0] - last.distance).abs() < 1e-15, "one layer");
    }
    assert_eq!(n_rows, 21 + 41 + 101 + 151);
    // The Hessian is XᵀX throughout.
    let x: DMatrix<f64> = DMatrix::from_row_slice(2, 2, &[1.0, 0.5, -0.3, 2.0]);
    let top: f64 = (x.transpose() * &x).symmetric_eigen().eigenvalues.max();
    assert!(report.curvature.iter().all(|c| (c.highest - top).abs() < 1e-12 * top), "{top}");
    assert!(report.curvature.len() > 10);
}

#[test]
fn the_modified_flow_of_a_linear_network_is_its_closed_form() {
    // H̃ = H + (η/2)H², so that θ̃ − θ* = e^{−tH̃}(θ₀ − θ*).
    let flow = "flow: (until: [Time(2)], rtol: 1e-12, atol: 1e-14)";
    let report = compared(&scenario(&format!("{LINEAR}, {flow}, descent: [(step: 0.1, steps: 20)]")));
    let modified = &report.modified[0];
    assert_eq!((&modified.end, modified.first_event), (&ModifiedEnd::Horizon, None));
    assert_eq!(modified.rows.len(), 21);
    let x: DMatrix<f64> = DMatrix::from_row_slice(2, 2, &[1.0, 0.5, -0.3, 2.0]);
    let eigen = (x.transpose() * &x).symmetric_eigen();
    let (star, _) = linear(1e6, 0.1, 0);
    let start = DMatrix::from_row_slice(2, 1, &[0.4 - star[0], -0.9 - star[1]]);
    for (k, row) in modified.rows.iter().enumerate() {
        let diagonal = DMatrix::from_diagonal(&eigen.eigenvalues.map(|l| (-(l + 0.05 * l * l) * row.t).exp()));
        let exact = &eigen.eigenvectors * diagonal * eigen.eigenvectors.transpose() * &start;
        let exact = [exact[0] + star[0], exact[1] + star[1]];
        let (_, descent) = linear(0.0, 0.1, k as i32);
        let expected = distance(&exact, &descent);
        assert!((row.distance_descent - expected).abs() < 1e-10, "k = {k}: {} {expected}", row.distance_descent);
    }
}

#[test]
fn the_condition_of_a_convex_quadratic_holds_and_has_the_size_of_its_closed_form() {
    // m = −λ_min < 0, β = λ_max: B(t) ≥ λ_max ∫ ‖∇L‖ e^{−λ_min(t−s)} ds, up to the spacing of samples.
    let flow = "flow: (until: [Time(2)], rtol: 1e-10, atol: 1e-12)";
    let report = compared(&scenario(&format!("{LINEAR}, {flow}, descent: [(step: 0.01, steps: 200)]")));
    let run = &report.runs[0];
    let bound = run.bound.expect("the flow has no events");
    assert!(run.largest_distance < bound, "{} against {bound}", run.largest_distance);
    let x: DMatrix<f64> = DMatrix::from_row_slice(2, 2, &[1.0, 0.5, -0.3, 2.0]);
    let hessian = x.transpose() * &x;
    let values = hessian.clone().symmetric_eigen().eigenvalues;
    let (star, _) = linear(1e6, 0.1, 0);
    // B′ = −λ_min B + λ_max‖∇L‖ by the midpoint rule; its largest value counts.
    let (n, mut b, mut exact) = (20_000, 0.0_f64, 0.0_f64);
    let h = 2.0 / f64::from(n);
    for k in 0..n {
        let (theta, _) = linear((f64::from(k) + 0.5) * h, 0.1, 0);
        let offset = DMatrix::from_row_slice(2, 1, &[theta[0] - star[0], theta[1] - star[1]]);
        let decay = (-values.min() * h).exp();
        b = decay * b + values.max() * (&hessian * offset).norm() * h * (-0.5 * values.min() * h).exp();
        exact = exact.max(b);
    }
    // Each factor is the larger one of two neighbouring samples, 5 % of t apart.
    assert!(bound / 0.01 > exact && bound / 0.01 < 1.15 * exact, "{} against {exact}", bound / 0.01);
}

const SMOOTH: &str = "seed: 3, data: Ball(samples: 8, inputs: 3, outputs: 2), network: Dense(hidden: [6, 5], bias: true),
    activation: Tanh, flow: (until: [Time(2)], rtol: 1e-11, atol: 1e-13), ntk: (track: false),
    descent: [(step: 8e-3, steps: 250), (step: 4e-3, steps: 500), (step: 2e-3, steps: 1000), (step: 1e-3, steps: 2000)]";

#[test]
fn on_a_smooth_network_descent_has_order_one_and_its_modified_flow_order_two() {
    let report = compared(&scenario(SMOOTH));
    let order = report.order.as_ref().expect("four plain runs");
    assert_eq!((order.points.len(), order.caveat()), (4, None));
    let value = order.order.expect("positive distances");
    assert!((value - 1.0).abs() < 0.1, "{value}: {:?}", order.points);
    let modified = report.modified_order.as_ref().expect("no events");
    let value = modified.order.expect("positive distances");
    assert!((value - 2.0).abs() < 0.2, "{value}: {:?}", modified.points);
}

#[test]
fn on_a_kinked_network_with_small_steps_descent_has_order_one() {
    let text = |descent: &str| {
        scenario(&format!(
            "seed: 5, data: Ball(samples: 8, inputs: 3, outputs: 2), network: Dense(hidden: [6, 5], bias: true),
             activation: LeakyRelu(0.1), flow: (until: [Time(1)], rtol: 1e-10, atol: 1e-12), ntk: (track: false),
             descent: [{descent}]"
        ))
    };
    let probe = compared(&text("(step: 0.01, steps: 100)"));
    assert!(probe.first_event.is_some(), "the network has kinks and meets them");
    let limit = probe.order.as_ref().and_then(|o| o.limits.regular).expect("kinks");
    let n = (1.0 / limit).ceil() as usize;
    let runs: Vec<String> =
        [1, 2, 4, 8, 16].iter().map(|m| format!("(step: {}, steps: {})", 1.0 / (n * m) as f64, n * m)).collect();
    let report = compared(&text(&runs.join(", ")));
    let order = report.order.as_ref().expect("plain runs");
    assert_eq!(order.caveat(), None, "{order:?}");
    let value = order.order.expect("positive distances");
    assert!((value - 1.0).abs() < 0.3, "{value}: {:?}", order.points);
    assert_eq!(report.modified_order, None, "backward error analysis ends at the first event");
    // Larger steps are called irregular.
    let coarse = compared(&text("(step: 0.1, steps: 10), (step: 0.05, steps: 20), (step: 0.025, steps: 40)"));
    assert!(
        coarse.order.as_ref().and_then(|o| o.caveat()).is_some_and(|c| c.starts_with("irregular")),
        "{:?}",
        coarse.order
    );
}

/// Scenarios for products with the Hessian: every family of layers, and each loss.
fn families() -> Vec<(&'static str, Scenario)> {
    let small = |rest: &str| scenario(&format!("seed: 2, data: Ball(samples: 5, inputs: 3, outputs: 3), {rest}"));
    let mut all = vec![
        ("dense tanh", small("network: Dense(hidden: [4, 3]), activation: Tanh")),
        ("dense sigmoid", small("network: Dense(hidden: [4, 3]), activation: Sigmoid")),
        ("dense softplus", small("network: Dense(hidden: [4, 3], bias: false), activation: Softplus")),
        ("dense tanh + z", small("network: Dense(hidden: [4]), activation: TanhPlusIdentity")),
        ("dense leaky", small("network: Dense(hidden: [4, 3, 4]), activation: LeakyRelu(0.1)")),
        ("prelu", small("network: Dense(hidden: [4, 3]), activation: Prelu(0.3)")),
        ("no hidden layer", small("network: Dense(hidden: []), activation: Relu")),
        (
            "cubic pieces",
            small(
                "network: Dense(hidden: [4, 3]), activation: PiecewisePolynomial(breakpoints: [-0.25, 0.25],
                 pieces: [[0, 0.1], [0, 0, 0, 1.6], [-0.225, 1]])",
            ),
        ),
        ("polynomial tanh", small("network: Polynomial(hidden: [3, 2]), activation: Tanh")),
        ("polynomial prelu", small("network: Polynomial(hidden: [3, 2]), activation: Prelu(0.2)")),
        ("residual tanh", small("network: Residual(layers: 3), activation: Tanh")),
        (
            "softmax",
            scenario(
                "seed: 4, data: Inline(x: [[0.5, -1], [1, 0.2], [0.5, -1], [-0.7, 0.3]], y: [[0], [2], [1], [1]]),
                 network: Dense(hidden: [4]), activation: Tanh, loss: SoftmaxCrossEntropy",
            ),
        ),
        (
            "logistic",
            scenario(
                "seed: 4, data: Inline(x: [[0.5, -1], [1, 0.2], [-0.7, 0.3]], y: [[0, 1], [0.3, 1], [1, 0]]),
                 network: Dense(hidden: [4]), activation: LeakyRelu(0.2), loss: Logistic",
            ),
        ),
    ];
    for name in [
        "residual",
        "graph-conv",
        "graph-readout",
        "chebyshev",
        "conv",
        "conv-1d",
        "conv-residual",
        "unet",
        "siamese",
        "polynomial",
        "prelu",
    ] {
        all.push((name, load(name, &["ntk.track=false"])));
    }
    all
}

fn product(field: &mut FlowField, mode: &Mode, v: &[f64]) -> Vec<f64> {
    let mut image = vec![0.0; v.len()];
    field.hessian_product(mode, v, &mut image);
    image
}

fn random(n: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

#[test]
fn products_with_the_hessian_are_central_differences_of_the_gradient_in_the_frozen_pattern() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (name, scenario) in families() {
        let mut field = field_of(&scenario);
        let theta = &scenario.problem.theta0;
        let mode = field.mode_from_values(theta);
        let v = random(theta.len(), &mut rng);
        let mut dy = vec![0.0; theta.len()];
        field.eval(theta, &mode, &mut dy).expect("finite");
        let exact = product(&mut field, &mode, &v);
        let h = 1e-5;
        let mut at = |sign: f64| {
            let moved: Vec<f64> = theta.iter().zip(&v).map(|(x, v)| x + sign * h * v).collect();
            let mut dy = vec![0.0; theta.len()];
            field.eval(&moved, &mode, &mut dy).expect("finite");
            dy
        };
        let (up, down) = (at(1.0), at(-1.0));
        let difference: Vec<f64> = up.iter().zip(&down).map(|(u, d)| -(u - d) / (2.0 * h)).collect();
        let (error, size) = (distance(&exact, &difference), norm(&exact));
        assert!(size > 0.0 && error < 2e-7 * size, "{name}: {error:e} of {size:e}");
    }
}

#[test]
fn the_hessian_is_symmetric_and_its_extremes_are_those_of_the_dense_matrix() {
    for (name, scenario) in families() {
        let mut field = field_of(&scenario);
        let theta = &scenario.problem.theta0;
        let n = theta.len();
        if n > 150 {
            continue;
        }
        let mode = field.mode_from_values(theta);
        let mut dy = vec![0.0; n];
        field.eval(theta, &mode, &mut dy).expect("finite");
        let columns: Vec<Vec<f64>> = (0..n)
            .map(|k| {
                let mut unit = vec![0.0; n];
                unit[k] = 1.0;
                product(&mut field, &mode, &unit)
            })
            .collect();
        let dense = DMatrix::from_fn(n, n, |i, j| columns[j][i]);
        let size = dense.norm();
        assert!((&dense - dense.transpose()).norm() < 1e-12 * size, "{name}: not symmetric");
        let eigen = dense.symmetric_eigen().eigenvalues;
        let mut watch = SharpnessWatch::new(&field);
        let found = watch.measure(0.0, SampleSide::Smooth, theta, &mode).expect("finite");
        // A residual ρ leaves an error of at most ρ, and of ρ² over the distance to the next eigenvalue as a rule.
        assert!(
            (found.highest - eigen.max()).abs() <= found.highest_error + 1e-12 * size,
            "{name}: {found:?} {}",
            eigen.max()
        );
        assert!((found.highest - eigen.max()).abs() < 1e-5 * size, "{name}: {found:?} {}", eigen.max());
        assert!(
            (found.lowest - eigen.min()).abs() <= found.lowest_error + 1e-12 * size,
            "{name}: {found:?} {}",
            eigen.min()
        );
    }
}

/// Onto the directions tangent to the surfaces that units slide on, by least squares against their gradients.
fn projector(field: &mut FlowField, theta: &[f64], mode: &Mode) -> DMatrix<f64> {
    let (n, contacts) = (theta.len(), mode.sliding());
    let mut rates = vec![0.0; field.n_switches()];
    field.eval(theta, mode, &mut vec![0.0; n]).expect("finite");
    let mut normals = DMatrix::zeros(contacts.len(), n);
    for i in 0..n {
        let mut unit = vec![0.0; n];
        unit[i] = 1.0;
        field.rates(&unit, &mut rates);
        contacts.iter().enumerate().for_each(|(e, c)| normals[(e, i)] = rates[c.switch]);
    }
    let gram = (&normals * normals.transpose()).try_inverse().expect("regular");
    DMatrix::identity(n, n) - normals.transpose() * gram * &normals
}

/// The Hessian on those directions times v, by a central difference of the field in the frozen mode.
fn second_difference(
    field: &mut FlowField,
    theta: &[f64],
    mode: &Mode,
    projector: &DMatrix<f64>,
    v: &[f64],
) -> Vec<f64> {
    let project = |v: &[f64]| (projector * DMatrix::from_column_slice(v.len(), 1, v)).as_slice().to_vec();
    let (tangent, h) = (project(v), 1e-5);
    let mut at = |sign: f64| {
        let moved: Vec<f64> = theta.iter().zip(&tangent).map(|(x, v)| x + sign * h * v).collect();
        let mut dy = vec![0.0; theta.len()];
        field.eval(&moved, mode, &mut dy).expect("finite");
        dy
    };
    let (up, down) = (at(1.0), at(-1.0));
    project(&up.iter().zip(&down).map(|(u, d)| -(u - d) / (2.0 * h)).collect::<Vec<_>>())
}

#[test]
fn while_units_slide_the_product_is_how_the_field_changes_along_the_surfaces() {
    let text = "seed: 6, data: Ball(samples: 6, inputs: 4, outputs: 1), network: Dense(hidden: [5, 4], bias: true), activation: ";
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for activation in
        ["LeakyRelu(0.1)", "Prelu(0.3)", "PiecewisePolynomial(breakpoints: [0], pieces: [[0, 0.2], [0, 1, 0.5]])"]
    {
        let scenario = scenario(&format!("{text}{activation}"));
        let mut field = field_of(&scenario);
        let mut theta = scenario.problem.theta0.clone();
        let mut mode = field.mode_from_values(&theta);
        // Units of either layer; the modes need not be consistent for the formula to hold.
        let contacts = [
            Contact { switch: 3, breakpoint: 0 },
            Contact { switch: 13, breakpoint: 0 },
            Contact { switch: 34, breakpoint: 0 },
        ];
        contacts.iter().for_each(|c| mode.hold(*c));
        for _ in 0..20 {
            field.project(&mut theta, &mode, &contacts).expect("finite");
        }
        let mut dy = vec![0.0; theta.len()];
        field.eval(&theta, &mode, &mut dy).expect("finite");
        // A tangent direction: what the projector leaves of a random one. The product projects by itself.
        let v = random(theta.len(), &mut rng);
        let exact = product(&mut field, &mode, &v);
        let mut rates = vec![0.0; field.n_switches()];
        field.rates(&exact, &mut rates);
        for c in contacts {
            assert!(
                rates[c.switch].abs() < 1e-12 * norm(&exact).max(1.0),
                "{activation}: the image leaves surface {}",
                c.switch
            );
        }
        let projector = projector(&mut field, &theta, &mode);
        let difference = second_difference(&mut field, &theta, &mode, &projector, &v);
        let (error, size) = (distance(&exact, &difference), norm(&exact));
        assert!(size > 0.0 && error < 1e-6 * size, "{activation}: {error:e} of {size:e}");
    }
}

/// Both sides of every event.
#[derive(Default)]
struct Sides {
    states: Vec<(f64, SampleSide, Vec<f64>, Mode)>,
}

impl Observer<FlowField> for Sides {
    fn step(&mut self, step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        let end = &step.end;
        if step.ends_at_event {
            self.states.push((end.t, SampleSide::Before, end.y.to_vec(), end.mode.clone()));
        }
        ControlFlow::Continue(())
    }

    fn event(&mut self, after: &Point<'_, FlowField>, _: &Event) {
        self.states.push((after.t, SampleSide::After, after.y.to_vec(), after.mode.clone()));
    }
}

#[test]
fn sharpness_at_every_event_is_that_of_dense_matrices_on_both_sides_and_leaves_the_sampled_times_where_they_are() {
    let measured = |cadence: &str| {
        let scenario = load("abs", &["flow.until=[Time(2)]", "descent=[(step: 0.01, steps: 200)]", cadence]);
        let report = compared(&scenario);
        (scenario, report)
    };
    let (scenario, every) = measured("sharpness=EveryEvent");
    let mut sides = Sides::default();
    let mut kept = Kept::default();
    let watch = Watch { sink: &mut kept, interrupted: &|| false };
    simulate_beside(&scenario.problem, &scenario.plan, 1, watch, &mut sides);
    let has = |kind: EventKind| kept.events.iter().any(|event| event.kind == kind);
    assert!(has(EventKind::Crossing) && has(EventKind::SlideEnter) && has(EventKind::SlideExit), "{:?}", kept.events);
    let mut times: Vec<f64> = kept.events.iter().map(|event| event.t).collect();
    times.dedup();
    for side in [SampleSide::Before, SampleSide::After] {
        let found: Vec<f64> = every.curvature.iter().filter(|c| c.side == side).map(|c| c.t).collect();
        assert_eq!(found, times, "{side:?}");
    }
    let at_events = every.curvature.iter().filter(|c| c.side != SampleSide::Smooth);
    let mut field = field_of(&scenario);
    let mut n_sliding = 0;
    for (c, (t, side, theta, mode)) in at_events.zip(&sides.states) {
        assert_eq!((c.t, c.side), (*t, *side));
        let n = theta.len();
        let projector = projector(&mut field, theta, mode);
        let columns: Vec<f64> = (0..n)
            .flat_map(|i| {
                let mut unit = vec![0.0; n];
                unit[i] = 1.0;
                second_difference(&mut field, theta, mode, &projector, &unit)
            })
            .collect();
        let dense = DMatrix::from_column_slice(n, n, &columns);
        let eigen = (0.5 * (&dense + dense.transpose())).symmetric_eigen().eigenvalues;
        // Differences are good to about 1e-9.
        let size = eigen.amax();
        let (error, room) = ((c.highest - eigen.max()).abs(), c.highest_error + 1e-7 * size);
        assert!(error <= room, "t = {t}, {side:?}: {} against {}, {room:e}", c.highest, eigen.max());
        n_sliding += usize::from(!mode.sliding().is_empty());
    }
    let n_sides = sides.states.len();
    assert!(n_sides > 40 && n_sliding > 0 && n_sliding < n_sides, "{n_sliding} of {n_sides} while units slide");
    let (_, sampled) = measured("sharpness=Sampled");
    assert_eq!((every.cadence, sampled.cadence), (Cadence::EveryEvent, Cadence::Sampled));
    assert!(sampled.curvature.len() < every.curvature.len());
    for c in &sampled.curvature {
        let same = every.curvature.iter().find(|e| (e.t, e.side) == (c.t, c.side)).expect("measured there as well");
        let room = c.highest_error + same.highest_error + 1e-12 * c.highest.abs();
        assert!((c.highest - same.highest).abs() <= room, "{c:?} against {same:?}");
    }
    assert_eq!((&sampled.runs[0].rows, sampled.first_event), (&every.runs[0].rows, every.first_event));
}

/// θ after a naive loop with gradients over batches of samples.
fn naive_descent(scenario: &Scenario, run: &DescentRun, batches: &[Vec<usize>]) -> Vec<f64> {
    let problem = &scenario.problem;
    let rows = |flat: &[f64], width: usize| flat.chunks_exact(width).map(<[f64]>::to_vec).collect::<Vec<_>>();
    let (x, y) = (rows(problem.data.x(), problem.data.n_inputs()), rows(problem.data.y(), problem.data.n_outputs()));
    let mut theta = problem.theta0.clone();
    let mut velocity = vec![0.0; theta.len()];
    for batch in batches {
        let pick = |rows: &[Vec<f64>]| batch.iter().map(|&j| rows[j].clone()).collect::<Vec<_>>();
        let (_, gradient) = loss_and_gradient(&problem.network, &theta, &pick(&x), &pick(&y));
        let scale = x.len() as f64 / batch.len() as f64;
        for ((x, v), g) in theta.iter_mut().zip(&mut velocity).zip(&gradient) {
            *v = run.momentum * *v - run.step * scale * g;
            *x += *v;
        }
    }
    theta
}

#[test]
fn momentum_and_mini_batches_are_those_of_a_naive_loop() {
    // Samples 1 and 4 share an input but not a target.
    let text =
        "seed: 8, data: Inline(x: [[0.5, -1], [1, 0.2], [0.3, -0.4], [-0.7, 0.3], [1, 0.2], [0.1, 0.9], [-0.2, -0.8]],
        y: [[1], [-1], [0.5], [0.2], [2], [-0.3], [0.7]]), network: Dense(hidden: [5]), activation: LeakyRelu(0.1)";
    let scenario = scenario(text);
    let field = field_of(&scenario);
    let run = |momentum: f64, batch: usize, seed: u64| DescentRun {
        step: 0.01,
        steps: 25,
        momentum,
        batch,
        seed,
        ..DescentRun::default()
    };
    let follow = |plan: DescentRun| {
        let mut iterates = Iterates::new(&scenario.problem, &field, plan).expect("finite");
        for _ in 0..plan.steps {
            iterates.advance().expect("finite");
        }
        iterates.theta().to_vec()
    };
    let all: Vec<usize> = (0..7).collect();
    for momentum in [0.0, 0.9] {
        let plan = run(momentum, 0, 0);
        let expected = naive_descent(&scenario, &plan, &vec![all.clone(); 25]);
        assert!(distance(&follow(plan), &expected) < 1e-12, "momentum {momentum}");
    }
    for (momentum, seed) in [(0.0, 1), (0.5, 2)] {
        let plan = run(momentum, 3, seed);
        // The documented order: ChaCha8 on stream 4, a Fisher–Yates shuffle from the top at every epoch, batches of 3, 3 and 1.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(4);
        let mut order = all.clone();
        let mut batches = Vec::new();
        while batches.len() < 25 {
            (1..7).rev().for_each(|k| order.swap(k, rng.random_range(0..=k)));
            batches.extend(order.chunks(3).map(<[usize]>::to_vec));
        }
        let expected = naive_descent(&scenario, &plan, &batches[..25]);
        assert!(distance(&follow(plan), &expected) < 1e-12, "mini-batches, momentum {momentum}");
    }
    assert_ne!(follow(run(0.0, 3, 1)), follow(run(0.0, 3, 2)), "the seed decides the order");
    assert!(distance(&follow(run(0.0, 7, 1)), &follow(run(0.0, 0, 0))) < 1e-12, "one batch of all samples");
}

#[test]
fn with_momentum_a_step_counts_as_more_time() {
    // Heavy ball with β follows the flow at time kη/(1 − β) up to O(η).
    let distance_of = |steps: usize| {
        let step = 0.2 / steps as f64;
        let text = format!(
            "{LINEAR}, flow: (until: [Time(2)], rtol: 1e-10, atol: 1e-12), descent: [(step: {step}, steps: {steps}, momentum: 0.9)]"
        );
        let run = compared(&scenario(&text)).runs.remove(0);
        let last = run.last();
        assert!(run.ending == Ending::Completed && (last.t - 2.0).abs() < 1e-12, "{}", last.t);
        last.distance
    };
    let (coarse, fine) = (distance_of(400), distance_of(800));
    assert!(coarse < 0.1 && (coarse / fine - 2.0).abs() < 0.2, "{coarse} {fine}");
}

#[test]
fn too_long_steps_are_named_as_divergence_and_leave_the_flow_as_it_is() {
    // λ_max = 4.35: 0.6 is beyond 2/λ = 0.46, and the iterates grow by 1.6 a step.
    let text = format!(
        "{LINEAR}, flow: (until: [Time(60)]), descent: [(step: 0.6, steps: 100), (step: 0.3, steps: 200), (step: 0.6, steps: 100, stop_distance: 2)]"
    );
    let scenario = scenario(&text);
    let report = compared(&scenario);
    let [long, short, stopped] = &report.runs[..] else { panic!("three runs") };
    assert_eq!(long.ending, Ending::Diverged);
    assert!(long.divergence_time.is_some() && long.unstable_from == Some(0.0));
    assert_eq!((&short.ending, short.divergence_time, short.unstable_from), (&Ending::Completed, None, None));
    assert!(short.last().distance < 1e-6, "both have arrived: {}", short.last().distance);
    assert_eq!(stopped.ending, Ending::Distance);
    assert!(stopped.last().distance > 2.0 && stopped.last().k < long.last().k);
    // A cubic network leaves the range of f64 within a few steps.
    let cubic = "data: Inline(x: [[1]], y: [[0]]), network: Dense(hidden: [1], bias: false),
        activation: PiecewisePolynomial(breakpoints: [], pieces: [[0, 0, 0, 1]]), initial: Inline([3, 2]), flow: (until: [Time(1)])";
    let report = compared(&self::scenario(&format!("{cubic}, descent: [(step: 0.1, steps: 10)]")));
    assert!(
        matches!(report.runs[0].ending, Ending::NonFinite { .. } | Ending::Diverged),
        "{:?}",
        report.runs[0].ending
    );
    assert!(report.runs[0].rows.iter().all(|row| row.distance.is_finite() && row.loss_descent.is_finite()));
}

#[test]
fn the_flow_is_the_same_with_a_comparison_beside_it_and_whatever_the_number_of_threads() {
    let scenario = load(
        "quickstart",
        &[
            "flow.until=[Time(0.3)]",
            "descent=[(step: 0.01, steps: 30), (step: 0.004, steps: 37, batch: 8, momentum: 0.5)]",
        ],
    );
    let watched = |n_threads: usize| {
        let mut kept = Kept::default();
        let (run, report) = compare(&scenario.problem, &scenario.plan, n_threads, &mut kept, &|| false);
        (run.outcome.y, kept, report)
    };
    let mut alone = Kept::default();
    let plain = simulate(&scenario.problem, &scenario.plan, 1, &mut alone, &|| false);
    let (y, kept, report) = watched(1);
    assert_eq!(plain.outcome.y, y);
    assert_eq!(alone.rows, kept.rows);
    assert_eq!(alone.events, kept.events);
    let (y_threads, kept_threads, report_threads) = watched(2);
    assert_eq!((y, kept.rows), (y_threads, kept_threads.rows));
    assert_eq!(report, report_threads);
    assert!(report.first_event.is_some() && report.runs.iter().all(|run| run.ending == Ending::Completed));
}

#[test]
fn descent_jumps_over_the_kink_that_the_flow_slides_along() {
    let scenario = load("sliding-1d", &["descent=[(step: 0.01, steps: 400)]"]);
    let report = compared(&scenario);
    let run = &report.runs[0];
    assert_eq!(run.jumps.len(), 1, "one slide: {:?}", run.jumps);
    let jumps = run.jumps[0];
    assert!(jumps.n_jumps >= 2 && jumps.n_jumps <= jumps.n_iterates, "{jumps:?}");
    // An independent count: sides of the iterate at the place of the slide, between its entry and its exit.
    let mut kept = Kept::default();
    simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &|| false);
    let event = |kind: EventKind| kept.events.iter().find(|e| e.kind == kind).expect("a slide with both ends");
    let (enter, exit) = (event(EventKind::SlideEnter).t, event(EventKind::SlideExit).t);
    let field = field_of(&scenario);
    let mut iterates = Iterates::new(&scenario.problem, &field, scenario.plan.descent[0]).expect("finite");
    let switch = event(EventKind::SlideEnter).place.sample;
    let (mut n_iterates, mut n_jumps) = (0, 0);
    for k in 1..=400_usize {
        let before = iterates.mode().pieces()[switch];
        iterates.advance().expect("finite");
        let t = 0.01 * k as f64;
        if t > enter && t <= exit {
            n_iterates += 1;
            n_jumps += u64::from(iterates.mode().pieces()[switch] != before);
        }
    }
    assert_eq!((jumps.n_iterates, jumps.n_jumps), (n_iterates, n_jumps));
    // The modified flow cannot slide; it says so where the flow begins to.
    let modified = &report.modified[0];
    assert_eq!(modified.end, ModifiedEnd::Slide);
    assert!((modified.t - enter).abs() < 0.05, "{} {enter}", modified.t);
}

#[test]
fn surfaces_between_flow_and_descent_are_counted_on_original_samples() {
    let scenario =
        load("quickstart", &["flow.until=[Time(0.5)]", "ntk.track=false", "descent=[(step: 0.05, steps: 10)]"]);
    let report = compared(&scenario);
    let run = &report.runs[0];
    let last = run.last();
    assert_eq!(last.k, 10);
    // One breakpoint, no duplicates: each unit that differs is one surface.
    assert_eq!(run.differing.len() as u64, last.pattern_disagreement);
    assert!(last.pattern_disagreement > 0);
    for d in &run.differing {
        assert_ne!(d.piece_flow, d.piece_descent);
        assert!(d.place.layer <= 2 && d.place.unit < 32 && d.place.sample < 40);
    }
}

#[test]
fn conserved_quantities_drift_under_descent_in_proportion_to_the_step_and_not_under_the_flow() {
    let scenario = scenario(
        "seed: 3, data: Ball(samples: 6, inputs: 3, outputs: 1), network: Dense(hidden: [6]), activation: Identity,
         flow: (until: [Time(1)], rtol: 1e-10, atol: 1e-12), descent: [(step: 0.01, steps: 100), (step: 0.005, steps: 200)]",
    );
    let report = compared(&scenario);
    let drift = |k: usize| report.runs[k].drift_descent.expect("a linear network has laws");
    assert!((drift(0) / drift(1) - 2.0).abs() < 0.1, "{} {}", drift(0), drift(1));
    let flow = report.runs[0].drift_flow.expect("laws");
    assert!(flow < 1e-6 * drift(1), "{flow}");
}

#[test]
fn the_command_writes_its_files_beside_the_record_of_the_run() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let arguments =
        ["compare", "sliding-1d", "--step", "0.02", "--step", "0.01", "--horizon", "2", "--json", "--quiet"];
    let output = gradflow(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let path = folder.path().join("runs/sliding-1d");
    let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&read("compare.json")).expect("JSON"), printed);
    let header = |name: &str| read(name).lines().next().map(str::to_owned).expect("a header");
    assert_eq!(
        header("descent.csv"),
        "step_size,k,t,loss_descent,loss_flow,distance,relative_distance,pattern_disagreement"
    );
    assert_eq!(header("sharpness.csv"), "t,side,sharpness,error");
    assert_eq!(header("modified_flow.csv"), "step_size,t,loss,distance_descent");
    assert_eq!(
        (&printed["schema"], &printed["runs"][1]["k"], &printed["t_end"]),
        (&1.into(), &200.into(), &2.0.into())
    );
    let run = Run::open(&path).expect("a run");
    let rows: Vec<_> = run.descent().expect("rows").collect::<Result<_, _>>().expect("well formed");
    assert_eq!(rows.len(), 101 + 201);
    let summary = run.comparison().expect("well formed").expect("a comparison");
    assert_eq!(summary.runs[1].distance, Some(rows[301].distance));
    assert!(run.sharpness().expect("rows").count() > 5 && run.modified_flow().expect("rows").count() > 2);
    // The record repeats the comparison.
    let scenario = path.join("scenario.ron");
    let again =
        gradflow(folder.path(), &["compare", &scenario.to_string_lossy(), "--out", "again", "--json", "--quiet"]);
    assert_eq!(again.stdout, output.stdout);
    // A run in the same folder is no comparison.
    assert_eq!(gradflow(folder.path(), &["run", "sliding-1d", "--quiet"]).status.code(), Some(0));
    assert!(
        ["descent.csv", "compare.json", "sharpness.csv", "modified_flow.csv"]
            .iter()
            .all(|name| !path.join(name).exists())
    );
}

#[test]
fn with_every_event_the_table_of_the_sharpness_has_both_sides_of_every_event_once() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let compare = |more: &[&str]| {
        let arguments = [&["compare", "--json", "--quiet", "--no-report"], more].concat();
        program::ok(folder.path(), &arguments)
    };
    let printed = compare(&["abs", "--step", "0.01", "--horizon", "2", "--sharpness", "every-event"]);
    let run = Run::open(&folder.path().join("runs/abs")).expect("a run");
    let mut events: Vec<f64> = run.events().expect("rows").map(|row| row.expect("well formed").t).collect();
    events.dedup();
    assert!(events.len() > 20, "{} events", events.len());
    let rows: Vec<_> = run.sharpness().expect("rows").collect::<Result<_, _>>().expect("well formed");
    for side in [LimitSide::Before, LimitSide::After] {
        let times: Vec<f64> = rows.iter().filter(|row| row.side == side).map(|row| row.t).collect();
        assert_eq!(times, events, "{side:?}");
    }
    let cadence = || {
        let sharpness = run.comparison().expect("well formed").and_then(|found| found.sharpness).expect("measured");
        (sharpness.cadence, sharpness.measurements)
    };
    assert_eq!(cadence(), ("every-event".to_owned(), rows.len()));
    // The record repeats the comparison, and the command line has the last word.
    let record = folder.path().join("runs/abs/scenario.ron");
    assert_eq!(compare(&[&record.to_string_lossy(), "--out", "again"]), printed);
    compare(&["abs", "--step", "0.01", "--horizon", "2"]);
    let (word, n_sampled) = cadence();
    assert!(word == "sampled" && n_sampled < rows.len(), "{word}, {n_sampled} of {}", rows.len());
}

#[test]
fn bad_input_is_refused_with_one_clear_message() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let refused = |arguments: &[&str]| program::refused(folder.path(), arguments);
    let stderr = refused(&["compare", "tanh"]);
    assert!(
        stderr.contains("scenario `tanh` has no `descent` section") && stderr.contains("hint: give step sizes"),
        "{stderr}"
    );
    let stderr =
        refused(&["compare", "one-neuron", "--step", "0.1", "--set", "flow.until=[Loss(0.1)]", "--set", "descent=[]"]);
    assert!(stderr.contains("how far") && stderr.contains("--steps N"), "{stderr}");
    for (flag, value, expected) in [
        ("--step", "-0.1", "descent[0].step: expected a positive number, found -0.1"),
        ("--step", "nan", "descent[0].step: expected a positive number, found NaN"),
        ("--momentum", "1", "descent[0].momentum: expected a number of at least 0 and less than 1, found 1"),
        (
            "--batch",
            "99",
            "descent[0].batch: expected at most the 40 samples there are, or 0 for all of them, found 99",
        ),
        ("--stop-distance", "0", "descent[0].stop_distance: expected a positive number, found 0"),
    ] {
        let stderr = refused(&["compare", "quickstart", flag, value, "--steps", "5"]);
        assert!(stderr.contains(expected), "{flag} {value}: {stderr}");
    }
    let stderr = refused(&["compare", "quickstart", "--horizon", "-1"]);
    assert!(stderr.contains("flow.until[0][0]: expected a positive number, found -1"), "{stderr}");
    refused(&["compare", "quickstart", "--horizon", "1", "--steps", "5"]);
    refused(&["compare", "no-such-scenario"]);
    let stderr = refused(&["compare", "quickstart", "--sharpness", "always"]);
    assert!(stderr.contains("[possible values: sampled, every-event]"), "{stderr}");
}
