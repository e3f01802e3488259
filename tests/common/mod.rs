//! What the integration tests share: an in-memory sink and a run of the flow with everything watched.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use gradflow::data::Data;
use gradflow::flow::FlowField;
use gradflow::net::Network;
use gradflow::observe::{EventRow, Monitor, Observed, Row, Sink};
use gradflow::ode::tableau::{BOGACKI_SHAMPINE_32, DOP853, TSIT5, Tableau};
use gradflow::ode::{ExplicitRk, Options, Outcome, StopRule, WrmsNorm, integrate};
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
}

/// A flow to run.
pub struct Case {
    pub network: Network,
    pub data: Data,
    pub theta0: Vec<f64>,
}

/// A watched run.
pub struct Watched {
    pub outcome: Outcome,
    pub observed: Observed,
    pub kept: Kept,
}

pub fn tableau(name: &str) -> &'static Tableau {
    [&BOGACKI_SHAMPINE_32, &TSIT5, &DOP853].into_iter().find(|t| t.name == name).expect("a known method")
}

/// Runs `case` to `t_end` (or a stop rule), saving θ at `saves`.
pub fn run(
    case: &Case,
    method: &str,
    options: Options,
    rules: &mut [Box<dyn StopRule<FlowField>>],
    saves: &[f64],
) -> Watched {
    let mut field = FlowField::new(case.network.clone(), &case.data);
    let mut stepper = ExplicitRk::new(tableau(method), case.theta0.len());
    let mut kept = Kept::default();
    let mut monitor = Monitor::new(
        &field,
        case.data.n_targets(),
        true,
        options.norm.rtol,
        Box::new(saves.iter().copied()),
        &mut kept,
    );
    let outcome = integrate(&mut field, &mut stepper, &case.theta0, &options, rules, &mut monitor);
    let observed = monitor.finish();
    Watched { outcome, observed, kept }
}

/// Options for a horizon and a relative tolerance, with atol = rtol/100.
pub fn options(t_end: f64, rtol: f64) -> Options {
    Options { t_end, norm: WrmsNorm { rtol, atol: 1e-2 * rtol }, max_steps: 2_000_000, fixed_step: None }
}
