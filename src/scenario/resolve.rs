//! Spec → [`Problem`] and [`Plan`].
//!
//! Random numbers are ChaCha8 seeded with the scenario's seed, on separate streams for inputs, targets and initial
//! parameters: another network starts from the same data, and other data do not move the start of the network.

use super::archive::{Archive, file_paths};
use super::build::{RawData, build};
use super::check::Report;
use super::fault::{Fault, FaultKind};
use super::memory;
use super::nested::Nested;
use super::parse::{Parsed, parse};
use super::read::{Folder, Table, read_bytes, read_csv, read_npy};
use super::source::Source;
use super::spec::{ActivationSpec, DataSpec, InitialSpec, LossSpec, REQUIRED_SECTIONS, SaveSpec, Spec, Stop};
use super::{Atol, Cadence, DescentRun, Method, Scenario, Track};
use crate::data::Data;
use crate::loss::Loss;
use crate::net::init::{self, Sampler};
use crate::net::{Activation, ActivationError, Layer, Network, PiecewisePolynomial, Smooth};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::path::Path;

/// Streams of the generator.
const INPUT_STREAM: u64 = 1;
const TARGET_STREAM: u64 = 2;
const INITIAL_STREAM: u64 = 3;

const GIB: f64 = (1u64 << 30) as f64;

/// What to simulate: the flow of Σ ℓ(f(x_j, θ), y_j) from θ₀.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Name of the run.
    pub name: String,
    /// Seed of all random draws.
    pub seed: u64,
    /// f.
    pub network: Network,
    /// x and y; class indices of a softmax loss have become probabilities.
    pub data: Data,
    /// ℓ.
    pub loss: Loss,
    /// θ₀, P values.
    pub theta0: Vec<f64>,
}

/// How to simulate it; every number is in its range.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The run ends at the first that is met; at least one.
    pub until: Vec<Stop>,
    /// Method.
    pub method: Method,
    /// Relative tolerance, positive.
    pub rtol: f64,
    /// Absolute tolerance; a number is at least 0.
    pub atol: Atol,
    /// Attempts after which the run gives up.
    pub max_steps: usize,
    /// Whether to follow the spectrum of the Gram matrix, and how closely.
    pub track: Track,
    /// When θ is saved.
    pub save: SavePlan,
    /// Runs of discrete gradient descent.
    pub descent: Vec<DescentRun>,
    /// Where the sharpness is measured beside them.
    pub sharpness: Cadence,
}

/// Times at which θ is saved, besides the end of the run.
///
/// Times past the end of the run are never reached and do no harm.
#[derive(Debug, Clone, PartialEq)]
pub enum SavePlan {
    /// These, increasing.
    Times(Vec<f64>),
    /// 0 and all multiples of this.
    Every(f64),
}

/// How large a problem is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// P.
    pub parameters: usize,
    /// nM.
    pub targets: usize,
    /// Hidden units × samples × breakpoints.
    pub surfaces: usize,
    /// Memory for what following λ_min takes, in bytes: four nM × nM matrices (G here and at the last sample, two factors), or J and JᵀJ where P < nM, and the seeds of all outputs in all
    /// layers, here and at the last measured sample.
    pub gram_bytes: f64,
    /// Memory for the values, slopes and sensitivities of all units on all samples, in bytes.
    pub activation_bytes: f64,
}

impl Plan {
    /// The time horizon, if there is one.
    pub fn horizon(&self) -> Option<f64> {
        horizon(&self.until)
    }
}

impl SavePlan {
    /// The save time number `index` from 0; `None` behind the last one.
    pub fn time(&self, index: usize) -> Option<f64> {
        match self {
            Self::Times(times) => times.get(index).copied(),
            Self::Every(every) => Some(index as f64 * every),
        }
    }
}

impl Sizes {
    /// Sizes of a network on n samples with M targets each.
    pub fn of(network: &Network, n_samples: usize) -> Self {
        let widths = network.widths();
        let n_outputs = network.n_outputs();
        let targets = n_samples * n_outputs;
        let shared = network.layers().iter().filter(|layer| !layer.is_plain());
        // Gradients of shared layers are formed one layer at a time; features that are not activations are kept.
        let rows = shared.clone().map(Layer::n_parameters).max().unwrap_or(0);
        let features: usize = network.layers().iter().map(|layer| layer.map.n_features()).sum();
        let per_sample = 2 * widths.iter().sum::<usize>() + features;
        let seeds = targets as f64 * (network.n_units() + rows) as f64;
        let parameters = network.n_parameters();
        let (p, t) = (parameters as f64, targets as f64);
        let matrices = if parameters < targets { p * (p + t) } else { 4.0 * t * t };
        Self {
            parameters,
            targets,
            surfaces: network.n_surfaces(n_samples),
            gram_bytes: 8.0 * (matrices + 2.0 * seeds),
            activation_bytes: 8.0 * n_samples as f64 * per_sample as f64,
        }
    }

