//! A scenario as typed: the mirror of the RON text, before any check.
//!
//! Fields hold what the text says or their default; whether that makes sense is decided in `check` and what
//! it means in `resolve`. Names are a contract with the files people keep.

pub use super::architecture::NetworkSpec;
use super::nested::Nested;
use crate::loss::Loss;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The whole file. Sections are `None` where the text does not give them.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename = "Scenario", deny_unknown_fields)]
pub struct Spec {
    /// Name of the run; by default the file's name without its extension.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seed of all random draws, 0 by default.
    #[serde(default)]
    pub seed: u64,
    /// Training data; required.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub data: Option<DataSpec>,
    /// Architecture; required.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSpec>,
    /// Activation between the layers; required.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationSpec>,
    /// What is minimised, the squared error by default.
    #[serde(default)]
    pub loss: LossSpec,
    /// Where θ starts.
    #[serde(default)]
    pub initial: InitialSpec,
    /// When to stop and how to integrate.
    #[serde(default)]
    pub flow: FlowSpec,
    /// Whether to follow the spectrum of the NTK Gram matrix.
    #[serde(default)]
    pub ntk: NtkSpec,
    /// Runs of discrete gradient descent to compare the flow with; none by default.
    #[serde(default)]
    pub descent: Vec<DescentRun>,
    /// Where the sharpness of the flow is measured beside them.
    #[serde(default)]
    pub sharpness: Cadence,
    /// When θ is saved.
    #[serde(default)]
    pub save: SaveSpec,
    /// A scenario whose data, network, method or records would need more memory is refused; 4 GiB by default.
    #[serde(default = "four_gib")]
    pub memory_limit_gib: f64,
}

fn four_gib() -> f64 {
    4.0
}

/// Where inputs and targets come from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub enum DataSpec {
    /// X uniform in the unit ball, y standard normal.
    Ball {
        /// n.
        samples: usize,
        /// N.
        inputs: usize,
        /// M.
        outputs: usize,
    },
    /// Rows in the text.
    Inline {
        /// n rows of N inputs; for graphs one level more, \[graph\]\[node\]\[feature\].
        x: Nested,
        /// n rows of M targets; for graphs \[graph\]\[node\]\[target\].
        y: Nested,
    },
    /// Columns of a comma-separated file with a header.
    Csv {
        /// The file, relative to the scenario's folder.
        path: String,
        /// Header names of the N inputs.
        inputs: Vec<String>,
        /// Header names of the M targets.
        outputs: Vec<String>,
    },
    /// NumPy arrays of shape (n, N) and (n, M); a one-dimensional array is one column, a three-dimensional one (graphs, nodes, features).
    Npy {
        /// The inputs' file, relative to the scenario's folder.
        x: String,
        /// The targets' file.
        y: String,
    },
}

/// The activation between the layers.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub enum ActivationSpec {
    /// max(z, 0).
    Relu,
    /// |z|.
    Abs,
    /// z.
    Identity,
    /// max(z, 0) + a·min(z, 0) with this a.
    LeakyRelu(f64),
    /// The same with one learned slope per hidden layer that starts here.
    Prelu(f64),
    /// 1 / (1 + e^{−z}).
    Sigmoid,
    /// tanh z.
    Tanh,
    /// log(1 + e^z).
    Softplus,
    /// z + tanh z.
    TanhPlusIdentity,
    /// A continuous piecewise polynomial.
    PiecewisePolynomial {
        /// Strictly increasing.
        breakpoints: Vec<f64>,
        /// Coefficients of each piece, low order first; one piece more than breakpoints.
        pieces: Vec<Vec<f64>>,
    },
}

/// What is minimised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum LossSpec {
    /// ½ Σ‖f(x_j) − y_j‖².
    #[default]
    SquaredError,
    /// Cross-entropy of softmax(f) with class probabilities, or with class indices 0, 1, … where each sample or node has a single target.
    SoftmaxCrossEntropy,
    /// Logistic loss of each output with a target in [0, 1].
    Logistic,
}

impl From<LossSpec> for Loss {
    fn from(spec: LossSpec) -> Self {
        match spec {
            LossSpec::SquaredError => Self::SquaredError,
            LossSpec::SoftmaxCrossEntropy => Self::SoftmaxCrossEntropy,
            LossSpec::Logistic => Self::Logistic,
        }
    }
}

/// Where θ starts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub enum InitialSpec {
    /// PyTorch's default for `nn.Linear`: W, b ~ U(±1/√fan_in).
    #[default]
    KaimingUniform,
    /// W ~ U(±√(6/(fan_in + fan_out))), b = 0.
    XavierUniform,
    /// W, b ~ N(0, std²).
    Normal(f64),
    /// W, b ~ U(±bound).
    Uniform(f64),
    /// The P values of θ.
    Inline(Vec<f64>),
    /// A NumPy array of P values, relative to the scenario's folder.
    Npy(String),
    /// Chatterjee's start: W_1 = 0 and b = 0, entries of the hidden weights U(½, 3/2) × the first value, of the output
    /// weights U(½, 3/2) × the second.
    Positive(f64, f64),
}

