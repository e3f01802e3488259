//! `gradflow show`: the text of a scenario.

use super::exit::Exit;
use super::{CliError, Common, Overrides};
use clap::Args;
use gradflow::scenario::{Source, embedded_plans, open};
use std::io::Write;

/// Print a scenario, with overrides applied
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The name of an embedded scenario or plan, or a RON file
    name: String,
    /// Print it with every default written out
    #[arg(long)]
    resolved: bool,
    #[command(flatten)]
    overrides: Overrides,
}

impl Show {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let text = if self.resolved {
            self.overrides.load(&self.name)?.archive.text
        } else {
            let plan = embedded_plans().iter().find(|plan| plan.name == self.name);
            let mut source = match plan {
                Some(plan) => Source::new(plan.name, plan.text),
                None => open(&self.name)?.0,
            };
            for argument in &self.overrides.set {
                source.apply(argument)?;
            }
            source.text().to_owned()
        };
        let mut out = std::io::stdout().lock();
        if common.json {
            let object = serde_json::json!({ "name": self.name, "text": text });
            writeln!(out, "{object}")?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        Ok(Exit::Ok)
    }
}
