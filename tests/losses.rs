//! Losses beyond the squared error: closed forms, independent gradients, and the same flow from methods that share little.

mod common;

use common::Kept;
use gradflow::data::Data;
use gradflow::flow::FlowField;
use gradflow::loss::Loss;
use gradflow::net::{Activation, Network};
use gradflow::ode::PiecewiseField;
use gradflow::scenario::{Folder, Scenario, Source};
use gradflow::simulate::{Simulated, audit, simulate};
use std::path::PathBuf;

fn scenario(text: &str) -> Scenario {
    let source = Source::new("test.ron", format!("(\n{text}\n)"));
    Scenario::from_source(source, &Folder::Disk(PathBuf::new()), &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn run(scenario: &Scenario) -> (Simulated, Kept) {
    let mut kept = Kept::default();
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &|| false);
    assert!(run.outcome.reason.is_completion(), "{}", run.outcome.reason);
    (run, kept)
}

/// Solves u + e^u = c.
fn closed_form(c: f64) -> f64 {
    let mut u = c.min(1.0);
    for _ in 0..100 {
        u -= (u + u.exp() - c) / (1.0 + u.exp());
    }
    u
}

#[test]
fn one_logistic_weight_follows_its_closed_form() {
    // θ̇ = 1/(1 + e^θ) for x = y = 1, so that θ + e^θ grows like t.
    let scenario = scenario(
        "data: Inline(x: [[1]], y: [[1]]), network: Dense(hidden: [], bias: false), activation: Identity,
         loss: Logistic, initial: Inline([-1.5]), flow: (until: [Time(30)], rtol: 1e-11, atol: 1e-13)",
    );
    let (run, kept) = run(&scenario);
    let expected = closed_form(30.0 - 1.5 + (-1.5_f64).exp());
    assert!((run.outcome.y[0] - expected).abs() < 1e-9 * expected, "{} against {expected}", run.outcome.y[0]);
    let last = kept.rows.last().expect("rows");
    assert!((last.loss - (-expected).exp().ln_1p()).abs() < 1e-9 * last.loss, "{}", last.loss);
    assert!((last.residual_norm - 1.0 / (1.0 + expected.exp())).abs() < 1e-9 * last.residual_norm);
}

#[test]
fn two_softmax_logits_follow_their_closed_form_from_a_class_index() {
    // With d = θ_0 − θ_1 and class 0, ḋ = 2/(1 + e^d): d + e^d grows like 2t. Indices 0 and 1 on other inputs make two classes.
    let scenario = scenario(
        "data: Inline(x: [[1, 0], [0, 1]], y: [[0], [1]]), network: Dense(hidden: [], bias: false),
         activation: Identity, loss: SoftmaxCrossEntropy, initial: Inline([0.3, 0, -0.2, 0]),
         flow: (until: [Time(20)], rtol: 1e-11, atol: 1e-13)",
    );
    let theta = run(&scenario).0.outcome.y;
    let expected = closed_form(40.0 + 0.5 + 0.5_f64.exp());
    assert!((theta[0] - theta[2] - expected).abs() < 1e-9 * expected, "{theta:?} against {expected}");
}

fn field(loss: Loss, activation: Activation) -> (FlowField, Vec<f64>) {
    let network = Network::dense(2, &[4, 3], 3, true, activation).expect("widths");
    let x = [vec![0.5, -0.3], vec![-0.9, 0.4], vec![0.2, 0.8], vec![0.5, -0.3]];
    let y = [vec![1.0, 0.0, 0.0], vec![0.0, 0.4, 0.6], vec![0.0, 0.0, 1.0], vec![0.0, 1.0, 0.0]];
    let data = Data::from_rows(&x, &y).expect("rows form a data set");
    loss.check_targets(data.y(), 3, 3, None).expect("they are class probabilities");
    let theta: Vec<f64> = (0..network.n_parameters()).map(|k| (1.7 * k as f64 + 0.3).sin()).collect();
    (FlowField::with_loss(network, &data, loss), theta)
}

/// Log-loss of plain loops over the original samples, shared inputs and all.
fn naive_loss(loss: Loss, outputs: &[Vec<f64>], targets: &[[f64; 3]]) -> f64 {
    let one = |f: &Vec<f64>, y: &[f64; 3]| -> f64 {
        match loss {
            Loss::SoftmaxCrossEntropy => {
                let sum: f64 = f.iter().map(|v| v.exp()).sum();
                f.iter().zip(y).map(|(f, y)| -y * (f.exp() / sum).ln()).sum()
            }
            _ => f.iter().zip(y).map(|(f, y)| y * (1.0 + (-f).exp()).ln() + (1.0 - y) * (1.0 + f.exp()).ln()).sum(),
        }
    };
    outputs.iter().zip(targets).map(|(f, y)| one(f, y)).sum()
}

#[test]
fn gradients_are_those_of_the_plain_formula_with_shared_inputs() {
    for loss in [Loss::SoftmaxCrossEntropy, Loss::Logistic] {
        let (mut field, theta) = field(loss, Activation::leaky_relu(0.2));
        let mode = field.mode_from_values(&theta);
        let mut dy = vec![0.0; theta.len()];
        let targets = [[1.0, 0.0, 0.0], [0.0, 0.4, 0.6], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]];
        let mut naive = |theta: &[f64]| {
            let mut scratch = vec![0.0; theta.len()];
            field.eval(theta, &mode, &mut scratch).expect("finite");
            let f = &field.forward().1.f;
            let outputs: Vec<Vec<f64>> = [0, 1, 2, 0].iter().map(|&u| f[3 * u..3 * u + 3].to_vec()).collect();
            let value = naive_loss(loss, &outputs, &targets);
            assert!((field.sample(&scratch).loss - value).abs() < 1e-13 * value);
            value
        };
        let h = 1e-5;
        let differences: Vec<f64> = (0..theta.len())
            .map(|k| {
                let mut moved = |sign: f64| {
                    let mut moved = theta.clone();
                    moved[k] += sign * h;
                    naive(&moved)
                };
                (moved(1.0) - moved(-1.0)) / (2.0 * h)
            })
            .collect();
        field.eval(&theta, &mode, &mut dy).expect("finite");
        for (k, (d, g)) in dy.iter().zip(&differences).enumerate() {
            // Truncation h²/6 times a third derivative of order one, rounding ε/h.
            assert!((d + g).abs() < 1e-8, "{loss:?}: θ̇[{k}] = {d} against −{g}");
        }
    }
}