    /// Whether P ≥ nM, which the convergence theorem asks for.
    pub fn is_overparametrised(&self) -> bool {
        self.parameters >= self.targets
    }
}

/// Parses, checks and builds.
pub(super) fn resolve(source: &Source, folder: &Folder) -> Result<Scenario, Vec<Fault>> {
    let parsed: Parsed<Spec> = parse(source)?;
    let mut spec = parsed.spec;
    let mut report = Report { source, tree: &parsed.tree, blanked: &parsed.blanked, faults: parsed.faults };
    let missing: Vec<String> = REQUIRED_SECTIONS
        .iter()
        .filter(|name| {
            parsed.tree.children.iter().all(|c| c.key.as_deref() != Some(**name)) && !report.is_blanked(name)
        })
        .map(|name| (*name).to_owned())
        .collect();
    if !missing.is_empty() {
        let start = parsed.tree.span.start;
        report.faults.push(source.fault("", start..start + 1, FaultKind::Missing(missing)));
    }
    let mut files = Vec::new();
    let limit = spec.memory_limit_gib;
    report.memory_limit(limit);
    let raw = read_data(&mut report, &spec, folder, &mut files);
    let activation = spec.activation.as_ref().and_then(|activation| build_activation(&mut report, activation));
    if let Some(network) = &spec.network {
        report.network(network);
    }
    let (network, data) = match (&spec.network, raw) {
        (Some(network), Some(raw)) => {
            let is_softmax = spec.loss == LossSpec::SoftmaxCrossEntropy;
            let raw = if is_softmax { with_probabilities(&mut report, raw, limit) } else { Some(raw) };
            match raw {
                Some(raw) if report.memory(memory::total(memory::of_network(network, &raw)), limit) => {
                    build(&mut report, network, raw, activation, folder, &mut files)
                }
                _ => (None, None),
            }
        }
        _ => (None, None),
    };
    if let (Some(network), Some(data)) = (&network, &data) {
        let part = network.n_outputs_per_part();
        let order = network.output_order();
        if let Err(error) = Loss::from(spec.loss).check_targets(data.y(), data.n_outputs(), part, order) {
            report.push("data", FaultKind::Target(error));
        }
    }
    report.initial(&spec.initial);
    report.flow(&spec.flow);
    report.save(&spec.save, horizon(&spec.flow.until));
    report.descent(&spec.descent, data.as_ref().map(Data::n_samples));
    report.ntk(&spec.ntk);
    check_records(&mut report, &spec, network.as_ref().map_or(0, Network::n_parameters));
    if let (Some(data), true) = (&data, spec.flow.method.factorises_targets()) {
        let targets = data.n_samples().saturating_mul(data.n_outputs());
        report.memory(Some(memory::of_implicit_method(targets)), limit);
    }
    let theta0 = build_theta0(&mut report, &spec, network.as_ref(), folder, &mut files);
    if let (Some(network), Some(data), true) = (&network, &data, spec.ntk.track.is_on()) {
        check_memory(&mut report, &Sizes::of(network, data.n_samples()), spec.ntk.memory_limit_gib);
    }
    let (Some(data), Some(network), Some(theta0), true) = (data, network, theta0, report.faults.is_empty()) else {
        report.faults.sort_by_key(|fault| fault.span.start);
        return Err(report.faults);
    };
    let stem = Path::new(source.name()).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = spec.name.get_or_insert_with(|| stem.unwrap_or_default()).clone();
    let plan = build_plan(&spec);
    debug_assert_eq!(files.len(), file_paths(&mut spec).len(), "every file of the scenario has been read");
    let problem = Problem { name, seed: spec.seed, network, data, loss: spec.loss.into(), theta0 };
    Ok(Scenario { problem, plan, archive: Archive::new(spec, files) })
}

fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

fn horizon(until: &[Stop]) -> Option<f64> {
    let times = until.iter().filter_map(|stop| if let Stop::Time(t) = stop { Some(*t) } else { None });
    times.reduce(f64::min)
}

