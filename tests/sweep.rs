//! Sweeps: the table does not depend on how it came about (threads, shards, kills), its figures are those of single runs and of closed
//! forms, and a wrong plan is told before anything runs.

mod common;

use common::program::{gradflow, ok, refused};
use gradflow::record::{Run, Status, file as run_file};
use gradflow::scenario::{Folder, Scenario, Sizes, Source};
use gradflow::sweep::{Row, Shard, SweepError, SweepPlan, file, run};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::Path;
use std::process::{self, Stdio};
use std::time::Duration;

/// Two widths and twelve seeds, some tens of milliseconds each.
const GRID: &str = r#"(
    base: (
        name: "small",
        data: Ball(samples: 10, inputs: 4, outputs: 2),
        network: Dense(hidden: [4, 4]),
        activation: LeakyRelu(0.1),
        flow: (until: [LossRatio(1e-2), Time(2.0)]),
    ),
    axes: [
        (key: "network.hidden", values: [[3, 3], [6, 6]]),
        (key: "seed", values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    ],
    losses_at: [0.25, 1],
)
"#;
const N_CELLS: usize = 24;

/// Starts the program without waiting for it.
fn start(folder: &Path, arguments: &[&str]) -> process::Child {
    let mut command = process::Command::new(env!("CARGO_BIN_EXE_gradflow"));
    command.current_dir(folder).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("it can be started")
}

fn with_plan(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("grid.ron"), text).expect("it can be written");
    folder
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The table without its last column, the wall time.
fn timeless(sweep: &Path) -> Vec<String> {
    let table = read(&sweep.join(file::TABLE));
    table.lines().map(|line| line.rsplit_once(',').expect("more than one column").0.to_owned()).collect()
}

fn finished(sweep: &Path) -> Vec<String> {
    let entries = fs::read_dir(sweep.join(file::CELLS)).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".tmp")).collect();
    names.sort();
    names
}

