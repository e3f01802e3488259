//! The scenarios that come with the program, and plans to sweep them.

/// A scenario or a plan of the program itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// Name on the command line.
    pub name: &'static str,
    /// RON text.
    pub text: &'static str,
}

impl Embedded {
    /// Its first comment line: what it shows.
    pub fn description(&self) -> &'static str {
        self.text.lines().next().unwrap_or("").trim_start_matches('/').trim()
    }
}

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        &[$(Embedded { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".ron")) }),*]
    };
    // The published experiments have a folder of their own.
    ($($name:literal,)* paper: $($paper:literal),* $(,)?) => {
        &[
            $(Embedded { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".ron")) },)*
            $(Embedded {
                name: concat!("paper-", $paper),
                text: include_str!(concat!("../../scenarios/paper/", $paper, ".ron")),
            }),*
        ]
    };
}

/// All embedded scenarios, the first one to try first.
pub fn embedded() -> &'static [Embedded] {
    scenarios![
        "quickstart",
        "one-neuron",
        "sliding-1d",
        "dead-relu",
        "singular-piece",
        "clarke-critical",
        "relu-stop",
        "deep-linear",
        "csv-regression",
        "relu",
        "abs",
        "prelu",
        "sigmoid",
        "tanh",
        "softplus",
        "tanh-plus-identity",
        "piecewise-polynomial",
        "many-breakpoints",
        "iris-classification",
        "stiff",
        "gd-versus-flow",
        "residual",
        "graph-conv",
        "graph-readout",
        "chebyshev",
        "graph-conv-morris",
        "conv",
        "conv-1d",
        "conv-residual",
        "unet",
        "mobile-net",
        "siamese",
        "polynomial",
        paper: "dnn", "resnet", "gcn", "dnn-small", "resnet-small", "gcn-small",
    ]
}

/// All embedded plans of sweeps.
pub fn embedded_plans() -> &'static [Embedded] {
    scenarios![paper: "dnn-sweep", "resnet-sweep", "gcn-sweep"]
}

/// A data file that embedded scenarios name.
pub(super) fn embedded_file(path: &str) -> Option<&'static [u8]> {
    (path == "iris.csv").then_some(include_bytes!("../../scenarios/iris.csv").as_slice())
}
