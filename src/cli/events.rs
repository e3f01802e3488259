//! `gradflow events`: list, filter and count the events of a run.

use super::exit::Exit;
use super::{CliError, Common};
use clap::{Args, ValueEnum};
use gradflow::record::{EventRecord, EventWord, RecordError, Run, StartSummary};
use gradflow::report::overview::Overview;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Show, filter, list and count the events of a run
///
/// Shows them at a glance: by layer and unit, over time, the longest slides. --list gives a line for each, with numbers rounded for reading; --csv
/// gives them in full, with the columns of events.csv.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// The folder of a run
    run: PathBuf,
    #[command(flatten)]
    filter: Filter,
    /// A line for each event
    #[arg(long, conflicts_with_all = ["json", "count", "csv"])]
    list: bool,
    /// Count by kind
    #[arg(long)]
    count: bool,
    /// List as CSV
    #[arg(long, conflicts_with_all = ["json", "count"])]
    csv: bool,
}

#[derive(Debug, Args)]
struct Filter {
    /// Only this hidden layer, from 1
    #[arg(long, value_name = "L")]
    layer: Option<usize>,
    /// Only this unit, from 0
    #[arg(long, value_name = "U")]
    unit: Option<usize>,
    /// Only this sample, from 0
    #[arg(long, value_name = "S")]
    sample: Option<usize>,
    /// Only this kind
    #[arg(long, value_enum, value_name = "K")]
    kind: Option<Kind>,
    /// Only from this time on
    #[arg(long, value_name = "T")]
    from: Option<f64>,
    /// Only up to this time
    #[arg(long, value_name = "T")]
    to: Option<f64>,
}

/// Kinds as they are called in the record.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    Crossing,
    SlideEnter,
    SlideExit,
    Graze,
}

impl Events {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let run = Run::open(&self.run)?;
        let rows = run.events()?.filter(|row| row.as_ref().map_or(true, |row| self.filter.passes(row)));
        let mut out = std::io::stdout().lock();
        if self.count {
            let counts = Counts::of(rows)?;
            return if common.json { counts.write_json(&mut out) } else { counts.write(&mut out) };
        }
        if common.json {
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let object = json!({ "schema": 1, "scenario": run.summary().scenario, "events": rows });
            writeln!(out, "{object}")?;
            return Ok(Exit::Ok);
        }
        if self.csv {
            return write_csv(&mut out, rows);
        }
        if self.list {
            return write_table(&mut out, rows);
        }
        let events = rows.collect::<Result<Vec<_>, _>>()?;
        let (summary, last) = (run.summary(), events.last().map_or(0.0, |e| e.t));
        let start: Vec<_> = summary.start.iter().filter(|s| self.filter.passes_start(s)).cloned().collect();
        write!(out, "{}: {}", summary.scenario, Overview::of(&events, &start, summary.t_end.unwrap_or(last)))?;
        Ok(Exit::Ok)
    }
}

impl Filter {
    /// Whether a slide that began with the run is among those asked for.
    fn passes_start(&self, start: &StartSummary) -> bool {
        self.layer.is_none_or(|layer| start.layer == layer)
            && self.unit.is_none_or(|unit| start.unit == unit)
            && self.sample.is_none_or(|sample| start.sample == sample)
            && self.kind.is_none()
            && self.from.is_none_or(|from| from <= 0.0)
    }

    fn passes(&self, row: &EventRecord) -> bool {
        let kind = self.kind.map(|kind| match kind {
            Kind::Crossing => EventWord::Crossing,
            Kind::SlideEnter => EventWord::SlideEnter,
            Kind::SlideExit => EventWord::SlideExit,
            Kind::Graze => EventWord::Graze,
        });
        self.layer.is_none_or(|layer| row.layer == layer)
            && self.unit.is_none_or(|unit| row.unit == unit)
            && self.sample.is_none_or(|sample| row.sample == sample)
            && kind.is_none_or(|kind| row.kind == kind)
            && self.from.is_none_or(|from| row.t >= from)
            && self.to.is_none_or(|to| row.t <= to)
    }
}

/// Events by kind, in the order of [`EventWord::ALL`].
#[derive(Debug, Default)]
struct Counts {
    by_kind: [u64; 4],
    n_instants: u64,
}

impl Counts {
    fn of(rows: impl Iterator<Item = Result<EventRecord, RecordError>>) -> Result<Self, RecordError> {
        let mut counts = Self::default();
        let mut last = None;
        for row in rows {
            let row = row?;
            counts.by_kind[row.kind as usize] += 1;
            counts.n_instants += u64::from(last != Some(row.index));
            last = Some(row.index);
        }
        Ok(counts)
    }

    fn total(&self) -> u64 {
        self.by_kind.iter().sum()
    }

    fn write(&self, out: &mut impl Write) -> Result<Exit, CliError> {
        for (kind, count) in EventWord::ALL.iter().zip(self.by_kind) {
            writeln!(out, "{kind:<12} {count:>8}")?;
        }
        writeln!(out, "{:<12} {:>8}", "total", self.total())?;
        writeln!(out, "{:<12} {:>8}", "instants", self.n_instants)?;
        Ok(Exit::Ok)
    }

    fn write_json(&self, out: &mut impl Write) -> Result<Exit, CliError> {
        let kinds = EventWord::ALL.iter().zip(self.by_kind);
        let mut object: Map<String, Value> = kinds.map(|(kind, n)| (kind.as_str().to_owned(), n.into())).collect();
        object.insert("schema".to_owned(), 1.into());
        object.insert("total".to_owned(), self.total().into());
        object.insert("instants".to_owned(), self.n_instants.into());
        writeln!(out, "{}", Value::Object(object))?;
        Ok(Exit::Ok)
    }
}

fn write_csv(
    out: &mut impl Write,
    rows: impl Iterator<Item = Result<EventRecord, RecordError>>,
) -> Result<Exit, CliError> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    writer.write_record(EventRecord::COLUMNS).map_err(std::io::Error::from)?;
    for row in rows {
        writer.serialize(row?).map_err(std::io::Error::from)?;
    }
    writer.flush()?;
    Ok(Exit::Ok)
}

fn write_table(
    out: &mut impl Write,
    rows: impl Iterator<Item = Result<EventRecord, RecordError>>,
) -> Result<Exit, CliError> {
    let mut out = std::io::BufWriter::new(out);
    writeln!(
        out,
        "{:>6} {:>16}  {:<11} {:>5} {:>5} {:>6} {:>10} {:<9} {:>12} {:>12} {:>11} {:>7}",
        "index",
        "t",
        "kind",
        "layer",
        "unit",
        "sample",
        "breakpoint",
        "direction",
        "rate_before",
        "rate_after",
        "loss",
        "sliding"
    )?;
    for row in rows {
        let r = row?;
        writeln!(
            out,
            "{:>6} {:>16.10}  {:<11} {:>5} {:>5} {:>6} {:>10} {:<9} {:>12.4e} {:>12.4e} {:>11.4e} {:>7}",
            r.index,
            r.t,
            r.kind,
            r.layer,
            r.unit,
            r.sample,
            r.breakpoint,
            r.direction,
            r.rate_before,
            r.rate_after,
            r.loss,
            r.sliding
        )?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}