/// Waits until so many cells are finished; false when the program ended before.
fn wait_for(child: &mut process::Child, sweep: &Path, n_cells: usize) -> bool {
    while finished(sweep).len() < n_cells {
        if child.try_wait().expect("it can be asked").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Rows of a table by column.
fn columns(sweep: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(sweep.join(file::TABLE)).expect("it is there");
    reader.deserialize().map(|row| row.expect("it is well formed")).collect()
}

#[test]
fn a_sweep_killed_at_any_moment_and_resumed_gives_the_table_of_one_that_was_not() {
    let folder = with_plan(GRID);
    ok(folder.path(), &["sweep", "grid.ron", "--out", "whole", "--threads", "2"]);
    let expected = timeless(&folder.path().join("whole"));
    assert_eq!(expected.len(), 1 + N_CELLS);
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    for k in 0..3 {
        // A program that was faster than the kill is started again elsewhere.
        let sweep = (0..20).find_map(|attempt| {
            let name = format!("killed-{k}-{attempt}");
            let sweep = folder.path().join(&name);
            let mut child = start(folder.path(), &["sweep", "grid.ron", "--out", &name, "--threads", "2"]);
            wait_for(&mut child, &sweep, rng.random_range(0..N_CELLS / 2));
            std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
            // SIGKILL.
            child.kill().expect("it can be killed");
            child.wait().expect("it has ended");
            (finished(&sweep).len() < N_CELLS).then_some(sweep)
        });
        let sweep = sweep.expect("a kill came in time");
        let kept: Vec<(String, String)> = finished(&sweep)
            .into_iter()
            .map(|cell| (read(&sweep.join(file::CELLS).join(&cell).join(run_file::SUMMARY)), cell))
            .collect();
        let name = sweep.file_name().expect("it has one").to_string_lossy().into_owned();
        ok(folder.path(), &["sweep", "grid.ron", "--out", &name, "--threads", "2"]);
        assert_eq!(timeless(&sweep), expected, "killed with {} cells finished", kept.len());
        for (summary, cell) in kept {
            let now = read(&sweep.join(file::CELLS).join(&cell).join(run_file::SUMMARY));
            assert_eq!(now, summary, "cell {cell} was finished and has been computed again");
        }
        let left: Vec<_> = fs::read_dir(sweep.join(file::CELLS)).expect("it is there").collect();
        assert_eq!(left.len(), N_CELLS, "something unfinished is left: {left:?}");
    }
}

#[test]
fn an_interrupted_sweep_says_so_keeps_its_cells_and_goes_on() {
    let folder = with_plan(GRID);
    let interrupted = (0..20).find_map(|attempt| {
        let name = format!("sweep-{attempt}");
        let sweep = folder.path().join(&name);
        let mut child = start(folder.path(), &["sweep", "grid.ron", "--out", &name, "--threads", "1"]);
        wait_for(&mut child, &sweep, 2);
        let pid = child.id().to_string();
        process::Command::new("kill").args(["-INT", &pid]).status().expect("kill can be run");
        let code = child.wait().expect("it has ended").code();
        (code != Some(0)).then_some((name, sweep, code))
    });
    let (name, sweep, code) = interrupted.expect("an interrupt came in time");
    assert_eq!(code, Some(130));
    let kept = finished(&sweep);
    assert!((2..N_CELLS).contains(&kept.len()), "{kept:?}");
    assert_eq!(timeless(&sweep).len(), 1 + kept.len(), "the table has the finished cells");
    ok(folder.path(), &["sweep", "grid.ron", "--out", &name, "--quiet"]);
    assert_eq!(timeless(&sweep).len(), 1 + N_CELLS);
}

#[test]
fn shards_and_threads_do_not_change_the_table() {
    let folder = with_plan(GRID);
    let sweep = |arguments: &[&str]| ok(folder.path(), &[&["sweep", "grid.ron", "--quiet"], arguments].concat());
    sweep(&["--out", "one", "--threads", "1"]);
    sweep(&["--out", "two", "--threads", "2"]);
    let expected = timeless(&folder.path().join("one"));
    assert_eq!(timeless(&folder.path().join("two")), expected);
    for cell in finished(&folder.path().join("one")) {
        for name in [run_file::TRAJECTORY, run_file::EVENTS, run_file::THETA, run_file::SCENARIO] {
            let bytes =
                |sweep: &str| fs::read(folder.path().join(sweep).join(file::CELLS).join(&cell).join(name)).expect(name);
            assert!(bytes("one") == bytes("two"), "{name} of cell {cell} depends on the number of threads");
        }
    }
    for i in ["1/3", "2/3", "3/3"] {
        sweep(&["--shard", i]);
    }
    let names = ["sweeps/grid.1-of-3", "sweeps/grid.2-of-3", "sweeps/grid.3-of-3"];
    let sizes = names.map(|name| finished(&folder.path().join(name)).len());
    assert_eq!(sizes, [8, 8, 8]);
    // Without the second shard the merged sweep says which cells it lacks.
    let output = gradflow(folder.path(), &["sweep", "merge", names[0], names[2], "--out", "merged"]);
    assert_eq!(output.status.code(), Some(4));
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(stderr.starts_with("8 of 24 cells are in no shard: 1, 4, 7, 10, 13, 16, 19, 22\n"), "{stderr}");
    ok(folder.path(), &["sweep", "merge", names[1], names[0], "--out", "merged"]);
    assert_eq!(timeless(&folder.path().join("merged")), expected);
    // What was merged is a sweep like any other.
    let before = read(&folder.path().join("merged").join(file::TABLE));
    sweep(&["--out", "merged"]);
    assert_eq!(read(&folder.path().join("merged").join(file::TABLE)), before);
}

#[test]
fn a_cell_has_the_figures_of_a_run_of_its_scenario() {
    let folder = with_plan(GRID);
    ok(folder.path(), &["sweep", "grid.ron", "--out", "sweep", "--quiet"]);
    let base = GRID.lines().skip(2).take_while(|line| *line != "    ),").collect::<Vec<_>>().join("\n");
    fs::write(folder.path().join("base.ron"), format!("({base}\n)")).expect("it can be written");
    let rows = columns(&folder.path().join("sweep"));
    // The first axis varies slowest.
    for (cell, hidden, seed) in [(0, "[3, 3]", 1), (11, "[3, 3]", 12), (13, "[6, 6]", 2)] {
        let sets = [format!("network.hidden={hidden}"), format!("seed={seed}"), "save.times=[0.25, 1]".to_owned()];
        let mut arguments = vec!["run", "base.ron", "--out", "run", "--quiet"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
        ok(folder.path(), &arguments);
        let run = Run::open(&folder.path().join("run")).expect("it is a run");
        let (summary, row) = (run.summary(), &rows[cell]);
        let trajectory: Vec<_> = run.trajectory().and_then(Iterator::collect).expect("it can be read");
        let lambda0 = summary.lambda0.as_ref().expect("it was tracked");
        let (bound, events) = (summary.bound.as_ref().expect("bound"), summary.events.as_ref().expect("events"));
        let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        let loss_at = |t: f64| number(trajectory.iter().find(|line| line.t == t).map(|line| line.loss));
        let contacts = (events.slide_enter + events.crossing) as f64;
        let same_number = |column: &str, expected: String| {
            let found = row[column].parse::<f64>().map_or(String::new(), |x| x.to_string());
            assert_eq!(found, expected, "{column} of cell {cell}");
        };
        let same = |column: &str, expected: &str| assert_eq!(row[column], expected, "{column} of cell {cell}");
        same("network.hidden", hidden);
        same("seed", &seed.to_string());
        same("status", "completed");
        same("stop_reason", summary.stop_reason.as_deref().expect("it has ended"));
        same("parameters", &summary.parameters.to_string());
        same("targets", "20");
        same_number("parameters_per_target", (summary.parameters as f64 / 20.0).to_string());
        same_number("lambda_min_0", number(trajectory[0].lambda_min));
        same_number("lambda0", number(lambda0.value));
        same("bound_verdict", &bound.verdict);
        same("integral_verdict", &bound.integral_verdict);
        same_number("loss_initial", number(summary.loss_initial));
        same_number("loss_final", number(summary.loss_final));
        same_number("loss_at_0.25", loss_at(0.25));
        same_number("loss_at_1", loss_at(1.0));
        same("events", &events.total().to_string());
        same_number("sliding_share", (events.slide_enter as f64 / contacts).to_string());
    }
}

#[test]
fn a_linear_model_decays_at_its_rate_and_its_losses_are_those_of_the_closed_form() {
    // One weight on one input x and target y, from w = 0: r = −y e^{−x² t}, L = ½ y² e^{−2 x² t}, λ_min(G) = x².
    let text = r#"(
        base: (
            name: "line",
            data: Inline(x: [[1.0]], y: [[3.0]]),
            network: Dense(hidden: [], bias: false),
            activation: Identity,
            initial: Inline([0.0]),
            flow: (until: [LossRatio(1e-6), Time(100)], rtol: 1e-11, atol: 1e-13),
        ),
        axes: [(key: "data.x", values: [[[0.5]], [[1.0]], [[1.5]]])],
        losses_at: [0, 0.5, 4, 50],
    )"#;
    let plan = SweepPlan::from_source(Source::new("line.ron", text), Folder::Embedded, &[]).expect("no faults");
    assert_eq!((plan.name(), plan.n_cells()), ("line", 3));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let swept = run(&plan, folder.path(), Shard::WHOLE, 2, &()).expect("it runs");
    assert_eq!((swept.rows.len(), swept.n_found, swept.n_pending), (3, 0, 0));
    for (row, x) in swept.rows.iter().zip([0.5_f64, 1.0, 1.5]) {
        // Errors of the integrator grow to about a thousand tolerances on the way.
        let near = |found: Option<f64>, expected: f64| {
            assert!(found.is_some_and(|f| (f / expected - 1.0).abs() < 1e-8), "x = {x}: {found:?} for {expected}");
        };
        let rate = x * x;
        near(row.decay_rate, rate);
        near(row.lambda0, rate);
        near(row.lambda_min_0, rate);
        near(row.loss_initial, 4.5);
        let end = 1e6_f64.ln() / (2.0 * rate);
        for (&t, &loss) in plan.losses_at().iter().zip(&row.losses_at) {
            if t <= end {
                near(loss, 4.5 * (-2.0 * rate * t).exp());
            } else {
                assert_eq!(loss, None, "x = {x}, t = {t} past the end");
            }
        }
        assert_eq!((row.status, row.events, row.sliding_share), (Status::Completed, 0, None));
    }
    // Nothing is computed twice.
    let again = run(&plan, folder.path(), Shard::WHOLE, 1, &()).expect("it runs");
    assert_eq!(again.n_found, 3);
    assert_eq!(again.rows, swept.rows);
}

#[test]
fn a_cell_that_stops_early_is_a_row_and_the_others_go_on() {
    let text = r#"(base: "one-neuron", axes: [(key: "flow.max_steps", values: [2, 100000])])"#;
    let folder = with_plan(text);
    let output = gradflow(folder.path(), &["sweep", "grid.ron"]);
    assert_eq!(output.status.code(), Some(4));
    let rows = columns(&folder.path().join("sweeps/grid"));
    let ends: Vec<_> = rows.iter().map(|row| (row["status"].as_str(), row["stop_reason"].as_str())).collect();
    assert_eq!(ends[0], ("stopped", "step_limit"));
    assert_eq!(ends[1].0, "completed");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(stdout.contains("\n  ended          1 completed, 1 stopped early\n"), "{stdout}");
}

#[test]
fn every_fault_of_a_plan_its_base_and_its_cells_is_told_at_once() {
    let text = r#"(
    base: (
        data: Ball(samples: 4, inputs: 2, outputs: 1),
        network: GraphConv(hidden: [2], adjacency: Knn(3)),
        activation: Relu,
        flow: (rtol: 0),
    ),
    axis: [],
    axes: [
        (key: "data.samples", values: [4, 2]),
        (key: "network.hiden", values: [[2], [3]]),
        (key: "network.exponent", values: [-0.5, "x"]),
        (key: "seed", also: ["data.samples[1]"], values: []),
    ],
    losses_at: [1.0, 0.5],
)"#;
    let faults = |text: &str| {
        let folder = with_plan(text);
        let stderr = refused(folder.path(), &["sweep", "grid.ron"]);
        assert!(!folder.path().join("sweeps").exists(), "nothing has been written");
        let errors = stderr.lines().filter_map(|line| line.strip_prefix("error: ").map(str::to_owned));
        errors.collect::<Vec<String>>()
    };
    assert_eq!(
        faults(text),
        [
            "grid.ron:8:5: axis: unknown field `axis`, expected one of `name`, `base`, `axes`, `losses_at`",
            "grid.ron:13:30: axes[3].also[0]: expected a field apart from `data.samples`, which is an axis already, found \
             `data.samples[1]`",
            "grid.ron:13:58: axes[3].values: expected at least one value, found none",
        ]
    );
    let text =
        text.replace("    axis: [],\n", "").replace("also: [\"data.samples[1]\"], values: []", "values: [1, -1]");
    assert_eq!(
        faults(&text),
        [
            "grid.ron:4:56: network.adjacency[0] (with data.samples=2, network.hiden=[2], network.exponent=-0.5, seed=1): \
             expected at least 1 neighbour and fewer than there are nodes, 2, found 3",
            "grid.ron:6:22: flow.rtol: expected a positive number, found 0",
            "grid.ron:10:15: network.hiden: unknown field `hiden`, expected one of `hidden`, `adjacency`, `exponent`, `bias`, \
             `readout`, `nodes`",
            "grid.ron:11:50: network.exponent: expected a number, found `\"x\"`",
            "grid.ron:12:35: seed: expected an integer of at least 0, found `-1`",
            "grid.ron:14:22: losses_at[1]: expected a time after 1, found 0.5",
        ]
    );
}

#[test]
fn a_wrong_name_folder_or_shard_has_one_clear_message() {
    let folder = with_plan(GRID);
    let at = folder.path();
    for (arguments, message) in [
        (
            &["sweep", "paper-dnn"][..],
            "error: `paper-dnn` is neither a file nor an embedded plan\n  hint: `paper-dnn` is a single scenario: gradflow run paper-dnn\n",
        ),
        (
            &["sweep", "paper-dnn-swep"],
            "error: `paper-dnn-swep` is neither a file nor an embedded plan\n  hint: did you mean `paper-dnn-sweep`?\n",
        ),
        (
            &["run", "paper-dnn-sweep"],
            "error: `paper-dnn-sweep` is neither a file nor an embedded scenario\n  hint: `paper-dnn-sweep` is a plan: gradflow sweep paper-dnn-sweep\n",
        ),
        (
            &["sweep", "grid.ron", "--shard", "0/3"],
            "error: expected a shard i/N with 1 ≤ i ≤ N, such as 1/4, found `0/3`\n",
        ),
        (
            &["sweep", "grid.ron", "--out", "."],
            "error: `.` is not empty and is not a gradflow sweep, so nothing is written to it\n  hint: choose another folder with --out, or empty this one\n",
        ),
        (
            &["sweep", "merge", "nowhere"],
            "error: `nowhere` is not a sweep: it has no plan.ron\n  hint: give folders that `gradflow sweep` said it wrote\n",
        ),
    ] {
        assert_eq!(refused(at, arguments), message, "{arguments:?}");
    }
}

#[test]
fn the_folder_of_another_plan_or_of_changed_data_is_refused() {
    let text = r#"(
        base: (
            data: Csv(path: "d.csv", inputs: ["a"], outputs: ["b"]),
            network: Dense(hidden: [2]),
            activation: Relu,
            flow: (until: [Time(0.1)]),
        ),
        axes: [(key: "seed", values: [1])],
    )"#;
    let folder = with_plan(text);
    let at = folder.path();
    fs::write(at.join("d.csv"), "a,b\n1,2\n2,1\n").expect("it can be written");
    ok(at, &["sweep", "grid.ron", "--out", "s"]);
    fs::write(at.join("d.csv"), "a,b\n1,2\n2,3\n").expect("it can be written");
    let stderr = refused(at, &["sweep", "grid.ron", "--out", "s"]);
    assert!(stderr.contains("was made from another scenario than the plan gives now"), "{stderr}");
    let stderr = refused(at, &["sweep", "grid.ron", "--out", "s", "--set", "flow.rtol=1e-5"]);
    assert!(stderr.starts_with("error: `s` holds a sweep of another plan, so nothing is written to it\n"), "{stderr}");
}

