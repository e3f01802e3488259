//! What reports are made of, without a browser: the files that runs record for them, the figures, the overview of events, and run
//! directories that are damaged. `browser.rs` has the pages themselves.

#[path = "browser/fixtures.rs"]
mod fixtures;

use fixtures::{gradflow, temporary, with_comparison, with_sweep};
use gradflow::record::{LimitWord, Run, Setting, StepRecord};
use gradflow::report::slides::slides;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A run that is small, saves θ, and has events and slides.
fn small(folder: &Path) -> Run {
    let arguments = ["run", "quickstart", "--out", "run", "--quiet", "--set", "data.samples=6"];
    let more = ["--set", "network.hidden=[5]", "--set", "save=(every: 0.5)", "--set", "flow.until=[Time(3)]"];
    gradflow(folder, &[&arguments[..], &more].concat());
    Run::open(&folder.join("run")).expect("a run")
}

fn raw(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gradflow"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("it can be started")
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

#[test]
fn steps_add_up_to_the_run_and_say_what_limited_them() {
    let folder = temporary();
    let run = small(folder.path());
    let steps: Vec<StepRecord> = run.steps().expect("steps").map(|s| s.expect("a step")).collect();
    let (s, work) = (run.summary(), run.summary().work.as_ref().expect("work"));
    assert_eq!(steps.len() as u64, work.steps);
    assert_eq!(steps.iter().map(|s| s.rejected).sum::<u64>(), work.rejected);
    let length: f64 = steps.iter().map(|s| s.length).sum();
    assert!(close(length, 3.0, 1e-13 * steps.len() as f64), "{length}");
    assert_eq!(steps.last().map(|s| (s.t, s.limit)), Some((3.0, LimitWord::End)));
    let at_events = steps.iter().filter(|s| s.limit == LimitWord::Event).map(|s| s.t);
    let mut instants: Vec<f64> = run.events().expect("events").map(|e| e.expect("an event").t).collect();
    instants.dedup();
    assert!(!instants.is_empty());
    let at_events: Vec<f64> = at_events.collect();
    assert!(instants.iter().all(|t| at_events.contains(t)), "every event ends a step");
    let identities = s.identities.as_ref().expect("identities");
    let worst = |of: fn(&StepRecord) -> Option<f64>| steps.iter().filter_map(of).fold(0.0, f64::max);
    assert_eq!(Some(worst(|s| Some(s.energy_defect))), identities.energy_defect);
    assert_eq!(Some(worst(|s| s.conservation_drift)), identities.conservation_drift);
    assert_eq!(Some(worst(|s| s.displacement_ratio)), identities.displacement_worst_ratio);
    assert_eq!(steps.last().map(|s| s.displacement), identities.displacement);
}

#[test]
fn stability_limits_the_tail_of_a_stiff_run_until_the_method_changes() {
    let folder = temporary();
    gradflow(folder.path(), &["run", "stiff", "--out", "run", "--quiet", "--no-report"]);
    let run = Run::open(&folder.path().join("run")).expect("a run");
    let steps: Vec<StepRecord> = run.steps().expect("steps").map(|s| s.expect("a step")).collect();
    let stable = steps.iter().filter(|s| s.limit == LimitWord::Stability);
    // Implicit steps have no such limit.
    assert!(stable.clone().count() > 10, "{} steps", stable.count());
    assert!(steps.iter().all(|s| s.limit != LimitWord::Stability || s.method_switches % 2 == 0));
    let switches = run.summary().work.as_ref().map(|w| w.method_switches);
    assert_eq!(steps.last().map(|s| s.method_switches), switches);
}

#[test]
fn spectra_have_the_extreme_eigenvalues_of_the_trajectory_and_its_trace() {
    let folder = temporary();
    let run = small(folder.path());
    let rows: Vec<_> = run.trajectory().expect("rows").map(|r| r.expect("a row")).collect();
    let spectra: Vec<_> = run.spectra().expect("spectra").map(|r| r.expect("a row")).collect();
    let mut times: Vec<f64> = spectra.iter().map(|r| r.t).collect();
    times.dedup();
    // The start, six save times, the end (a save time as well), and falls of the loss.
    assert!(times.len() >= 7, "{times:?}");
    for t in times {
        let all: Vec<f64> = spectra.iter().filter(|r| r.t == t).map(|r| r.eigenvalue).collect();
        assert_eq!(all.len(), run.summary().targets);
        assert!(all.windows(2).all(|pair| pair[0] >= pair[1]), "t = {t}: {all:?}");
        let row = rows.iter().find(|r| r.t == t).expect("a row at the same time");
        let (low, high) = (row.lambda_min.expect("tracked"), row.lambda_max.expect("tracked"));
        assert!(close(all[0], high, 1e-9), "t = {t}: {} against {high}", all[0]);
        assert!((all[all.len() - 1] - low).abs() <= 1e-9 * high, "t = {t}: {} against {low}", all[all.len() - 1]);
    }
}

#[test]
fn the_path_runs_from_the_start_to_the_end_and_conserves_what_the_record_says() {
    let folder = temporary();
    let run = small(folder.path());
    let (path, saved) = (run.path().expect("a path"), run.theta().expect("θ"));
    let p = path.n_parameters;
    let last = path.theta.len() - p;
    assert_eq!(path.theta[..p], saved.theta[..p]);
    assert_eq!(path.theta[last..], saved.theta[saved.theta.len() - p..]);
    assert_eq!((path.times[0], path.times[path.times.len() - 1]), (0.0, 3.0));
    // One hidden layer of five units between ten inputs and two outputs: W₁ (5 × 10), b₁, W₂ (2 × 5), b₂.
    let conserved: Vec<_> = run.conserved().expect("laws").map(|r| r.expect("a row")).collect();
    assert_eq!(conserved.len(), 5);
    let value = |theta: &[f64], u: usize| {
        let incoming: f64 = theta[10 * u..10 * u + 10].iter().map(|w| w * w).sum();
        let outgoing: f64 = (0..2).map(|m| theta[55 + 5 * m + u].powi(2)).sum();
        incoming + theta[50 + u].powi(2) - outgoing
    };
    for (u, row) in conserved.iter().enumerate() {
        assert_eq!((row.layer, row.channel), (1, u));
        let (first, end) = (value(&path.theta[..p], u), value(&path.theta[last..], u));
        assert!((row.initial - first).abs() < 1e-13, "unit {u}: {} against {first}", row.initial);
        assert!((row.last - end).abs() < 1e-13, "unit {u}: {} against {end}", row.last);
        assert!(row.largest_change >= (end - first).abs() - 1e-13 && row.largest_change < 1e-6, "{row:?}");
    }
}

#[test]
fn the_function_of_one_input_is_that_of_its_formula() {
    let folder = temporary();
    gradflow(folder.path(), &["run", "sliding-1d", "--out", "run", "--quiet"]);
    let run = Run::open(&folder.path().join("run")).expect("a run");
    let setting = Setting::of(&run).expect("a setting");
    // f(x) = −0.75·σ(0.875 x + 1) − 0.5 with leaky σ, whose kink is at −1/0.875.
    let inputs = [-3.0, -2.0, -1.0, 0.0, 0.5];
    let curve = setting.function(&[0.875, 1.0, -0.75, -0.5], &inputs);
    for (x, f) in inputs.iter().zip(&curve.outputs[0]) {
        let z = 0.875 * x + 1.0;
        let expected = -0.75 * z.max(0.25 * z) - 0.5;
        assert!((f - expected).abs() < 1e-15, "f({x}) = {f}, expected {expected}");
    }
    assert_eq!(curve.kinks.len(), 1);
    assert!((curve.kinks[0] + 1.0 / 0.875).abs() < 1e-15, "{:?}", curve.kinks);
    assert_eq!(setting.slopes(), [(0.0, Some(0.25), Some(1.0))]);
    let events: Vec<_> = run.events().expect("events").map(|e| e.expect("an event")).collect();
    let found = slides(&events, &run.summary().start, 4.0);
    assert_eq!(found.len(), 1);
    assert!((found[0].from - 2.4539).abs() < 1e-4 && (found[0].to - 2.7672).abs() < 1e-4, "{found:?}");
}

#[test]
fn figures_are_written_three_ways_and_their_numbers_are_those_of_the_record() {
    let folder = temporary();
    let run = small(folder.path());
    let written = gradflow(folder.path(), &["report", "run", "--figures", "figures"]);
    assert!(written.lines().count() >= 3 * 12, "{written}");
    let rows: Vec<_> = run.trajectory().expect("rows").map(|r| r.expect("a row")).collect();
    for path in written.lines().map(|line| folder.path().join(line)) {
        let bytes = fs::read(&path).expect("it was written");
        match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => {
                let text = String::from_utf8(bytes).expect("UTF-8");
                assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{}", path.display());
                assert!(
                    text.contains("time t")
                        || text.contains("component")
                        || text.contains("index")
                        || text.contains("unit")
                );
            }
            Some("png") => {
                let reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info();
                let mut reader = reader.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
                reader.next_frame(&mut pixels).expect("a frame");
                // Something dark is drawn, letters among it.
                assert!(pixels.iter().filter(|p| **p < 100).count() > 2000, "{} is blank", path.display());
            }
            Some("csv") => assert!(String::from_utf8_lossy(&bytes).lines().count() > 1, "{}", path.display()),
            other => panic!("{other:?}"),
        }
    }
    let text = fs::read_to_string(folder.path().join("figures/loss.csv")).expect("it exists");
    let numbers: Vec<(f64, f64)> = text
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            (cells[1].parse().expect("a time"), cells[2].parse().expect("a loss"))
        })
        .collect();
    assert_eq!(numbers, rows.iter().map(|r| (r.t, r.loss)).collect::<Vec<_>>());
}

