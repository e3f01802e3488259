//! What the integration tests share: an in-memory sink and a run of the flow with everything watched.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod naive;
pub mod plain;
pub mod program;

use gradflow::data::Data;
use gradflow::flow::FlowField;
use gradflow::net::init::{Sampler, sample, standard_normal, unit_ball};
use gradflow::net::{Activation, Network, PiecewisePolynomial, Smooth};
use gradflow::ntk::Cadence;
use gradflow::observe::{ConservedRow, EventRow, Monitor, Observed, Path, Row, Sink, StepRow};
use gradflow::ode::{Options, Outcome, Stepper, StopRule, WrmsNorm, integrate};
use gradflow::scenario::{Folder, Scenario, Source};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::io;

/// Keeps every row.
#[derive(Default)]
pub struct Kept {
    pub rows: Vec<Row>,
    pub events: Vec<EventRow>,
    pub thetas: Vec<(f64, Vec<f64>)>,
}

impl Sink for Kept {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.rows.push(*row);
        Ok(())
    }

    fn event(&mut self, rows: &[EventRow]) -> io::Result<()> {
        self.events.extend_from_slice(rows);
        Ok(())
    }

    fn theta(&mut self, t: f64, theta: &[f64]) -> io::Result<()> {
        self.thetas.push((t, theta.to_vec()));
        Ok(())
    }

    fn step(&mut self, _: &StepRow) -> io::Result<()> {
        Ok(())
    }

    fn eigenvalues(&mut self, _: f64, _: &[f64]) -> io::Result<()> {
        Ok(())
    }

    fn path(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn conserved(&mut self, _: &[ConservedRow]) -> io::Result<()> {
        Ok(())
    }
}

/// A flow to run.
pub struct Case {
    pub network: Network,
    pub data: Data,
    pub theta0: Vec<f64>,
}

impl Case {
    /// A network on given data.
    pub fn new(network: Network, x: &[Vec<f64>], y: &[Vec<f64>], theta0: Vec<f64>) -> Self {
        Self { network, data: Data::from_rows(x, y).expect("rows form a data set"), theta0 }
    }

    /// Inputs in the unit ball, normal targets, Kaiming weights (learned slopes at 0.25): `widths` as in [`Network::widths`].
    pub fn random(widths: &[usize], bias: bool, activation: Activation, n_samples: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let last = widths.len() - 1;
        let network = Network::dense(widths[0], &widths[1..last], widths[last], bias, activation).expect("widths");
        let x = unit_ball(n_samples, widths[0], &mut rng);
        let y = standard_normal(n_samples, widths[last], &mut rng);
        let theta0 = sample(&network, Sampler::KaimingUniform, 0.25, &mut rng);
        Self::new(network, &x, &y, theta0)
    }

    /// Inputs and targets as rows.
    pub fn rows(&self) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let rows = |flat: &[f64], width: usize| flat.chunks_exact(width).map(<[f64]>::to_vec).collect();
        (rows(self.data.x(), self.data.n_inputs()), rows(self.data.y(), self.data.n_outputs()))
    }
}

/// σ(z) = z³ inside [−1, 1], lines of slope 3 and ½ outside, and a quadratic beyond 2: kinks at 1 and 2, none at −1.
pub fn cubic_pieces() -> Activation {
    let pieces = vec![vec![2.0, 3.0], vec![0.0, 0.0, 0.0, 1.0], vec![0.5, 0.5], vec![3.5, -2.0, 0.5]];
    Activation::Piecewise(PiecewisePolynomial::new(vec![-1.0, 1.0, 2.0], pieces).expect("continuous"))
}

/// σ with kinks at ±¼ and a cubic between lines, so that units with small weights meet both.
pub fn narrow_pieces() -> Activation {
    let pieces = vec![vec![0.0, 0.1], vec![0.0, 0.0, 0.0, 1.6], vec![-0.225, 1.0]];
    Activation::Piecewise(PiecewisePolynomial::new(vec![-0.25, 0.25], pieces).expect("continuous"))
}

/// One activation of every kind.
pub fn activations() -> Vec<(&'static str, Activation)> {
    vec![
        ("leaky ReLU", Activation::leaky_relu(0.1)),
        ("ReLU", Activation::relu()),
        ("abs", Activation::abs()),
        ("identity", Activation::identity()),
        ("PReLU", Activation::Prelu),
        ("cubic pieces", cubic_pieces()),
        ("narrow pieces", narrow_pieces()),
        ("sigmoid", Activation::Smooth(Smooth::Sigmoid)),
        ("tanh", Activation::Smooth(Smooth::Tanh)),
        ("softplus", Activation::Smooth(Smooth::Softplus)),
        ("tanh + identity", Activation::Smooth(Smooth::TanhPlusIdentity)),
    ]
}

/// Largest |a_k − b_k| relative to the largest |b_k| (at least `least`).
pub fn relative_distance(a: &[f64], b: &[f64], least: f64) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(least.max(f64::MIN_POSITIVE), |m: f64, v| m.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale
}

/// The exponent of a power law through the points, by least squares of logarithms.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(h, e)| (h.ln(), e.ln())).collect();
    let (mx, my) = (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let (xy, xx) = logs.iter().fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + (x - mx) * (y - my), xx + (x - mx).powi(2)));
    xy / xx
}

/// A watched run.
pub struct Watched {
    pub outcome: Outcome,
    pub observed: Observed,
    pub kept: Kept,
}

/// The stepper of a method by its name.
pub fn stepper(method: &str, norm: WrmsNorm, field: &mut FlowField) -> Box<dyn Stepper<FlowField>> {
    gradflow::simulate::stepper(ron::from_str(method).expect("a known method"), norm, field)
}

/// Runs `case` to `t_end` (or a stop rule), saving θ at `saves`.
pub fn run(
    case: &Case,
    method: &str,
    options: Options,
    rules: &mut [Box<dyn StopRule<FlowField>>],
    saves: &[f64],
) -> Watched {
    run_tracked(case, method, options, rules, saves, true)
}

/// The same, with or without the spectrum of the Gram matrix.
pub fn run_tracked(
    case: &Case,
    method: &str,
    options: Options,
    rules: &mut [Box<dyn StopRule<FlowField>>],
    saves: &[f64],
    track_ntk: bool,
) -> Watched {
    let mut field = FlowField::new(case.network.clone(), &case.data);
    let mut stepper = stepper(method, options.norm, &mut field);
    let mut kept = Kept::default();
    let mut monitor = Monitor::new(
        &field,
        case.data.n_targets(),
        track_ntk.then_some(Cadence::EveryEvent),
        options.norm.rtol,
        Box::new(saves.iter().copied()),
        &mut kept,
    );
    let outcome = integrate(&mut field, &mut *stepper, &case.theta0, &options, rules, &mut monitor);
    let observed = monitor.finish();
    Watched { outcome, observed, kept }
}

/// Options for a horizon and a relative tolerance, with atol = rtol/100.
pub fn options(t_end: f64, rtol: f64) -> Options {
    Options {
        t_end,
        norm: WrmsNorm { rtol, atol: 1e-2 * rtol },
        max_steps: 2_000_000,
        fixed_step: None,
        retake: false,
        strides: false,
    }
}

/// An embedded scenario with overrides.
pub fn load(name: &str, overrides: &[&str]) -> Scenario {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    Scenario::load(name, &overrides).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A scenario from its text.
pub fn from_text(text: &str) -> Scenario {
    let folder = Folder::Disk(std::path::PathBuf::new());
    Scenario::from_source(Source::new("test", text.to_owned()), &folder, &[]).unwrap_or_else(|error| panic!("{error}"))
}
