//! Tolerances that follow the scale of the state: small and large starts, layers of very different size, blocks that are zero.

use gradflow::scenario::{Folder, Scenario, Source, embedded};
use gradflow::simulate::{Simulated, coarse_blocks, simulate};
use std::fmt::Write as _;
use std::path::PathBuf;

fn scenario(text: &str, overrides: &[&str]) -> Scenario {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    let source = Source::new("test.ron", text.to_owned());
    Scenario::from_source(source, &Folder::Disk(PathBuf::new()), &overrides).unwrap_or_else(|error| panic!("{error}"))
}

fn run(text: &str, overrides: &[&str]) -> Simulated {
    let scenario = scenario(text, overrides);
    simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false)
}

/// Crossings, slide entries and exits.
fn counts(run: &Simulated) -> [u64; 3] {
    let events = &run.observed.events;
    [events.crossing, events.slide_enter, events.slide_exit]
}

fn list(values: impl IntoIterator<Item = f64>) -> String {
    values.into_iter().fold(String::new(), |mut text, v| {
        write!(text, "{v:e}, ").expect("a string takes everything");
        text
    })
}

/// Numbers in (−1, 1) without pattern, the same every time.
fn scattered(n: usize, salt: u64) -> Vec<f64> {
    let mut state = salt;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        })
        .collect()
}

const METHODS: [&str; 4] = ["Auto", "Tsit5", "Dop853", "Esdirk54"];

fn method(name: &str) -> String {
    format!("flow.method={name}")
}

/// w₁w₂ with w₁ = w₂ = w: ẇ = w(1 − w²), so that w²/(1 − w²) grows like e^{2t} and w² = ½ at t = ½ ln((1 − w₀²)/w₀²).
#[test]
fn a_linear_net_leaves_the_saddle_when_the_closed_form_does_from_any_height() {
    for exponent in [3, 6, 9, 12, 20, 50, 100, 150] {
        let text = format!(
            "(data: Inline(x: [[1.0]], y: [[1.0]]), network: Dense(hidden: [1], bias: false), activation: Identity,
              initial: Inline([1e-{exponent}, 1e-{exponent}]), flow: (until: [Loss(0.125)]), ntk: (track: false))"
        );
        let w0 = 10.0_f64.powi(-exponent);
        let exact = 0.5 * (-w0 * w0).ln_1p() - w0.ln();
        for name in METHODS {
            if name == "Esdirk54" && exponent > 20 {
                // As right as the others, and ten times as dear.
                continue;
            }
            let found = run(&text, &[&method(name)]);
            let error = (found.outcome.t / exact - 1.0).abs();
            // Each of the steps may err by rtol in w, that is, in e^t.
            assert!(
                error < 1e-6,
                "{name} from 1e-{exponent}: t = {} against {exact}, error {error:e}",
                found.outcome.t
            );
        }
    }
}

/// w₁w₂w₃ with equal weights: ẇ = w²(1 − w³), so that ∫dw/(w²(1 − w³)) = 1/w₀ − 1/w + ∫w/(1 − w³) from w₀ to w, and the last two terms are below 2.
#[test]
fn a_deeper_net_leaves_the_saddle_after_the_inverse_of_its_weights() {
    for exponent in [7, 9, 12, 15, 40, 70] {
        let text = format!(
            "(data: Inline(x: [[1.0]], y: [[1.0]]), network: Dense(hidden: [1, 1], bias: false), activation: Identity,
              initial: Inline([1e-{exponent}, 1e-{exponent}, 1e-{exponent}]), flow: (until: [Loss(0.125)]), ntk: (track: false))"
        );
        let exact = 10.0_f64.powi(exponent);
        for name in ["Auto", "Tsit5", "Dop853"] {
            let found = run(&text, &[&method(name)]);
            assert!(found.outcome.reason.is_completion(), "{name} from 1e-{exponent}: {}", found.outcome.reason);
            let error = (found.outcome.t / exact - 1.0).abs();
            assert!(error < 1e-6 + 2.0 / exact, "{name} from 1e-{exponent}: t = {}, error {error:e}", found.outcome.t);
        }
    }
}