pub(super) fn read_data(
    report: &mut Report,
    spec: &Spec,
    folder: &Folder,
    files: &mut Vec<Vec<u8>>,
) -> Option<RawData> {
    let Spec { data, seed, memory_limit_gib, .. } = spec;
    let data = data.as_ref()?;
    let n_faults = report.faults.len();
    report.data(data);
    if report.faults.len() > n_faults || !report.memory(memory::of_samples(data), *memory_limit_gib) {
        return None;
    }
    let (place, x, y) = match data {
        DataSpec::Ball { samples, inputs, outputs } => (
            "data",
            Table::of_rows(init::unit_ball(*samples, *inputs, &mut stream(*seed, INPUT_STREAM))),
            Table::of_rows(init::standard_normal(*samples, *outputs, &mut stream(*seed, TARGET_STREAM))),
        ),
        DataSpec::Inline { x, y } => ("data", table(x), table(y)),
        DataSpec::Csv { path, inputs, outputs } => {
            let bytes = read_bytes(report, folder, "data.path", path)?;
            let groups = [("data.inputs", &inputs[..]), ("data.outputs", &outputs[..])];
            let [x, y] = read_csv(report, path, &bytes, groups)?;
            files.push(bytes);
            ("data.path", x, y)
        }
        DataSpec::Npy { x, y } => {
            let [x, y] = [("data.x", x), ("data.y", y)].map(|(path, file)| {
                let bytes = read_bytes(report, folder, path, file)?;
                let table = read_npy(report, path, file, &bytes)?;
                files.push(bytes);
                Some(table)
            });
            ("data", x?, y?)
        }
    };
    Some(RawData { x, y, place })
}

/// Targets that are one class index 0, 1, … each, as class probabilities; other targets are left as they are.
fn with_probabilities(report: &mut Report, mut raw: RawData, limit_gib: f64) -> Option<RawData> {
    let targets = || raw.y.rows.iter().flatten();
    let are_indices = raw.y.shape.last() == Some(&1) && targets().all(|y| *y >= 0.0 && y.fract() == 0.0 && *y < 1e4);
    if !are_indices {
        return Some(raw);
    }
    let n_classes = targets().fold(1.0, |most: f64, y| most.max(y + 1.0)) as usize;
    let need = memory::of_classes(targets().count(), n_classes as f64, raw.place);
    if !report.memory(Some(need), limit_gib) {
        return None;
    }
    for row in &mut raw.y.rows {
        let one_hot =
            |y: &f64| (0..n_classes).map(|class| if class as f64 == *y { 1.0 } else { 0.0 }).collect::<Vec<_>>();
        *row = row.iter().flat_map(one_hot).collect();
    }
    if let Some(last) = raw.y.shape.last_mut() {
        *last = n_classes;
    }
    Some(raw)
}

/// Rows of a checked list of lists.
fn table(lists: &Nested) -> Table {
    let shape = lists.shape()[1..].to_vec();
    let rows = match lists {
        Nested::List(rows) => rows.iter().map(Nested::values).collect(),
        Nested::Number(_) => Vec::new(),
    };
    Table { rows, shape }
}

/// The activation; where learned slopes start is said with θ₀.
fn build_activation(report: &mut Report, spec: &ActivationSpec) -> Option<Activation> {
    let activation = match spec {
        ActivationSpec::Relu => Activation::relu(),
        ActivationSpec::Abs => Activation::abs(),
        ActivationSpec::Identity => Activation::identity(),
        ActivationSpec::LeakyRelu(slope) | ActivationSpec::Prelu(slope) if !slope.is_finite() => {
            report.require(false, "activation[0]", "a finite number", slope);
            return None;
        }
        ActivationSpec::LeakyRelu(slope) => Activation::leaky_relu(*slope),
        ActivationSpec::Prelu(_) => Activation::Prelu,
        ActivationSpec::Sigmoid => Activation::Smooth(Smooth::Sigmoid),
        ActivationSpec::Tanh => Activation::Smooth(Smooth::Tanh),
        ActivationSpec::Softplus => Activation::Smooth(Smooth::Softplus),
        ActivationSpec::TanhPlusIdentity => Activation::Smooth(Smooth::TanhPlusIdentity),
        ActivationSpec::PiecewisePolynomial { breakpoints, pieces } => {
            match PiecewisePolynomial::new(breakpoints.clone(), pieces.clone()) {
                Ok(polynomial) => Activation::Piecewise(polynomial),
                Err(error) => {
                    report.push(&activation_place(&error, breakpoints), FaultKind::Activation(error));
                    return None;
                }
            }
        }
    };
    Some(activation)
}

/// The path of what an activation's fault is about.
fn activation_place(error: &ActivationError, breakpoints: &[f64]) -> String {
    match error {
        ActivationError::Unsorted { index, .. } => format!("activation.breakpoints[{index}]"),
        ActivationError::Discontinuous { at, .. } => {
            let index = breakpoints.iter().position(|b| b == at).unwrap_or(0);
            format!("activation.breakpoints[{index}]")
        }
        ActivationError::EmptyPiece { piece } => format!("activation.pieces[{piece}]"),
        ActivationError::PieceCount { .. } => "activation.pieces".to_owned(),
        ActivationError::NotFinite { .. } => "activation".to_owned(),
    }
}

