//! `gradflow list`: the embedded scenarios and plans.

use super::exit::Exit;
use super::{CliError, Common};
use clap::Args;
use gradflow::scenario::{embedded, embedded_plans};
use serde::Serialize;
use std::io::Write;

/// List the embedded scenarios and plans of sweeps, one line each
#[derive(Debug, Args)]
pub(super) struct List {}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    description: &'static str,
}

impl List {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let all = embedded().iter().chain(embedded_plans());
        let lines: Vec<Line> = all.map(|e| Line { name: e.name, description: e.description() }).collect();
        let mut out = std::io::stdout().lock();
        if common.json {
            serde_json::to_writer(&mut out, &lines).map_err(std::io::Error::from)?;
            writeln!(out)?;
            return Ok(Exit::Ok);
        }
        let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
        for line in lines {
            writeln!(out, "{:width$}  {}", line.name, line.description)?;
        }
        Ok(Exit::Ok)
    }
}