#[test]
fn events_at_a_glance_add_up() {
    let folder = temporary();
    let run = small(folder.path());
    let events: Vec<_> = run.events().expect("events").map(|e| e.expect("an event")).collect();
    let text = gradflow(folder.path(), &["events", "run"]);
    assert!(text.starts_with(&format!("quickstart: {} events at ", events.len())), "{text}");
    let number = |line: &str, k: usize| line.split_whitespace().nth(k).and_then(|w| w.parse::<usize>().ok());
    let layer = text.lines().find(|l| l.trim_start().starts_with("layer 1 ")).expect("a line for the layer");
    assert_eq!(number(layer, 2), Some(events.len()));
    let bars: usize =
        text.lines().filter(|l| l.contains(" to ") && !l.contains("from")).filter_map(|l| number(l, 3)).sum();
    assert_eq!(bars, events.len(), "{text}");
    let only = gradflow(folder.path(), &["events", "run", "--kind", "slide_exit"]);
    let exits = events.iter().filter(|e| e.kind.as_str() == "slide_exit").count();
    assert!(only.contains(&format!(": {exits} events at")), "{only}");
    assert_eq!(gradflow(folder.path(), &["events", "run", "--list"]).lines().count(), events.len() + 1);
}

#[test]
fn a_damaged_record_gives_a_report_of_what_is_there_or_a_clear_error() {
    let folder = temporary();
    small(folder.path());
    let run = folder.path().join("run");
    let names: Vec<_> = fs::read_dir(&run).expect("files").map(|f| f.expect("a file").file_name()).collect();
    for name in names.iter().filter(|n| *n != "report.html") {
        let path = run.join(name);
        let right = fs::read(&path).expect("it exists");
        let missing = None;
        let cuts = [0, right.len() / 2, right.len() - 2].map(|n| Some(right[..n].to_vec()));
        let garbage = Some([&right[..right.len() / 2], b"\xff\xfe,,,\n\"x", &right[right.len() / 2..]].concat());
        for damaged in [missing, garbage].into_iter().chain(cuts) {
            match &damaged {
                Some(bytes) => fs::write(&path, bytes).expect("it can be written"),
                None => fs::remove_file(&path).expect("it can be removed"),
            }
            let output = raw(folder.path(), &["report", "run"]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            let length = damaged.map(|d| d.len());
            match output.status.code() {
                Some(0) => {
                    let page = fs::read_to_string(run.join("report.html")).expect("a page");
                    assert!(page.contains("</html>"), "{name:?} cut to {length:?}");
                    // A whole line less is not damage that can be seen, and some files are read by nobody here.
                    let is_told = page.contains("Missing or damaged");
                    let is_silent = name == "theta.npy" || name == "theta_times.csv" || length.is_some_and(|n| n > 0);
                    assert!(is_told || is_silent, "{name:?} cut to {length:?}: nothing is said");
                }
                Some(2) => assert!(name == "summary.json" && stderr.contains("summary.json"), "{name:?}: {stderr}"),
                other => panic!("{name:?} cut to {length:?}: {other:?}: {stderr}"),
            }
        }
        // The last cut is still there.
        let output = raw(folder.path(), &["report", "run", "--figures", "figures"]);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{name:?}: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(&path, &right).expect("it can be written");
    }
    let path = run.join("summary.json");
    let text = fs::read_to_string(&path).expect("it exists");
    fs::write(&path, text.replacen("\"schema\": 1", "\"schema\": 9", 1)).expect("it can be written");
    let output = raw(folder.path(), &["report", "run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected schema 1, found 9"));
}

#[test]
fn a_run_that_never_ended_has_a_report() {
    let folder = temporary();
    small(folder.path());
    let run = folder.path().join("run");
    for name in ["path.npy", "path_times.csv", "conserved.csv"] {
        fs::remove_file(run.join(name)).expect("it exists");
    }
    let mut summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.join("summary.json")).expect("it exists")).expect("JSON");
    summary["status"] = "running".into();
    for key in
        ["stop_reason", "stop_message", "t_end", "loss_final", "lambda0", "bound", "events", "work", "identities"]
    {
        summary[key] = serde_json::Value::Null;
    }
    fs::write(run.join("summary.json"), summary.to_string()).expect("it can be written");
    gradflow(folder.path(), &["report", "run"]);
    let page = fs::read_to_string(run.join("report.html")).expect("a page");
    assert!(page.contains("still running") && page.contains("figure-loss"), "it says so and shows the loss");
    assert!(!page.contains("Missing or damaged"), "nothing is missing from a run under way");
}