/// Hidden weights W and output weights a, of sizes `(of_w, of_a)`.
fn two_layers(of_w: f64, of_a: f64, until: &str) -> String {
    let x = scattered(24, 1);
    let rows: Vec<String> = x.chunks(3).map(|row| format!("[{}]", list(row.iter().copied()))).collect();
    let y: Vec<String> = scattered(8, 2).iter().map(|y| format!("[{y}]")).collect();
    let start = scattered(30, 3).into_iter().map(|w| of_w * w).chain(scattered(10, 4).into_iter().map(|a| of_a * a));
    format!(
        "(data: Inline(x: [{}], y: [{}]), network: Dense(hidden: [10], bias: false), activation: LeakyRelu(0.1),
          initial: Inline([{}]), flow: (until: [{until}]), ntk: (track: false))",
        rows.join(", "),
        y.join(", "),
        list(start)
    )
}

#[test]
fn layers_of_very_different_size_have_their_events_when_a_tight_run_has_them() {
    for exponent in [-6, -4, -2, 0, 2, 4, 6] {
        let c = 10.0_f64.powi(exponent);
        let horizon = format!("Time({:e})", 3.0 / (c * c).max(1.0 / (c * c)));
        let text = two_layers(c, 1.0 / c, &horizon);
        let tight = run(&text, &["flow.rtol=1e-12", "flow.atol=0", "flow.method=Dop853"]);
        for name in METHODS {
            let found = run(&text, &[&method(name)]);
            assert!(found.outcome.reason.is_completion(), "{name}, 1e{exponent}: {}", found.outcome.reason);
            assert_eq!(counts(&found), counts(&tight), "{name}, 1e{exponent}");
            let (loss, exact) = (found.observed.loss_final, tight.observed.loss_final);
            // A hundred steps of rtol each.
            assert!((loss / exact - 1.0).abs() < 1e-6, "{name}, 1e{exponent}: {loss} against {exact}");
        }
    }
}

#[test]
fn where_one_layer_hardly_moves_its_scale_is_only_the_unit_of_time() {
    // With a = A/c and W = cw, and c → 0, ẇ = −c⁻²(…) and a stands still: times are c² times those of another c.
    let time = |exponent: i32| {
        let c = 10.0_f64.powi(exponent);
        let found = run(&two_layers(c, 1.0 / c, "LossRatio(0.3)"), &[]);
        (found.outcome.t / (c * c), counts(&found))
    };
    let (reference, events) = time(-6);
    for exponent in [-5, -4, -3] {
        let (t, found) = time(exponent);
        let stray = 10.0_f64.powi(4 * exponent);
        assert!((t / reference - 1.0).abs() < 10.0 * stray + 1e-7, "1e{exponent}: {t} against {reference}");
        assert_eq!(found, events, "1e{exponent}");
    }
}

#[test]
fn scaling_a_problem_by_powers_of_two_scales_every_number_of_its_run() {
    // f is of degree 2: with θ → cθ and y → c²y, L → c⁴L and t → t/c².
    let base = two_layers(0.5, 0.5, "LossRatio(0.01)");
    let reference = scenario(&base, &[]);
    let first = simulate(&reference.problem, &reference.plan, 1, &mut (), &|| false);
    for exponent in [-40, -8, 8, 40] {
        let c = 2.0_f64.powi(exponent);
        let mut scaled = scenario(&base, &[]);
        scaled.problem.theta0.iter_mut().for_each(|w| *w *= c);
        let data = &reference.problem.data;
        let rows = |values: &[f64], n: usize, factor: f64| -> Vec<Vec<f64>> {
            values.chunks(n).map(|row| row.iter().map(|v| factor * v).collect()).collect()
        };
        scaled.problem.data = gradflow::data::Data::from_rows(
            &rows(data.x(), data.n_inputs(), 1.0),
            &rows(data.y(), data.n_outputs(), c * c),
        )
        .expect("finite");
        let found = simulate(&scaled.problem, &scaled.plan, 1, &mut (), &|| false);
        let scales = [found.outcome.t * c * c, found.observed.loss_final / c.powi(4)];
        assert_eq!(scales, [first.outcome.t, first.observed.loss_final], "2^{exponent}");
        assert_eq!(counts(&found), counts(&first), "2^{exponent}");
        assert_eq!(found.outcome.stats, first.outcome.stats, "2^{exponent}");
    }
}