#[test]
fn a_plan_keeps_its_text_through_its_own_directory() {
    let load = |text: &str| SweepPlan::from_source(Source::new("grid.ron", text), Folder::Embedded, &[]);
    let plan = load(GRID).expect("no faults");
    let text = plan.text();
    assert_eq!(load(&text).expect("no faults").text(), text);
    assert_eq!(plan.scenario(13).expect("it resolves").problem.seed, 2);
    let columns = Row::columns(&plan).join(",");
    assert_eq!(
        columns,
        "cell,network.hidden,seed,status,stop_reason,parameters,targets,parameters_per_target,lambda_min_0,lambda0,bound_verdict,\
         integral_verdict,decay_rate,loss_initial,loss_final,loss_at_0.25,loss_at_1,events,sliding_share,wall_seconds"
    );
    let conflict = GRID.replace("\"seed\"", "\"save.count\"");
    let Err(SweepError::Plan(error)) = load(&conflict) else { panic!("`save` is set twice") };
    assert!(error.to_string().contains("expected another field: `losses_at` sets `save`"), "{error}");
}

#[test]
fn the_published_networks_have_their_published_sizes() {
    let sizes = |name: &str, overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
        let scenario = Scenario::load(name, &overrides).unwrap_or_else(|error| panic!("{error}"));
        let sizes = Sizes::of(&scenario.problem.network, scenario.problem.data.n_samples());
        (sizes.parameters, sizes.targets, sizes.surfaces)
    };
    // h(500 + 1) + h(h + 1) + 50(h + 1); two layers of h units on 1000 samples.
    assert_eq!(sizes("paper-dnn", &[]), (65_250, 50_000, 200_000));
    assert_eq!(sizes("paper-dnn", &["network.hidden=[50, 50]"]), (30_150, 50_000, 100_000));
    assert_eq!(sizes("paper-dnn", &["network.hidden=[79, 79]"]).0, 49_899);
    assert_eq!(sizes("paper-dnn", &["network.hidden=[80, 80]"]).0, 50_610);
    assert_eq!(sizes("paper-dnn", &["network.hidden=[250, 250]"]), (200_550, 50_000, 500_000));
    // L(100² + 100); σ stands between the layers, so L − 1 layers of 100 units on 1000 samples.
    assert_eq!(sizes("paper-resnet", &[]), (121_200, 100_000, 1_100_000));
    assert_eq!(sizes("paper-resnet", &["network.layers=9"]).0, 90_900);
    assert_eq!(sizes("paper-resnet", &["network.layers=10"]).0, 101_000);
    // As the dense network, with biases that nodes share.
    assert_eq!(sizes("paper-gcn", &[]), (65_250, 50_000, 200_000));
    // In small: 20 inputs, 2 outputs, 40 samples; width 5 on 50 samples.
    assert_eq!(sizes("paper-dnn-small", &[]), (114, 80, 320));
    assert_eq!(sizes("paper-gcn-small", &[]), (114, 80, 320));
    assert_eq!(sizes("paper-resnet-small", &[]), (360, 250, 2750));
    // The formula's bias per node: h(20 + 40) + h(h + 40) + 2(h + 40).
    assert_eq!(sizes("paper-gcn-small", &["network.bias=PerNode"]).0, 4 * 60 + 4 * 44 + 2 * 44);
}