#[test]
fn runs_side_by_side_and_sweeps_have_pages_and_figures() {
    let folder = temporary();
    with_comparison(folder.path());
    let page = fs::read_to_string(folder.path().join("side-by-side.html")).expect("a page");
    for text in ["sliding-1d", "one-neuron", "integral bound", "figure-lambda"] {
        assert!(page.contains(text), "{text}");
    }
    let compared = fs::read_to_string(folder.path().join("compared/report.html")).expect("a page");
    for text in ["Theorem 3.1", "η = 0.05: after 80 steps", "figure-sharpness", "figure-distance"] {
        assert!(compared.contains(text), "{text}");
    }
    let table = fs::read_to_string(folder.path().join("compared/sharpness.csv")).expect("a table");
    let column = table.lines().skip(1).map(|line| line.split(',').nth(2).expect("four columns"));
    let largest = column.map(|cell| cell.parse().expect("a number")).fold(0.0, f64::max);
    let told = format!("The sharpness is at most {}", gradflow::report::significant(Some(largest)));
    assert!(compared.contains(&told), "{told}");
    with_sweep(folder.path());
    let written = gradflow(folder.path(), &["report", "sweep"]);
    assert_eq!(written.trim(), "sweep/report.html");
    let page = fs::read_to_string(folder.path().join("sweep/report.html")).expect("a page");
    for text in
        ["3 cells, 2 of them completed", "network.hidden", "figure-sweep-curves", "figure-sweep-rate", "cells/00002"]
    {
        assert!(page.contains(text), "{text}");
    }
    let written = gradflow(folder.path(), &["report", "sweep", "--figures", "figures", "--log-time"]);
    assert_eq!(written.lines().count(), 3 * 4, "{written}");
}

#[test]
fn the_python_example_reads_a_run() {
    let python = std::env::var("GRADFLOW_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import numpy, pandas"]).output().is_ok_and(|o| o.status.success());
    if !has {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "NOT RUN: the Python example: {python} has no numpy and pandas");
        return;
    }
    let folder = temporary();
    let run = small(folder.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/read_run.py");
    let output = Command::new(&python).arg(script).arg(folder.path().join("run")).output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("bound holds") && text.contains(": ok"), "{text}");
    let events: Vec<_> = run.events().expect("events").map(|e| e.expect("an event")).collect();
    let all = slides(&events, &run.summary().start, 3.0);
    let longest = all.iter().map(|s| s.duration()).fold(0.0, f64::max);
    assert!(text.contains(&format!("{} slides; the ten longest:", all.len())), "{text}");
    assert!(text.contains(&format!("{longest:.4}")[..5]), "{longest}: {text}");
}
