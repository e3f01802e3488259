//! The program as scripts see it: what `run` and `events` write, where, and with which exit code.
//!
//! The names of files, columns and keys are a contract; these tests hold them against their literal text.

mod common;

use common::program::{gradflow, refused, silently as ok};
use gradflow::record::{Run, Status};
use serde_json::Value;
use std::fs;
use std::path::Path;

const RECORD: [&str; 10] = [
    "trajectory.csv",
    "events.csv",
    "theta.npy",
    "theta_times.csv",
    "scenario.ron",
    "steps.csv",
    "spectrum.csv",
    "conserved.csv",
    "path.npy",
    "path_times.csv",
];

const TRAJECTORY: &str = "t,side,loss,residual_norm,gradient_norm,lambda_min,lambda_max,bound,integral_bound,rayleigh,\
    step,sliding";
const EVENTS: &str = "index,t,kind,layer,unit,sample,breakpoint,direction,rate_before,rate_after,lambda_min_before,\
    lambda_min_after,loss,sliding";

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn summary(run: &Path) -> Value {
    serde_json::from_str(&read(&run.join("summary.json"))).expect("JSON")
}

/// The summary without what differs from run to run.
fn timeless(run: &Path) -> Value {
    let mut summary = summary(run);
    summary["wall_seconds"] = Value::Null;
    summary
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[track_caller]
fn has_keys(value: &Value, expected: &str) {
    let found = keys(value);
    for key in expected.split_whitespace() {
        assert!(found.contains(&key), "no `{key}` in {found:?}");
    }
}

#[test]
fn a_run_writes_the_files_columns_and_keys_of_the_contract() {
    let folder = temporary();
    let stdout = ok(folder.path(), &["run", "sliding-1d", "--set", "save=(times: [0, 1, 2.5])", "--audit", "40"]);
    assert!(stdout.starts_with("sliding-1d: P = 4 parameters, nM = 2 targets, 2 switching surfaces\n"), "{stdout}");
    assert!(stdout.contains("missed events: 0 of 40 times checked"), "{stdout}");
    assert!(stdout.contains("runs/sliding-1d"), "{stdout}");
    let run = folder.path().join("runs/sliding-1d");

    let trajectory = read(&run.join("trajectory.csv"));
    assert_eq!(trajectory.lines().next(), Some(TRAJECTORY));
    let sides: Vec<&str> = trajectory.lines().skip(1).filter_map(|line| line.split(',').nth(1)).collect();
    assert!(sides.iter().all(|side| ["", "before", "after"].contains(side)));
    assert_eq!(sides.iter().filter(|s| **s == "before").count(), sides.iter().filter(|s| **s == "after").count());

    let events = read(&run.join("events.csv"));
    assert_eq!(events.lines().next(), Some(EVENTS));
    let kinds: Vec<&str> = events.lines().skip(1).filter_map(|line| line.split(',').nth(2)).collect();
    assert!(kinds.contains(&"slide_enter") && kinds.contains(&"slide_exit"), "{events}");

    let s = summary(&run);
    has_keys(
        &s,
        "schema scenario seed version status stop_reason t_end parameters targets surfaces loss_initial loss_final \
         residual_initial residual_final lambda0 bound events work identities wall_seconds start branch_points audit",
    );
    has_keys(&s["lambda0"], "value t side resolution rank");
    has_keys(&s["bound"], "verdict worst_ratio worst_t integral_worst_ratio reason integral_verdict integral_reason");
    has_keys(&s["events"], "crossing slide_enter slide_exit graze simultaneous max_sliding smallest_gap");
    has_keys(
        &s["work"],
        "steps rejected gradient_evaluations jvp_evaluations gram_evaluations eigen_solves method \
         single_value_evaluations decay_estimates linearisations linear_solves method_switches",
    );
    has_keys(
        &s["identities"],
        "energy_defect conserved n_conserved none_conserved_because conservation_drift displacement_bound_ok \
         displacement_worst_ratio",
    );
    assert_eq!((&s["schema"], &s["status"]), (&1.into(), &"completed".into()));
    assert_eq!((&s["stop_reason"], &s["t_end"]), (&"horizon".into(), &4.0.into()));
    assert_eq!((&s["audit"]["checked"], &s["audit"]["missed"]), (&40.into(), &0.into()));
    for kind in ["crossing", "slide_enter", "slide_exit", "graze"] {
        assert_eq!(s["events"][kind], kinds.iter().filter(|k| **k == kind).count(), "{kind}");
    }
    assert_eq!(s["events"]["max_sliding"], 1);

    let array = npyz::NpyFile::new(fs::File::open(run.join("theta.npy")).expect("it exists")).expect("an array");
    assert_eq!(array.shape(), [4, 4]);
    let theta: Vec<f64> = array.into_vec().expect("f64");
    assert_eq!(theta[..4], [0.875, 1.0, -0.75, -0.5]);
    assert_eq!(read(&run.join("theta_times.csv")), "t\n0.0\n1.0\n2.5\n4.0\n");
}

#[test]
fn the_library_reads_back_what_was_written() {
    let folder = temporary();
    ok(folder.path(), &["run", "sliding-1d"]);
    let run = Run::open(&folder.path().join("runs/sliding-1d")).expect("a run");
    let s = run.summary();
    assert_eq!(s.status, Status::Completed);
    let events: Vec<_> = run.events().expect("events").collect::<Result<_, _>>().expect("well formed");
    assert_eq!(events.len() as u64, s.events.as_ref().expect("a finished run has counts").total());
    assert!(events.windows(2).all(|pair| pair[0].t <= pair[1].t));
    let rows: Vec<_> = run.trajectory().expect("rows").collect::<Result<_, _>>().expect("well formed");
    assert_eq!((rows[0].t, Some(rows[0].loss)), (0.0, s.loss_initial));
    let last = rows[rows.len() - 1];
    assert_eq!((Some(last.t), Some(last.loss)), (s.t_end, s.loss_final));
    let saved = run.theta().expect("θ");
    assert_eq!((saved.times, saved.theta.len(), saved.n_parameters), (vec![0.0, 4.0], 8, 4));
    // The bound belongs to the λ₀ of the whole run, also in rows that were written before it was found.
    let lambda0 = s.lambda0.as_ref().and_then(|l| l.value).expect("tracked");
    let residual = s.residual_initial.expect("finite");
    for row in rows {
        assert_eq!(row.bound, Some((-lambda0 * row.t).exp() * residual), "t = {}", row.t);
    }
}

#[test]
fn a_run_is_the_same_in_every_byte_for_any_thread_count_and_from_its_own_scenario() {
    let folder = temporary();
    let arguments = ["--set", "data.samples=6", "--set", "network.hidden=[5]", "--set", "save=(every: 0.25)"];
    let run = |out: &str, threads: &str, scenario: &str, arguments: &[&str]| {
        let start = ["run", scenario, "--out", out, "--threads", threads];
        ok(folder.path(), &[&start, arguments].concat());
        folder.path().join(out)
    };
    let first = run("a", "1", "quickstart", &arguments);
    let resolved = first.join("scenario.ron");
    let others = [
        run("b", "2", "quickstart", &arguments),
        run("c", "1", "quickstart", &arguments),
        run("d", "1", &resolved.to_string_lossy(), &[]),
    ];
    for other in others {
        for file in RECORD {
            let bytes = |run: &Path| fs::read(run.join(file)).expect("it exists");
            assert!(bytes(&first) == bytes(&other), "{} differs from the first", other.join(file).display());
        }
        assert_eq!(timeless(&first), timeless(&other));
    }
    // Over itself: the scenario is read before it is replaced.
    let before = fs::read(first.join("trajectory.csv")).expect("it exists");
    run("a", "1", &resolved.to_string_lossy(), &[]);
    assert!(before == fs::read(first.join("trajectory.csv")).expect("it exists"));
}

#[test]
fn work_of_implicit_methods_is_recorded_and_shown_where_there_is_any() {
    let folder = temporary();
    let run = |method: &str| {
        let method = format!("flow.method={method}");
        let text = ok(folder.path(), &["run", "tanh", "--set", &method, "--set", "ntk.track=false"]);
        let line = text.lines().find_map(|line| line.strip_prefix("  work ")).expect("a line").to_owned();
        (line, summary(&folder.path().join("runs/tanh"))["work"].clone())
    };
    let (line, work) = run("Tsit5");
    assert!(line.ends_with(" 0 eigenvalue solves"), "{line}");
    for counter in ["linearisations", "linear_solves", "method_switches"] {
        assert_eq!(work[counter], 0, "{counter}");
    }
    let (line, work) = run("Esdirk54");
    let count = |counter: &str| work[counter].as_u64().expect("a number");
    let (linearisations, solves) = (count("linearisations"), count("linear_solves"));
    // Every attempt is linearised once and solves for six stages. The last step, in which the loss target is met, is taken anew to end there.
    assert_eq!(linearisations, count("steps") + count("rejected") + 1);
    assert!(solves >= 6 * linearisations && count("method_switches") == 0, "{work}");
    assert!(line.ends_with(&format!(", {linearisations} linearisations, {solves} linear solves")), "{line}");
}

#[test]
fn check_counts_parameters_in_the_words_of_the_architecture() {
    let folder = temporary();
    for (scenario, more, formula) in [
        ("quickstart", "", "Σ N_l (N_{l−1} + 1) = 32·(10 + 1) + 32·(32 + 1) + 2·(32 + 1) = 1474"),
        ("quickstart", "network.bias=false", "Σ N_l N_{l−1} = 32·10 + 32·32 + 2·32 = 1408"),
        ("prelu", "", "Σ N_l (N_{l−1} + 1) + 1 per hidden layer = 6·(3 + 1) + 1 + 6·(6 + 1) + 1 + 1·(6 + 1) = 75"),
        ("residual", "", "L (N² + N) = 4·(4 + 1) + 4·(4 + 1) + 4·(4 + 1) + 4·(4 + 1) = 80"),
        ("graph-conv", "", "Σ N_l (N_{l−1} + m) = 8·(2 + 12) + 8·(8 + 12) + 1·(8 + 12) = 292"),
        (
            "graph-readout",
            "network.bias=PerNode",
            "Σ N_l (N_{l−1} + m) (l < L) + N_L (N_{L−1} + 1) = 6·(2 + 4) + 6·(6 + 4) + 1·(6 + 1) = 103",
        ),
        ("chebyshev", "", "Σ N_l (K N_{l−1} + 1) = 6·(6 + 1) + 1·(18 + 1) = 61"),
        ("graph-conv-morris", "", "Σ N_l (2 N_{l−1} + 1) = 8·(4 + 1) + 1·(16 + 1) = 57"),
        (
            "conv",
            "",
            "Σ C_l (C_{l−1}/g_l k_1 k_2 + 1) + Σ N_l (N_{l−1} + 1) \
             = 4·(9 + 1) + 4·(12 + 1) + 6·(8 + 1) + 2·(6 + 1) = 160",
        ),
        ("siamese", "", "Σ N_l (N_{l−1} + 1) (l < L) + N_L (N_{L−1} + 1) = 8·(3 + 1) + 6·(8 + 1) + 1·(6 + 1) = 93"),
        ("polynomial", "network.bias=false", "Σ N_l (N_{l−1} + N_{l−1} (N_{l−1} + 1)/2) = 5·9 + 3·20 + 1·9 = 114"),
    ] {
        let set = if more.is_empty() { vec![] } else { vec!["--set", more] };
        let text = ok(folder.path(), &[&["check", scenario], &set[..]].concat());
        assert!(text.contains(&format!("\n  parameters P          {formula}\n")), "expected {formula}\n{text}");
        let json = ok(folder.path(), &[&["check", scenario, "--json"], &set[..]].concat());
        let checked: Value = serde_json::from_str(&json).expect("JSON");
        has_keys(&checked, "schema scenario parameters formula targets overparametrised surfaces conserved");
        let sum = format!("{} = {}", checked["formula"].as_str().expect("a text"), checked["parameters"]);
        assert_eq!(sum, formula);
    }
}

#[test]
fn check_promises_no_bound_for_losses_beyond_the_theory() {
    let folder = temporary();
    for (loss, answer) in [("SquaredError", "yes"), ("Logistic", "yes, but the theorem is about the squared error")] {
        let data = "data=Inline(x: [[1], [2]], y: [[0], [1]])";
        let text = ok(folder.path(), &["check", "tanh", "--set", data, "--set", &format!("loss={loss}")]);
        assert!(text.contains(&format!("\n  P >= nM               {answer}\n")), "{text}");
    }
}

#[test]
fn check_and_run_say_how_many_quantities_are_conserved_or_why_none_is() {
    let folder = temporary();
    for (scenario, n_conserved, reason) in [
        ("one-neuron", 1, None),
        ("tanh", 0, Some("the activation is not positively homogeneous")),
        (
            "residual",
            0,
            Some("sums tie every hidden unit to the data or to the outputs, so that no rescaling can be undone"),
        ),
    ] {
        let json = ok(folder.path(), &["check", scenario, "--json"]);
        let checked: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&checked["conserved"], &checked["none_conserved_because"]), (&n_conserved.into(), &reason.into()));
        let shown = reason.map_or(n_conserved.to_string(), |reason| format!("none: {reason}"));
        let text = ok(folder.path(), &["check", scenario]);
        assert!(text.contains(&format!("\n  conserved quantities  {shown}\n")), "{text}");

        let short = ["run", scenario, "--set", "flow.until=[Time(0.01)]", "--set", "save=()"];
        let text = ok(folder.path(), &short);
        let shown = reason.map_or("1 conserved quantity drifts".to_owned(), |r| format!("nothing conserved: {r};"));
        assert!(text.contains(&shown), "{text}");
        let identities = &summary(&folder.path().join("runs").join(scenario))["identities"];
        assert_eq!(
            (&identities["n_conserved"], &identities["conserved"]),
            (&n_conserved.into(), &(n_conserved > 0).into())
        );
        assert_eq!(
            (&identities["none_conserved_because"], identities["conservation_drift"].is_null()),
            (&reason.into(), n_conserved == 0)
        );
    }
}