/// When to stop and how to integrate.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowSpec {
    /// The run ends at the first that is met; `[LossRatio(1e-4)]` by default.
    pub until: Vec<Stop>,
    /// The method, `Auto` by default.
    pub method: Method,
    /// Relative tolerance, 1e-8 by default.
    pub rtol: f64,
    /// Absolute tolerance, `Auto` by default.
    pub atol: Atol,
    /// Accepted and rejected steps after which the run gives up, a million by default.
    pub max_steps: usize,
}

impl Default for FlowSpec {
    fn default() -> Self {
        Self {
            until: vec![Stop::LossRatio(1e-4)],
            method: Method::Auto,
            rtol: 1e-8,
            atol: Atol::Auto,
            max_steps: 1_000_000,
        }
    }
}

/// The absolute tolerance.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Atol {
    /// A part of rtol times the scale of each parameter, which follows the state.
    #[default]
    Auto,
    /// This for every parameter.
    Number(f64),
}

impl Atol {
    /// What is added to rtol·|θ_i| for every parameter, whatever its scale.
    pub fn number(self) -> f64 {
        match self {
            Self::Auto => 0.0,
            Self::Number(number) => number,
        }
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum TypedAtol {
    Number(f64),
    Named(NamedAtol),
}

#[derive(Deserialize)]
enum NamedAtol {
    Auto,
}

impl<'de> Deserialize<'de> for Atol {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match TypedAtol::deserialize(from) {
            Ok(TypedAtol::Number(number)) => Ok(Self::Number(number)),
            Ok(TypedAtol::Named(NamedAtol::Auto)) => Ok(Self::Auto),
            Err(_) => Err(D::Error::invalid_value(Unexpected::Other("neither"), &"a number or `Auto`")),
        }
    }
}

impl Serialize for Atol {
    /// A number as the plain one that people write.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Auto => to.serialize_unit_variant("Atol", 0, "Auto"),
            Self::Number(number) => to.serialize_f64(number),
        }
    }
}

impl std::fmt::Display for Atol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Auto => f.write_str("Auto"),
            Self::Number(number) => write!(f, "{number:e}"),
        }
    }
}

/// A reason to end the flow.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
pub enum Stop {
    /// t reaches this.
    Time(f64),
    /// L falls to this.
    Loss(f64),
    /// L falls to this fraction of its start.
    LossRatio(f64),
    /// ‖∇L‖ falls to this.
    GradientNorm(f64),
}

/// How the smooth pieces are integrated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Method {
    /// `Tsit5`, with changes to `Esdirk54` (with more than 1000 targets `Rkc2`) and back where stability rather than accuracy or events limits
    /// its steps; and, for activations of straight pieces with fixed slopes, strides where events crowd: steps that hold many of them.
    #[default]
    Auto,
    /// The same without strides.
    EventByEvent,
    /// Explicit, order 3 (Bogacki–Shampine 1989).
    BogackiShampine32,
    /// Explicit, order 5 (Tsitouras 2011).
    Tsit5,
    /// Explicit, order 5 (Dormand & Prince 1980).
    DormandPrince54,
    /// Explicit, order 8 (Hairer, Nørsett & Wanner 1993).
    Dop853,
    /// Implicit, order 5 (Kennedy & Carpenter 2019), for stiff stretches.
    Esdirk54,
    /// Stabilised explicit, order 2 (Sommeijer, Shampine & Verwer 1998), for stiff stretches at loose tolerances.
    Rkc2,
    /// Stabilised explicit, order 4 (Abdulle 2002), for stiff stretches without any matrix.
    Rock4,
    /// diffsol's explicit Tsit45.
    DiffsolTsit45,
    /// diffsol's implicit ESDIRK34.
    DiffsolEsdirk34,
    /// diffsol's implicit TR-BDF2.
    DiffsolTrBdf2,
}

impl Method {
    /// Whether it factorises a matrix with a row for each target, however many there are.
    pub fn factorises_targets(self) -> bool {
        matches!(self, Self::Esdirk54 | Self::DiffsolEsdirk34 | Self::DiffsolTrBdf2)
    }
}

/// Whether to follow the spectrum of the NTK Gram matrix.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NtkSpec {
    /// `Adaptive` by default.
    pub track: Track,
    /// A run that would need more memory for it is refused; 4 GiB by default.
    pub memory_limit_gib: f64,
}

impl Default for NtkSpec {
    fn default() -> Self {
        Self { track: Track::Adaptive, memory_limit_gib: 4.0 }
    }
}

/// At which ends of steps and sides of events λ_min is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Track {
    /// Where it could be the smallest so far, or would move its integral; written `true` as well.
    #[default]
    #[serde(alias = "true")]
    Adaptive,
    /// At all of them.
    EveryEvent,
    /// At none: both ends of the spectrum are estimated at the start, the save times, the end, and whenever the loss has fallen by another
    /// factor of ten, without a matrix.
    Estimate,
    /// Nowhere; written `false`.
    #[serde(rename = "false")]
    Off,
}

