//! `gradflow check`: parse and resolve only.

use super::exit::Exit;
use super::summary::warn;
use super::{CliError, Common, Overrides};
use clap::Args;
use gradflow::net::{NoLaw, laws, no_law};
use gradflow::record::{CoarseBlock, Tolerances};
use gradflow::scenario::{Sizes, Track};
use serde::Serialize;
use std::io::Write;

/// Parse a scenario and say how large it is, or what is wrong with it
#[derive(Debug, Args)]
pub(super) struct Check {
    /// A RON file or the name of an embedded scenario
    scenario: String,
    #[command(flatten)]
    overrides: Overrides,
}

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    schema: u32,
    scenario: &'a str,
    parameters: usize,
    formula: String,
    targets: usize,
    overparametrised: bool,
    surfaces: usize,
    conserved: usize,
    none_conserved_because: Option<&'static str>,
    gram_bytes: f64,
    activation_bytes: f64,
    coarse_for: Vec<CoarseBlock>,
}

impl Check {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let scenario = self.overrides.load(&self.scenario)?;
        let problem = &scenario.problem;
        let sizes = Sizes::of(&problem.network, problem.data.n_samples());
        let laws = laws(&problem.network);
        let no_law = no_law(&problem.network, &laws).map(NoLaw::as_str);
        let formula = format!("{} = {}", problem.network.symbols(), problem.network.formula());
        let tolerances = Tolerances::of(problem, &scenario.plan);
        if let Some(warning) = tolerances.warning().filter(|_| !common.quiet) {
            warn(&warning);
        }
        let mut out = std::io::stdout().lock();
        if common.json {
            let checked = Checked {
                schema: 1,
                scenario: &problem.name,
                parameters: sizes.parameters,
                formula,
                targets: sizes.targets,
                overparametrised: sizes.is_overparametrised(),
                surfaces: sizes.surfaces,
                conserved: laws.len(),
                none_conserved_because: no_law,
                gram_bytes: sizes.gram_bytes,
                activation_bytes: sizes.activation_bytes,
                coarse_for: tolerances.coarse_for,
            };
            serde_json::to_writer(&mut out, &checked).map_err(std::io::Error::from)?;
            writeln!(out)?;
            return Ok(Exit::Ok);
        }
        let relation = match (sizes.is_overparametrised(), problem.loss.beyond_theory()) {
            (false, _) => "no: the theorem promises nothing",
            (true, Some(_)) => "yes, but the theorem is about the squared error",
            (true, None) => "yes",
        };
        let tracked = match scenario.plan.track {
            Track::Adaptive | Track::EveryEvent => "",
            Track::Estimate => " (not made: λ_min is estimated)",
            Track::Off => " (not tracked)",
        };
        writeln!(out, "{}: no faults", problem.name)?;
        writeln!(out, "  parameters P          {formula} = {}", sizes.parameters)?;
        writeln!(out, "  targets nM            {}", sizes.targets)?;
        writeln!(out, "  P >= nM               {relation}")?;
        writeln!(out, "  switching surfaces    {}", sizes.surfaces)?;
        let conserved = no_law.map_or_else(|| laws.len().to_string(), |reason| format!("none: {reason}"));
        writeln!(out, "  conserved quantities  {conserved}")?;
        writeln!(out, "  memory, Gram          {}{tracked}", in_units(sizes.gram_bytes))?;
        writeln!(out, "  memory, activations   {}", in_units(sizes.activation_bytes))?;
        Ok(Exit::Ok)
    }
}

fn in_units(bytes: f64) -> String {
    let (mut value, mut unit) = (bytes, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{value} B") } else { format!("{value:.1} {unit}") }
}