#[test]
fn embedded_scenarios_of_architectures_slide_and_miss_nothing() {
    let folder = temporary();
    for (scenario, n_conserved, verdict) in [
        ("residual", 0, "vacuous"),
        ("graph-conv", 16, "holds"),
        ("graph-readout", 12, "holds"),
        ("chebyshev", 6, "holds"),
        ("graph-conv-morris", 8, "holds"),
        ("conv", 14, "holds"),
        ("conv-1d", 8, "holds"),
        ("conv-residual", 4, "holds"),
        ("unet", 13, "holds"),
        ("mobile-net", 28, "holds"),
        ("siamese", 14, "holds"),
        ("polynomial", 8, "holds"),
    ] {
        let json = ok(folder.path(), &["run", scenario, "--audit", "200", "--json", "--out", "run"]);
        let s: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&s["stop_reason"], &s["audit"]["missed"]), (&"loss_ratio".into(), &0.into()), "{scenario}");
        assert_eq!((&s["bound"]["verdict"], &s["bound"]["integral_verdict"]), (&verdict.into(), &"holds".into()));
        let slides = &s["events"]["slide_enter"];
        assert!(slides.as_u64().is_some_and(|n| n > 0) && s["branch_points"] == serde_json::json!([]), "{scenario}");
        let identities = &s["identities"];
        assert_eq!(identities["n_conserved"], n_conserved, "{scenario}");
        let defect = identities["energy_defect"].as_f64().expect("finite");
        let drift = identities["conservation_drift"].as_f64().unwrap_or(0.0);
        assert!(defect < 1e-6 && drift < 1e-7, "{scenario}: energy {defect:e}, drift {drift:e}, rtol 1e-8");
    }
}