#[test]
fn the_linearisation_of_a_network_linear_in_its_weights_is_its_jacobian() {
    for loss in [Loss::SquaredError, Loss::SoftmaxCrossEntropy, Loss::Logistic] {
        let network = Network::dense(2, &[], 3, true, Activation::identity()).expect("widths");
        let x = [vec![0.5, -0.3], vec![-0.9, 0.4], vec![0.5, -0.3]];
        let y = [vec![1.0, 0.0, 0.0], vec![0.0, 0.4, 0.6], vec![0.0, 1.0, 0.0]];
        let mut field = FlowField::with_loss(network, &Data::from_rows(&x, &y).expect("rows"), loss);
        let theta: Vec<f64> = (0..9).map(|k| (1.3 * f64::from(k) + 0.4).sin()).collect();
        let direction: Vec<f64> = (0..9).map(|k| (0.7 * f64::from(k) + 0.1).cos()).collect();
        let mode = field.mode_from_values(&theta);
        let (mut exact, mut solved) = (vec![0.0; 9], vec![0.0; 9]);
        let linearisation = field.linearisation().expect("a flow has one");
        linearisation.linearise(&theta, &mode).expect("finite");
        linearisation.apply(&direction, &mut exact);
        // (I − sA) applied to a solution gives the right-hand side back.
        let shift = 0.7;
        linearisation.factor(shift).expect("positive definite");
        let mut solution = direction.clone();
        linearisation.solve(&mut solution);
        linearisation.apply(&solution, &mut solved);
        for k in 0..9 {
            let back = solution[k] - shift * solved[k];
            assert!((back - direction[k]).abs() < 1e-13, "{loss:?}: {back} against {}", direction[k]);
        }
        let h = 1e-5;
        let mut at = |sign: f64| {
            let moved: Vec<f64> = theta.iter().zip(&direction).map(|(t, d)| t + sign * h * d).collect();
            let mut dy = vec![0.0; 9];
            field.eval(&moved, &mode, &mut dy).expect("finite");
            dy
        };
        for ((k, up), down) in at(1.0).iter().enumerate().zip(at(-1.0)) {
            let difference = (up - down) / (2.0 * h);
            assert!((difference - exact[k]).abs() < 1e-8, "{loss:?}: {difference} against {}", exact[k]);
        }
    }
}