/// Two samples, sixty ReLU units with hidden biases (a constant input), a balanced start |a_j| = ‖w_j‖ of the given size.
fn two_plateaus(size: f64, target: f64) -> String {
    let numbers = scattered(180, 5);
    let units: Vec<(f64, f64)> =
        numbers.chunks(3).map(|u| (std::f64::consts::PI * u[0], size * (1.0 + 0.5 * u[1]))).collect();
    let incoming = units.iter().flat_map(|(angle, length)| [length * angle.cos(), length * angle.sin()]);
    let signs = numbers.chunks(3).map(|u| u[2].signum());
    let outgoing = units.iter().zip(signs).map(|((_, length), sign)| sign * length);
    format!(
        "(data: Inline(x: [[-0.5, 1], [2, 1]], y: [[-1], [1]]), network: Dense(hidden: [60], bias: false),
          activation: Relu, initial: Inline([{}]), flow: (until: [Loss({target})]), ntk: (track: false))",
        list(incoming.chain(outgoing))
    )
}

/// When gradient descent with step `eta` has first come down to each loss, interpolated between iterates.
fn descent(text: &str, eta: f64, targets: [f64; 2]) -> [f64; 2] {
    let start = scenario(text, &[]).problem.theta0;
    let mut units: Vec<[f64; 3]> = (0..60).map(|j| [start[2 * j], start[2 * j + 1], start[120 + j]]).collect();
    let mut times = Vec::new();
    let mut before = f64::INFINITY;
    for k in 0.. {
        let z = |u: &[f64; 3]| [u[1] - 0.5 * u[0], u[1] + 2.0 * u[0]];
        let output = |sample: usize| units.iter().map(|u| u[2] * z(u)[sample].max(0.0)).sum::<f64>();
        let r = [output(0) + 1.0, output(1) - 1.0];
        let loss = 0.5 * (r[0] * r[0] + r[1] * r[1]);
        while times.len() < 2 && loss <= targets[times.len()] {
            let part = (before - targets[times.len()]) / (before - loss);
            times.push(eta * (f64::from(k - 1) + part));
        }
        if times.len() == 2 {
            break;
        }
        before = loss;
        for u in &mut units {
            let z = z(u);
            let p = [0, 1].map(|s| if z[s] > 0.0 { r[s] } else { 0.0 });
            let [w, b, a] = *u;
            *u = [
                w - eta * a * (2.0 * p[1] - 0.5 * p[0]),
                b - eta * a * (p[0] + p[1]),
                a - eta * (p[0] * z[0] + p[1] * z[1]),
            ];
        }
    }
    [times[0], times[1]]
}

#[test]
fn plateaus_are_left_when_tight_runs_and_small_steps_of_descent_leave_them() {
    let targets = [0.9, 0.1];
    for size in [1e-6, 1e-20] {
        let text = two_plateaus(size, targets[0]);
        // Descent is of order one: twice the finer minus the coarser is of order two.
        let (coarse, fine) = (descent(&text, 4e-3, targets), descent(&text, 2e-3, targets));
        for (k, target) in targets.into_iter().enumerate() {
            let text = two_plateaus(size, target);
            let tight = run(&text, &["flow.rtol=1e-12", "flow.atol=0", "flow.method=Dop853"]);
            let limit = 2.0 * fine[k] - coarse[k];
            let t = tight.outcome.t;
            assert!((t - limit).abs() < 2e-3, "{size:e}, {target}: tight run {t}, descent {limit}");
            for name in METHODS {
                let found = run(&text, &[&method(name)]);
                let error = (found.outcome.t / t - 1.0).abs();
                assert!(error < 1e-6, "{name}, {size:e}, {target}: t = {} against {t}", found.outcome.t);
                // What dies on its last sample counts as a crossing or as a slide of no margin; the sum is what the flow has.
                let total = |run: &Simulated| counts(run)[0] + counts(run)[1];
                assert_eq!(total(&found), total(&tight), "{name}, {size:e}, {target}");
            }
        }
    }
}