#[test]
fn both_bounds_of_a_singular_gram_matrix_are_vacuous() {
    let folder = temporary();
    ok(folder.path(), &["run", "singular-piece"]);
    let bound = &summary(&folder.path().join("runs/singular-piece"))["bound"];
    assert_eq!((&bound["verdict"], &bound["integral_verdict"]), (&"vacuous".into(), &"vacuous".into()), "{bound}");
}

#[test]
fn data_files_are_kept_with_the_record() {
    let folder = temporary();
    let short = ["--set", "flow.until=[Time(0.001)]", "--set", "save=()"];
    ok(folder.path(), &[&["run", "csv-regression", "--out", "a"], &short[..]].concat());
    assert!(folder.path().join("a/data/iris.csv").is_file());
    ok(folder.path(), &["run", "a/scenario.ron", "--out", "b"]);
    assert_eq!(read(&folder.path().join("a/trajectory.csv")), read(&folder.path().join("b/trajectory.csv")));
}

#[test]
fn an_untracked_run_has_empty_cells_and_null() {
    let folder = temporary();
    let stdout = ok(folder.path(), &["run", "one-neuron", "--set", "ntk.track=false", "--json"]);
    let printed: Value = serde_json::from_str(&stdout).expect("JSON");
    let run = folder.path().join("runs/one-neuron");
    assert_eq!(printed, summary(&run));
    assert_eq!((&printed["lambda0"], &printed["bound"]["verdict"]), (&Value::Null, &"unresolved".into()));
    let trajectory = read(&run.join("trajectory.csv"));
    let cells: Vec<&str> = trajectory.lines().nth(1).expect("a row").split(',').collect();
    assert_eq!(cells[5..9], ["", "", "", ""]);
}