impl Serialize for Track {
    /// `Off` as the plain `false` that people write, which no derived name could be.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Adaptive => to.serialize_unit_variant("Track", 0, "Adaptive"),
            Self::EveryEvent => to.serialize_unit_variant("Track", 1, "EveryEvent"),
            Self::Estimate => to.serialize_unit_variant("Track", 2, "Estimate"),
            Self::Off => to.serialize_bool(false),
        }
    }
}

impl Track {
    /// Whether λ_min is followed along the flow.
    pub fn is_on(self) -> bool {
        matches!(self, Self::Adaptive | Self::EveryEvent)
    }
}

/// A run of discrete gradient descent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DescentRun {
    /// Step size η.
    pub step: f64,
    /// Number of steps.
    pub steps: usize,
    /// β of heavy-ball momentum, v ← βv − η∇L and θ ← θ + v; 0 by default.
    #[serde(default)]
    pub momentum: f64,
    /// Samples per mini-batch; 0, the default, takes all of them.
    #[serde(default)]
    pub batch: usize,
    /// Seed of the order in which mini-batches visit the samples, 0 by default.
    #[serde(default)]
    pub seed: u64,
    /// The run ends where it is further than this from the flow; by default nowhere.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub stop_distance: Option<f64>,
    /// Every so many iterates one is recorded; 0, the default, records at most a thousand.
    #[serde(default)]
    pub every: usize,
}

impl DescentRun {
    /// Flow time that passes with one step: η, or η/(1 − β) with momentum, whose steps add up to that much.
    pub fn time_step(&self) -> f64 {
        self.step / (1.0 - self.momentum)
    }

    /// Whether it is plain gradient descent, Euler's method for the flow.
    pub fn is_plain(&self) -> bool {
        self.momentum == 0.0 && self.batch == 0
    }

    /// Iterates from one record to the next.
    pub fn stride(&self) -> usize {
        const MOST_RECORDS: usize = 1000;
        if self.every > 0 { self.every } else { self.steps.div_ceil(MOST_RECORDS) }
    }
}

/// Where the sharpness of the flow is measured, when it is compared with gradient descent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Cadence {
    /// At the first event, and at the first end of a step 5 % of time behind the last measurement; on both sides where that is an event.
    #[default]
    Sampled,
    /// There, and on both sides of every event besides. Costs two measurements an event, of 4 to 80 products with the Hessian each.
    EveryEvent,
}

impl Cadence {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::EveryEvent => "every-event",
        }
    }
}

/// When θ is saved; at most one is given, and the end is saved always. With none, the start is saved too.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaveSpec {
    /// At these times.
    #[serde(with = "given", skip_serializing_if = "Option::is_none")]
    pub times: Option<Vec<f64>>,
    /// At all multiples of this, from 0.
    #[serde(with = "given", skip_serializing_if = "Option::is_none")]
    pub every: Option<f64>,
    /// At so many equally spaced times from 0 to the time horizon.
    #[serde(with = "given", skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// At 0 and at so many geometrically spaced times from 1e-6 of the time horizon up to it.
    #[serde(with = "given", skip_serializing_if = "Option::is_none")]
    pub log: Option<usize>,
}

/// Fields that a variant cannot do without, so that one message can name all that are missing.
pub(super) const REQUIRED: &[(&str, &[&str])] = &[
    ("Ball", &["samples", "inputs", "outputs"]),
    ("Inline", &["x", "y"]),
    ("Csv", &["path", "inputs", "outputs"]),
    ("Npy", &["x", "y"]),
    ("Dense", &["hidden"]),
    ("Residual", &["layers"]),
    ("GraphConv", &["hidden", "adjacency"]),
    ("Chebyshev", &["hidden", "order", "adjacency"]),
    ("GraphConvMorris", &["hidden", "adjacency"]),
    ("ConvResidual", &["shape", "channels", "blocks"]),
    ("UNet", &["shape", "channels", "up"]),
    ("MobileNet", &["shape", "blocks"]),
    ("Siamese", &["hidden", "head"]),
    ("Polynomial", &["hidden"]),
    ("AvgPool", &["kernel"]),
    ("BlockSpec", &["channels"]),
    ("PiecewisePolynomial", &["breakpoints", "pieces"]),
    ("DescentRun", &["step", "steps"]),
    ("Axis", &["key", "values"]),
];

/// Top-level sections without a default.
pub(super) const REQUIRED_SECTIONS: &[&str] = &["data", "network", "activation"];

/// An optional field that is written plainly, without `Some`.
mod given {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
        T::deserialize(from).map(Some)
    }

    pub fn serialize<S: Serializer, T: Serialize>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(to),
            None => to.serialize_unit(),
        }
    }
}
