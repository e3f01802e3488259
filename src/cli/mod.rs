//! The command line: arguments, dispatch, and how errors are shown.
//!
//! Each command has a file with its arguments and a `run`. Data go to stdout, all else to stderr.

mod check;
mod compare;
mod events;
mod exit;
mod list;
mod page;
mod progress;
mod report;
mod run;
mod show;
mod summary;
mod sweep;
mod verify;

use self::exit::Exit;
use clap::{Args, Parser, Subcommand};
use gradflow::record::RecordError;
use gradflow::report::ReportError;
use gradflow::scenario::{Scenario, ScenarioError};
use gradflow::sweep::SweepError;
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode, ThemeCharacters, ThemeStyles,
};
use std::fmt;
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// Exact gradient flow of neural networks with piecewise-polynomial activations.
///
/// Without a command: `gradflow run quickstart`.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Compare(compare::Compare),
    Verify(verify::Verify),
    Events(events::Events),
    Report(report::Report),
    Check(check::Check),
    List(list::List),
    Show(show::Show),
    Sweep(sweep::Sweep),
}

/// Flags that every command takes.
#[derive(Debug, Args)]
struct Common {
    /// Use at most N threads, at least 1; results are the same bit for bit [default: one per core]
    #[arg(long, value_name = "N", global = true)]
    threads: Option<NonZeroUsize>,
    /// Write nothing to stderr but errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Write the summary to stdout as one JSON object
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn n_threads(&self) -> usize {
        let limit = self.threads.or_else(|| std::thread::available_parallelism().ok());
        limit.map_or(1, NonZeroUsize::get)
    }
}

/// Overrides of scenario fields.
#[derive(Debug, Args, Default)]
struct Overrides {
    /// Override a scenario field, for example flow.rtol=1e-9; may be repeated
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    set: Vec<String>,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// The scenario is at fault.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A plan, or one of the scenarios it makes, is at fault.
    #[error(transparent)]
    Plan(ScenarioError),
    /// A run directory cannot be made or read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A sweep cannot be run or merged.
    #[error(transparent)]
    Sweep(SweepError),
    /// A report cannot be made.
    #[error(transparent)]
    Report(ReportError),
    /// A run has ended but its record could not be completed.
    #[error("the record is incomplete: {0}")]
    Lost(#[source] RecordError),
    /// There is nothing to compare the flow with.
    #[error("scenario `{0}` has no `descent` section, so there are no step sizes to compare the flow with")]
    NoDescent(String),
    /// Nothing says how long descent should go on.
    #[error("neither the command line nor scenario `{0}` says how far descent should go")]
    NoReach(String),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl From<ReportError> for CliError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Record(error) => Self::Record(error),
            other => Self::Report(other),
        }
    }
}

/// Runs the program and gives its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stream cannot be told about.
            let _ = error.print();
            return if error.use_stderr() { Exit::BadInput } else { Exit::Ok }.into();
        }
    };
    match run(&cli) {
        Ok(exit) => exit,
        // A reader such as `head` that has seen enough is no fault.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(CliError::Report(error)) => {
            eprintln!("error: {error}");
            eprintln!("  hint: choose a file or folder that can be written with --out or --figures");
            Exit::BadInput
        }
        Err(error @ (CliError::Output(_) | CliError::Lost(_))) => {
            eprintln!("error: {error}");
            Exit::Stopped
        }
        Err(CliError::Record(error)) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("  hint: {hint}");
            }
            Exit::BadInput
        }
        Err(error @ (CliError::NoDescent(_) | CliError::NoReach(_))) => {
            eprintln!("error: {error}");
            eprintln!("  hint: {}", descent_hint(&error));
            Exit::BadInput
        }
        Err(CliError::Sweep(error)) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("  hint: {hint}");
            }
            if matches!(error, SweepError::Lost { .. }) { Exit::Stopped } else { Exit::BadInput }
        }
        Err(CliError::Scenario(error)) => {
            report(&error, "scenario");
            Exit::BadInput
        }
        Err(CliError::Plan(error)) => {
            report(&error, "plan");
            Exit::BadInput
        }
    }
    .into()
}

fn descent_hint(error: &CliError) -> &'static str {
    match error {
        CliError::NoDescent(_) => {
            "give step sizes, as in --step 0.01 --step 0.005 --horizon 2, or add descent: [(step: 0.01, steps: 200)] to the scenario"
        }
        _ => "give --steps N, or --horizon T for all step sizes",
    }
}

fn run(cli: &Cli) -> Result<Exit, CliError> {
    match &cli.command {
        None => run::Run::default().run(&cli.common),
        Some(command) => dispatch(command, &cli.common),
    }
}

fn dispatch(command: &Command, common: &Common) -> Result<Exit, CliError> {
    match command {
        Command::Run(run) => run.run(common),
        Command::Compare(compare) => compare.run(common),
        Command::Verify(verify) => verify.run(common),
        Command::Events(events) => events.run(common),
        Command::Report(report) => report.run(common),
        Command::Check(check) => check.run(common),
        Command::List(list) => list.run(common),
        Command::Show(show) => show.run(common),
        Command::Sweep(sweep) => sweep.run(common),
    }
}

impl From<SweepError> for CliError {
    /// Faults of a plan are shown like those of a scenario, troubles with folders like those of a record.
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::Plan(error) => Self::Plan(error),
            SweepError::Record(error) => Self::Record(error),
            error => Self::Sweep(error),
        }
    }
}

impl Overrides {
    fn load(&self, scenario: &str) -> Result<Scenario, ScenarioError> {
        Scenario::load(scenario, &self.set)
    }
}

/// Writes an error to stderr; every fault with its source line.
fn report(error: &ScenarioError, what: &str) {
    match error {
        ScenarioError::Faults(faults) => {
            for fault in faults {
                show(fault);
            }
            let plural = if faults.len() == 1 { "fault" } else { "faults" };
            eprintln!("{} {plural} in the {what}", faults.len());
        }
        other => show(other),
    }
}

fn show(diagnostic: &dyn Diagnostic) {
    let has_colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let theme = GraphicalTheme {
        characters: ThemeCharacters { error: "error:".to_owned(), ..ThemeCharacters::unicode() },
        styles: if has_colour { ThemeStyles::ansi() } else { ThemeStyles::none() },
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_wrap_lines(false)
        .without_cause_chain()
        .without_syntax_highlighting();
    let mut text = String::new();
    match handler.render_report(&mut text, &WithoutHelp(diagnostic)) {
        Ok(()) => eprintln!("{}", text.trim()),
        Err(_) => eprintln!("error: {diagnostic}"),
    }
    if let Some(hint) = diagnostic.help() {
        eprintln!("  hint: {hint}");
    }
}

/// A diagnostic whose help is shown apart, where it is called a hint.
#[derive(Debug)]
struct WithoutHelp<'a>(&'a dyn Diagnostic);

impl fmt::Display for WithoutHelp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for WithoutHelp<'_> {}

impl Diagnostic for WithoutHelp<'_> {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.0.labels()
    }
}