#[test]
fn zero_output_layers_and_zero_biases_have_the_scale_of_what_they_become() {
    for size in [1e-9, 1e-3, 1.0, 1e3] {
        let mut text = two_layers(size, 0.0, "LossRatio(0.3)").replace("bias: false", "bias: true");
        // W, b, a, b: zeros but for W.
        let at = text.find("initial: Inline([").expect("it is there") + "initial: Inline([".len();
        let end = at + text[at..].find("])").expect("it is closed");
        let hidden = scattered(30, 3).into_iter().map(|w| size * w);
        text.replace_range(at..end, &list(hidden.chain([0.0; 21])));
        let tight = run(&text, &["flow.rtol=1e-12", "flow.atol=0", "flow.method=Dop853"]);
        for name in METHODS {
            let found = run(&text, &[&method(name)]);
            let error = (found.outcome.t / tight.outcome.t - 1.0).abs();
            assert!(error < 1e-6, "{name}, {size:e}: t = {} against {}", found.outcome.t, tight.outcome.t);
            assert_eq!(counts(&found), counts(&tight), "{name}, {size:e}");
        }
    }
}

#[test]
fn a_start_at_zero_moves_with_every_method_and_without_any_absolute_tolerance() {
    let text = "(data: Inline(x: [[1.0], [2.0]], y: [[1.0], [0.5]]), network: Dense(hidden: []), activation: Identity,
        initial: Inline([0, 0]), flow: (until: [Time(5)], max_steps: 2000), ntk: (track: false))";
    let exact = run(text, &["flow.rtol=1e-12"]).observed.loss_final;
    for name in METHODS.into_iter().chain(["Rkc2", "DiffsolEsdirk34"]) {
        for atol in ["flow.atol=0", "flow.atol=Auto"] {
            let found = run(text, &[&method(name), atol]);
            assert!(found.outcome.reason.is_completion(), "{name}, {atol}: {}", found.outcome.reason);
            let loss = found.observed.loss_final;
            assert!((loss - exact).abs() < 1e-6 * (1.0 + exact), "{name}, {atol}: {loss} against {exact}");
        }
    }
}

#[test]
fn attempts_that_are_rejected_count_against_the_limit_on_steps() {
    // The first step is far too long: from 1e-3 nothing decays, and the error is seen only when it is made.
    let text = two_layers(1e-3, 1e-3, "Time(100)");
    for limit in [3, 7, 20] {
        let found = run(&text, &[&format!("flow.max_steps={limit}"), "flow.rtol=1e-13"]);
        let stats = found.outcome.stats;
        assert_eq!(stats.steps + stats.rejected, limit, "{stats:?}");
        assert!(stats.rejected > 0, "{stats:?}");
        assert!(!found.outcome.reason.is_completion(), "{}", found.outcome.reason);
    }
}

#[test]
fn a_number_coarser_than_rtol_times_the_scale_of_a_block_is_pointed_out() {
    let blocks = |text: &str, overrides: &[&str]| -> Vec<(usize, &'static str)> {
        let scenario = scenario(text, overrides);
        coarse_blocks(&scenario.problem, &scenario.plan).iter().map(|b| (b.layer, b.kind)).collect()
    };
    let text = two_layers(1e6, 1e-6, "Time(1)");
    // Scales are about 6e5 and 6e-7; rtol is 1e-8.
    assert_eq!(blocks(&text, &["flow.atol=1e-16"]), []);
    assert_eq!(blocks(&text, &["flow.atol=1e-10"]), [(2, "weights")]);
    assert_eq!(blocks(&text, &["flow.atol=1e-1"]), [(1, "weights"), (2, "weights")]);
    assert_eq!(blocks(&text, &["flow.atol=1e-10", "flow.rtol=1e-2"]), []);
    assert_eq!(blocks(&text, &[]), []);
    // Output weights that are small beside the hidden ones grow, and count against what they grow to; those of a small unit do not.
    assert_eq!(blocks(&two_layers(1.0, 1e-12, "Time(1)"), &["flow.atol=1e-10"]), []);
    assert_eq!(blocks(&two_layers(1e-12, 1e-12, "Time(1)"), &["flow.atol=1e-10"]), [(1, "weights"), (2, "weights")]);
    for name in embedded().iter().map(|e| e.name) {
        let scenario = Scenario::load(name, &[]).expect("it is sound");
        let found = coarse_blocks(&scenario.problem, &scenario.plan);
        assert!(found.is_empty(), "{name}: {found:?}");
    }
}