#[test]
fn stdout_has_the_summary_and_stderr_nothing_without_a_terminal() {
    let folder = temporary();
    let loud = ok(folder.path(), &["run", "one-neuron"]);
    let quiet = ok(folder.path(), &["run", "one-neuron", "--quiet"]);
    for text in [&loud, &quiet] {
        assert!(text.contains("lambda_0") && text.contains("holds") && !text.contains('\x1b'), "{text}");
    }
}

#[test]
fn the_folder_of_a_run_is_replaced_and_any_other_is_left_alone() {
    let folder = temporary();
    ok(folder.path(), &["run", "one-neuron", "--out", "a"]);
    fs::write(folder.path().join("a/report.html"), "old").expect("writable");
    ok(folder.path(), &["run", "sliding-1d", "--out", "a", "--no-report"]);
    assert_eq!(summary(&folder.path().join("a"))["scenario"], "sliding-1d");
    assert!(!folder.path().join("a/report.html").exists(), "the report of another run was left behind");
    ok(folder.path(), &["run", "one-neuron", "--out", "a"]);
    assert!(read(&folder.path().join("a/report.html")).contains("<h1>one-neuron</h1>"));

    fs::create_dir(folder.path().join("other")).expect("writable");
    fs::write(folder.path().join("other/thesis.tex"), "mine").expect("writable");
    let stderr = refused(folder.path(), &["run", "one-neuron", "--out", "other"]);
    assert!(stderr.contains("`other` is not empty and is not a gradflow run") && stderr.contains("--out"), "{stderr}");
    assert_eq!(fs::read_dir(folder.path().join("other")).expect("readable").count(), 1);

    fs::write(folder.path().join("file"), "").expect("writable");
    let stderr = refused(folder.path(), &["run", "one-neuron", "--out", "file"]);
    assert!(stderr.contains("`file` is a file, expected a folder"), "{stderr}");
    // Below a file no folder can be made, whoever tries.
    let stderr = refused(folder.path(), &["run", "one-neuron", "--out", "file/below"]);
    assert!(stderr.contains("cannot create `file/below`") && stderr.contains("hint:"), "{stderr}");
    let stderr = refused(folder.path(), &["run", "one-neuron", "--set", "name=\"../up\""]);
    assert!(stderr.contains("`../up` cannot be the name of a folder"), "{stderr}");
}