#[test]
fn flows_of_both_losses_slide_and_keep_their_identities_with_every_method() {
    for loss in ["SoftmaxCrossEntropy", "Logistic"] {
        let mut runs = Vec::new();
        for method in ["Tsit5", "Dop853", "DiffsolEsdirk34"] {
            let scenario = scenario(&format!(
                "seed: 3, data: Inline(x: [[1, 0.2], [0.3, 1], [-1, 0.5], [-0.4, -1], [0.9, -0.8], [0.1, 0.4]],
                 y: [[1, 0], [0, 1], [1, 0], [0, 1], [0.3, 0.7], [1, 0]]), network: Dense(hidden: [6, 5]),
                 activation: LeakyRelu(0.1), loss: {loss},
                 flow: (until: [Time(20)], method: {method}, rtol: 1e-8, atol: 1e-10)"
            ));
            let (run, kept) = run(&scenario);
            let report = audit(&scenario.problem, &scenario.plan, &run, 300);
            assert_eq!((report.n_checked, report.n_missed), (300, 0), "{loss}, {method}");
            let identities = &run.observed.identities;
            // A hundred times rtol, for hundreds of steps.
            assert!(identities.energy_defect < 1e-6, "{loss}, {method}: {}", identities.energy_defect);
            assert!(identities.conservation_drift.is_some_and(|d| d < 1e-6), "{loss}, {method}");
            assert!(identities.displacement_bound_ok);
            assert!(run.observed.bound.reason.contains("squared error"), "{}", run.observed.bound.reason);
            assert!(kept.rows.iter().all(|row| row.bound.is_none() && row.integral_bound.is_none()));
            runs.push((run.outcome.y, kept.events.iter().map(|e| (e.kind, e.place)).collect::<Vec<_>>()));
        }
        let slides = runs[0].1.iter().filter(|(kind, _)| *kind == gradflow::ode::EventKind::SlideEnter).count();
        assert!(slides >= 3, "{loss}: {slides} slides");
        for (y, events) in &runs[1..] {
            assert_eq!(*events, runs[0].1, "{loss}");
            assert!(common::relative_distance(y, &runs[0].0, 1.0) < 1e-6, "{loss}");
        }
    }
}

#[test]
fn targets_that_are_none_for_the_loss_are_refused() {
    let refused = |text: &str| {
        let source = Source::new("bad.ron", format!("(\n{text}\n)"));
        let error = Scenario::from_source(source, &Folder::Disk(PathBuf::new()), &[]).expect_err("it has a fault");
        error.to_string()
    };
    let rest = "network: Dense(hidden: [2]), activation: Relu, flow: (until: [Time(1)])";
    for (data, loss, expected) in [
        (
            "Inline(x: [[1]], y: [[0.5, 0.6]])",
            "SoftmaxCrossEntropy",
            "class probabilities of sample 0 from target 0 on sum to 1.1",
        ),
        ("Inline(x: [[1], [2]], y: [[0, 1], [2, -1]])", "SoftmaxCrossEntropy", "target 0 of sample 1 is 2"),
        ("Inline(x: [[1], [2]], y: [[0], [0]])", "SoftmaxCrossEntropy", "needs at least two outputs"),
        ("Inline(x: [[1], [2]], y: [[1], [-1]])", "Logistic", "target 0 of sample 1 is -1"),
        ("Ball(samples: 3, inputs: 2, outputs: 1)", "Logistic", "but has to be between 0 and 1"),
    ] {
        let message = refused(&format!("data: {data}, loss: {loss}, {rest}"));
        assert!(message.contains(expected) && message.contains("hint: "), "{message}");
    }
    let message = refused(&format!("data: Ball(samples: 3, inputs: 2, outputs: 1), loss: Hinge, {rest}"));
    assert!(message.contains("loss: unknown variant `Hinge`, expected one of `SquaredError`"), "{message}");
}
