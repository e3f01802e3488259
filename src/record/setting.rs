//! What was simulated, read back from the resolved scenario of a run; and the network as a function of one input.

use super::file;
use super::run::Run;
use crate::net::{Batch, Forward, Network};
use crate::scenario::{Folder, Scenario, Source};

/// Network and data of a run.
#[derive(Debug, Clone)]
pub struct Setting {
    network: Network,
    /// Samples.
    pub n_samples: usize,
    /// Inputs, row by row.
    pub x: Vec<f64>,
    /// Targets, row by row.
    pub y: Vec<f64>,
}

/// The network function of one input at one θ.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionCurve {
    /// Outputs at the given inputs, output by output.
    pub outputs: Vec<Vec<f64>>,
    /// Inputs at which a pre-activation is on a breakpoint, increasing.
    pub kinks: Vec<f64>,
}

impl Setting {
    /// Reads the scenario of a run.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub fn of(run: &Run) -> Result<Self, String> {
        let path = run.folder().join(file::SCENARIO);
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let source = Source::new(path.to_string_lossy(), text);
        let folder = Folder::Disk(run.folder().to_path_buf());
        let scenario = Scenario::from_source(source, &folder, &[]).map_err(|error| error.to_string())?;
        let data = &scenario.problem.data;
        Ok(Self {
            n_samples: data.n_samples(),
            x: data.x().to_vec(),
            y: data.y().to_vec(),
            network: scenario.problem.network,
        })
    }

    /// `[inputs, hidden…, outputs]`, per sample.
    pub fn widths(&self) -> &[usize] {
        self.network.widths()
    }

    /// P as a formula with numbers.
    pub fn formula(&self) -> &str {
        self.network.formula()
    }

    /// Breakpoints of the activation with its slopes below and above; a learned slope is not known here and is `None`.
    pub fn slopes(&self) -> Vec<(f64, Option<f64>, Option<f64>)> {
        let activation = self.network.activation();
        let is_learned = activation.has_learned_slope();
        let slope = |piece: usize, at: f64| {
            let is_known = !is_learned || piece > 0;
            is_known.then(|| activation.eval(piece as u16, at, 0.0).1)
        };
        activation.breakpoints().iter().enumerate().map(|(k, &at)| (at, slope(k, at), slope(k + 1, at))).collect()
    }

    /// Whether [`function`](Self::function) can be drawn: one input, and as many parameters as θ has.
    pub fn is_function_of_one_input(&self, n_parameters: usize) -> bool {
        self.network.widths()[0] == 1 && self.network.n_parameters() == n_parameters
    }

    /// The network function at θ on increasing inputs, with its kinks: sign changes of pre-activations between neighbours, placed by linear
    /// interpolation (exact where the pre-activation is linear there).
    pub fn function(&self, theta: &[f64], inputs: &[f64]) -> FunctionCurve {
        let batch = Batch::new(self.network.clone(), inputs.to_vec());
        let breakpoints = self.network.activation().breakpoints();
        let mut forward = Forward::default();
        let pieces = batch.read_pieces(theta, &mut forward);
        batch.forward(theta, &pieces, &[], &mut forward);
        let n_outputs = self.network.n_outputs();
        let output = |m: usize| forward.f.iter().skip(m).step_by(n_outputs).copied().collect();
        let mut kinks = Vec::new();
        for layer in 1..=self.network.n_hidden() {
            let width = self.network.widths()[layer];
            let range = batch.layer_range(layer);
            for (k, pair) in inputs.windows(2).enumerate() {
                for unit in 0..width {
                    let here = range.start + k * width + unit;
                    let (a, b) = (forward.z[here], forward.z[here + width]);
                    let passed = |at: &&f64| (a - **at) * (b - **at) < 0.0 || (a == **at && b != **at);
                    kinks.extend(
                        breakpoints.iter().filter(passed).map(|at| pair[0] + (at - a) / (b - a) * (pair[1] - pair[0])),
                    );
                }
            }
        }
        kinks.sort_by(f64::total_cmp);
        FunctionCurve { outputs: (0..n_outputs).map(output).collect(), kinks }
    }
}