#[test]
fn wrong_usage_is_told_with_a_hint() {
    let folder = temporary();
    let stderr = refused(folder.path(), &["run", "slidng-1d"]);
    assert!(stderr.contains("did you mean `sliding-1d`?"), "{stderr}");
    refused(folder.path(), &["run", "one-neuron", "--threads", "0"]);
    refused(folder.path(), &["run", "one-neuron", "--frobnicate"]);
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0, "something was written");
}

#[test]
fn a_run_that_gives_up_keeps_its_record_and_ends_with_4() {
    let folder = temporary();
    let output = gradflow(folder.path(), &["run", "sliding-1d", "--set", "flow.max_steps=5"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("raise flow.max_steps"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("STOPPED EARLY"));
    let s = summary(&folder.path().join("runs/sliding-1d"));
    assert_eq!((&s["status"], &s["stop_reason"]), (&"stopped".into(), &"step_limit".into()));
}

#[test]
fn events_are_listed_filtered_and_counted() {
    let folder = temporary();
    ok(folder.path(), &["run", "sliding-1d"]);
    let run = "runs/sliding-1d";
    let all = read(&folder.path().join("runs/sliding-1d/events.csv"));
    assert_eq!(ok(folder.path(), &["events", run, "--csv"]), all);
    let table = ok(folder.path(), &["events", run, "--list"]);
    assert_eq!(table.lines().count(), all.lines().count());
    assert!(table.contains("slide_enter") && table.contains("2.4539"), "{table}");

    let exits = ok(folder.path(), &["events", run, "--csv", "--kind", "slide_exit"]);
    assert_eq!(exits.lines().count(), 2);
    assert!(exits.contains("slide_exit,1,0,1,0,down"), "{exits}");
    for none in [["--layer", "2"], ["--unit", "1"], ["--sample", "7"], ["--from", "3.9"], ["--to", "0.001"]] {
        let listed = ok(folder.path(), &[&["events", run, "--csv"], &none[..]].concat());
        assert_eq!(listed.lines().count(), 1, "{none:?}: {listed}");
    }
    let window = ok(folder.path(), &["events", run, "--csv", "--from", "2.4", "--to", "2.5", "--layer", "1"]);
    assert_eq!(window.lines().count(), 2, "{window}");

    let counts: Value = serde_json::from_str(&ok(folder.path(), &["events", run, "--count", "--json"])).expect("JSON");
    assert_eq!((&counts["slide_enter"], &counts["slide_exit"]), (&1.into(), &1.into()));
    assert_eq!(counts["total"], all.lines().count() - 1);
    let text = ok(folder.path(), &["events", run, "--count", "--kind", "slide_enter"]);
    assert!(text.lines().any(|line| line.split_whitespace().eq(["total", "1"])), "{text}");
    let listed: Value = serde_json::from_str(&ok(folder.path(), &["events", run, "--json"])).expect("JSON");
    assert_eq!(listed["events"].as_array().map(Vec::len), Some(all.lines().count() - 1));
}

#[test]
fn a_record_that_cannot_be_read_is_told_with_its_place() {
    let folder = temporary();
    let stderr = refused(folder.path(), &["events", "nowhere"]);
    assert!(stderr.contains("`nowhere` is not a gradflow run: there is no such folder"), "{stderr}");
    let stderr = refused(folder.path(), &["events", "."]);
    assert!(stderr.contains("it has no summary.json"), "{stderr}");

    ok(folder.path(), &["run", "sliding-1d", "--out", "a"]);
    let path = folder.path().join("a/events.csv");
    let right = read(&path);
    let first = right.lines().nth(1).expect("an event");
    for (wrong, message) in [
        (
            right.replacen("slide_enter", "slid", 1),
            "a/events.csv:2: unknown variant `slid`, expected one of `crossing`",
        ),
        (right.replacen("0,2.45", "0,x2.45", 1), "a/events.csv:2: column t: found `x2.45"),
        (right.replacen(first, &first[..9], 1), "a/events.csv:2: expected 14 cells"),
        (right.replacen("unit", "units", 1), "a/events.csv:1: expected the columns index,t,kind"),
    ] {
        fs::write(&path, wrong).expect("writable");
        // Lines before the wrong one may already be on stdout.
        let output = gradflow(folder.path(), &["events", "a"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr.contains(message), "expected {message}\n{stderr}");
    }
    fs::remove_file(&path).expect("writable");
    assert!(refused(folder.path(), &["events", "a"]).contains("cannot read `a/events.csv`"));
    let json = read(&folder.path().join("a/summary.json"));
    fs::write(folder.path().join("a/summary.json"), json.replace("\"schema\": 1", "\"schema\": 9")).expect("writable");
    assert!(refused(folder.path(), &["events", "a"]).contains("expected schema 1, found 9"));
}

/// Starts a run that would take for ever and waits until some of its rows are on disk.
fn endless(folder: &Path) -> std::process::Child {
    use std::time::{Duration, Instant};
    let program = assert_cmd::cargo::cargo_bin("gradflow");
    let child = std::process::Command::new(program)
        .current_dir(folder)
        .args([
            "run",
            "quickstart",
            "--quiet",
            "--set",
            "flow.until=[LossRatio(1e-300)]",
            "--set",
            "flow.max_steps=1000000000",
        ])
        .args(["--set", "save=(every: 1e-3)"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it can be started");
    let trajectory = folder.join("runs/quickstart/trajectory.csv");
    let deadline = Instant::now() + Duration::from_secs(120);
    while fs::metadata(&trajectory).map_or(0, |file| file.len()) < 5000 {
        assert!(Instant::now() < deadline, "the run did not get going");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Every file of a partial record is well formed; the last time of the trajectory is returned.
fn last_time(run: &Run) -> f64 {
    let rows: Vec<_> = run.trajectory().expect("rows").collect::<Result<_, _>>().expect("well formed");
    run.events().expect("events").for_each(|event| assert!(event.is_ok()));
    let saved = run.theta().expect("θ");
    assert!(saved.theta.len() == saved.times.len() * saved.n_parameters && !saved.times.is_empty());
    rows[rows.len() - 1].t
}

/// An interrupted run ends by itself with 130, and its record is complete up to there.
#[cfg(unix)]
#[test]
fn ctrl_c_keeps_the_record() {
    let folder = temporary();
    let mut child = endless(folder.path());
    let signalled = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(signalled.is_ok_and(|status| status.success()));
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    let run = Run::open(&folder.path().join("runs/quickstart")).expect("readable");
    assert_eq!((run.summary().status, run.summary().stop_reason.as_deref()), (Status::Stopped, Some("interrupted")));
    assert_eq!(Some(last_time(&run)), run.summary().t_end);
    assert_eq!(run.theta().expect("θ").times.last().copied(), run.summary().t_end);
}

/// A run that was killed has written whole lines and whole rows, and says that it was under way.
#[test]
fn a_crash_leaves_files_that_can_be_read() {
    let folder = temporary();
    let mut child = endless(folder.path());
    child.kill().expect("it is running");
    child.wait().expect("it ends");
    let run = Run::open(&folder.path().join("runs/quickstart")).expect("readable");
    assert_eq!((run.summary().status, run.summary().t_end), (Status::Running, None));
    assert!(last_time(&run) > 0.0);
    // And it can be replaced by a new one.
    ok(folder.path(), &["run", "one-neuron", "--out", "runs/quickstart"]);
}

#[test]
fn a_flow_is_recorded_alike_by_run_compare_and_verify() {
    let folder = temporary();
    for command in ["run", "compare", "verify"] {
        let settings = ["gd-versus-flow", "--set", "ntk.track=EveryEvent", "--out", command];
        gradflow(folder.path(), &[&[command], &settings[..]].concat());
    }
    for file in RECORD {
        let read = |command: &str| {
            fs::read(folder.path().join(command).join(file)).unwrap_or_else(|_| panic!("{command}: {file}"))
        };
        let expected = read("run");
        assert!(!expected.is_empty(), "{file} is empty");
        for command in ["compare", "verify"] {
            assert!(read(command) == expected, "{command} writes another {file} than run");
        }
    }
}