fn build_theta0(
    report: &mut Report,
    spec: &Spec,
    network: Option<&Network>,
    folder: &Folder,
    files: &mut Vec<Vec<u8>>,
) -> Option<Vec<f64>> {
    let sampler = match &spec.initial {
        InitialSpec::KaimingUniform => Sampler::KaimingUniform,
        InitialSpec::XavierUniform => Sampler::XavierUniform,
        InitialSpec::Normal(std) => Sampler::Normal(*std),
        InitialSpec::Uniform(bound) => Sampler::Uniform(*bound),
        InitialSpec::Positive(hidden, output) => Sampler::Positive { hidden: *hidden, output: *output },
        InitialSpec::Inline(theta) => return exactly(report, network, theta.clone()),
        InitialSpec::Npy(file) => {
            let bytes = read_bytes(report, folder, "initial[0]", file)?;
            let theta = read_npy(report, "initial[0]", file, &bytes)?.rows.concat();
            files.push(bytes);
            let bad = theta.iter().find(|v| !v.is_finite());
            report.require(bad.is_none(), "initial[0]", "finite numbers", bad.unwrap_or(&0.0));
            return exactly(report, network, theta);
        }
    };
    let slope = if let Some(ActivationSpec::Prelu(slope)) = spec.activation { slope } else { 0.0 };
    if !report.faults.is_empty() {
        // A scale out of its range has been reported; there is nothing to draw from.
        return None;
    }
    Some(init::sample(network?, sampler, slope, &mut stream(spec.seed, INITIAL_STREAM)))
}

fn exactly(report: &mut Report, network: Option<&Network>, theta: Vec<f64>) -> Option<Vec<f64>> {
    let expected = network?.n_parameters();
    if theta.len() != expected {
        report.push("initial", FaultKind::ParameterCount { expected, found: theta.len() });
    }
    Some(theta)
}

/// What a run is sure to keep or write if it gets to its end.
fn check_records(report: &mut Report, spec: &Spec, parameters: usize) {
    let limit = spec.memory_limit_gib;
    let is_only_end = spec.flow.until.iter().all(|stop| matches!(stop, Stop::Time(_)));
    let sure = horizon(&spec.flow.until).filter(|_| is_only_end);
    report.memory(memory::of_saves(&spec.save, parameters, sure), limit);
    for (k, run) in spec.descent.iter().enumerate() {
        report.memory(Some(memory::of_descent(k, run.steps / run.stride().max(1))), limit);
    }
}

fn check_memory(report: &mut Report, sizes: &Sizes, limit_gib: f64) {
    let estimate_gib = (sizes.gram_bytes + sizes.activation_bytes) / GIB;
    if estimate_gib > limit_gib {
        let place = if report.tree.child(&super::scan::Step::Key("ntk".into())).is_some() { "ntk" } else { "data" };
        report.push(place, FaultKind::GramMemory { targets: sizes.targets, estimate_gib, limit_gib });
    }
}

fn build_plan(spec: &Spec) -> Plan {
    let flow = &spec.flow;
    Plan {
        until: flow.until.clone(),
        method: flow.method,
        rtol: flow.rtol,
        atol: flow.atol,
        max_steps: flow.max_steps,
        track: spec.ntk.track,
        save: build_save(&spec.save, horizon(&flow.until).unwrap_or(0.0)),
        descent: spec.descent.clone(),
        sharpness: spec.sharpness,
    }
}

fn build_save(spec: &SaveSpec, horizon: f64) -> SavePlan {
    /// The first of geometrically spaced times, as a fraction of the horizon.
    const FIRST: f64 = 1e-6;
    match *spec {
        SaveSpec { times: Some(ref times), .. } => SavePlan::Times(times.clone()),
        SaveSpec { every: Some(every), .. } => SavePlan::Every(every),
        SaveSpec { count: Some(count), .. } => {
            let last = (count - 1) as f64;
            SavePlan::Times((0..count).map(|k| horizon * (k as f64 / last)).collect())
        }
        SaveSpec { log: Some(count), .. } => {
            let last = (count - 1) as f64;
            let spaced = (0..count).map(|k| horizon * FIRST.powf((last - k as f64) / last));
            SavePlan::Times([0.0].into_iter().chain(spaced).collect())
        }
        SaveSpec { .. } => SavePlan::Times(vec![0.0]),
    }
}
