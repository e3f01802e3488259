//! Instructions that the program executes in fixed short runs, counted by valgrind and set beside the counts kept in `instructions.txt`.
//! They do not depend on how busy a machine is, so a slowdown shows where times are noise. See README.md of this folder.

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, ExitCode};

/// A run: its name, and what is overridden in the quickstart scenario.
struct Run {
    name: &'static str,
    overrides: &'static [&'static str],
}

const RUNS: [Run; 3] = [
    Run { name: "flow", overrides: &["ntk.track=false", "flow.until=[Time(0.05)]"] },
    Run { name: "flow_and_lambda_min", overrides: &["ntk.track=Adaptive", "flow.until=[Time(0.02)]"] },
    Run {
        name: "wide_strides",
        overrides: &[
            "data=Ball(samples: 50, inputs: 100, outputs: 5)",
            "network=Dense(hidden: [50, 50])",
            "ntk.track=false",
            "flow.until=[Time(0.01)]",
            "flow.rtol=1e-6",
            "flow.atol=1e-8",
        ],
    },
];

/// Where the counts are kept: lines of a name and a number after lines that begin with #.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says so when it benches; without the word it only tests that benches run.
    if !arguments.iter().any(|a| a == "--bench") {
        println!("instructions are counted by `cargo bench --bench instructions` alone");
        return ExitCode::SUCCESS;
    }
    match Command::new("valgrind").arg("--version").output() {
        Ok(version) => print!("{}", String::from_utf8_lossy(&version.stdout)),
        Err(error) => {
            println!("no instructions are counted: valgrind cannot be started ({error})");
            return ExitCode::SUCCESS;
        }
    }
    match compare(arguments.iter().any(|a| a == "--keep")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts every run and prints it beside what is kept, or keeps it.
fn compare(keep: bool) -> io::Result<()> {
    let kept = std::fs::read_to_string(KEPT)?;
    let before = counts_in(&kept);
    let mut lines: String = kept.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    println!("{:<20} {:>16} {:>16} {:>8}", "run", "instructions", "kept", "ratio");
    for run in &RUNS {
        let count = count(run)?;
        let (kept, ratio) = before.get(run.name).map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |&kept| (kept.to_string(), format!("{:.4}", count as f64 / kept as f64)),
        );
        println!("{:<20} {count:>16} {kept:>16} {ratio:>8}", run.name);
        lines.push_str(&format!("{} {count}\n", run.name));
    }
    if keep {
        std::fs::write(KEPT, lines)?;
        println!("kept in {KEPT}");
    }
    Ok(())
}

fn counts_in(kept: &str) -> BTreeMap<&str, u64> {
    let parts = kept.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    parts.filter_map(|(name, count)| Some((name, count.trim().parse().ok()?))).collect()
}

/// Instructions of one run of the program, from its start to its end.
fn count(run: &Run) -> io::Result<u64> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", env!("CARGO_BIN_EXE_gradflow")]);
    command.args(["run", "quickstart", "--quiet", "--no-report", "--threads", "1", "--out"]);
    command.args(["record", "--set", "descent=[]"]).current_dir(folder.path());
    for set in run.overrides {
        command.args(["--set", set]);
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    match collected.and_then(|count| count.parse().ok()) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(io::Error::other(format!("{}: no count ({}):\n{said}", run.name, output.status))),
    }
}