#[test]
fn the_tables_of_the_reproduction_are_those_of_this_program() {
    // The first cells, which have few events: errors are those of the tolerance 1e-8, times a condition well below a thousand.
    for (name, n_events) in [("paper-dnn-sweep", "7"), ("paper-gcn-sweep", "0")] {
        let plan = SweepPlan::load(name, &[]).unwrap_or_else(|error| panic!("{error}"));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let first = Shard { index: 1, count: plan.n_cells() };
        let swept = run(&plan, folder.path(), first, 1, &()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((swept.rows.len(), swept.n_pending), (1, 0));
        let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reproduction").join(format!("{name}.csv"));
        let text = read(&published);
        assert_eq!(text.lines().next(), Some(Row::columns(&plan).join(",").as_str()));
        assert_eq!(text.lines().count(), 1 + plan.n_cells());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let row: std::collections::BTreeMap<String, String> =
            reader.deserialize().next().expect("a row").expect("it is well formed");
        let now = &columns(folder.path())[0];
        assert_eq!(now["events"], n_events);
        for (column, value) in row.iter().filter(|(column, _)| *column != "wall_seconds") {
            let (found, expected) = (now[column].parse::<f64>(), value.parse::<f64>());
            let is_near = match (found, expected) {
                (Ok(found), Ok(expected)) => (found - expected).abs() <= 1e-5 * expected.abs(),
                _ => now[column] == *value,
            };
            assert!(is_near, "{name}, {column}: {} now, {value} in the table", now[column]);
        }
    }
}

#[test]
fn rescalings_keep_the_gram_matrix_singular_at_the_threshold() {
    // P = 83 parameters for nM = 80 targets, but each of the 6 hidden units can be rescaled: rank J ≤ 83 − 6 = 77.
    for seed in 1..=5 {
        let overrides =
            ["network.hidden=[3, 3]".to_owned(), format!("seed={seed}"), "flow.until=[Time(1e-6)]".to_owned()];
        let scenario = Scenario::load("paper-dnn-small", &overrides).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.problem.theta0.len(), 83);
        let run = gradflow::simulate::simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false);
        let lambda0 = run.observed.lambda0.expect("it was tracked");
        assert!(lambda0.rank <= 77 && lambda0.value == 0.0, "seed {seed}: {lambda0:?}");
        assert_eq!(run.observed.bound.verdict.as_str(), "vacuous", "seed {seed}");
    }
}

#[test]
fn every_embedded_plan_loads_and_crosses_the_threshold() {
    for plan in gradflow::scenario::embedded_plans() {
        let loaded = SweepPlan::load(plan.name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.name(), plan.name);
        assert!(plan.description().starts_with("Sweep: "), "{}", plan.name);
        let ratio = |cell: usize| {
            let scenario = loaded.scenario(cell).unwrap_or_else(|error| panic!("{error}"));
            scenario.problem.theta0.len() as f64 / scenario.problem.data.n_targets() as f64
        };
        let (first, last) = (ratio(0), ratio(loaded.n_cells() - 1));
        assert!(first < 1.0 && last > 1.0, "{}: P/nM from {first} to {last}", plan.name);
    }
}
