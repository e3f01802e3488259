//! How time, memory and events grow with samples, width, depth and outputs: whole runs until the loss has halved, one setting varied at a
//! time, and exponents fitted to each column. Not a Criterion bench, since one run of each is enough.

use gradflow::scenario::Scenario;
use gradflow::simulate::simulate;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// The argument that asks for one run alone.
const ONE_RUN: &str = "--one-run";

/// What is varied, and the settings of it.
struct Axis {
    name: &'static str,
    values: [usize; 4],
    sizes: fn(usize) -> Sizes,
}

/// A network and its data.
#[derive(Clone, Copy)]
struct Sizes {
    samples: usize,
    width: usize,
    depth: usize,
    outputs: usize,
}

const BASE: Sizes = Sizes { samples: 40, width: 32, depth: 2, outputs: 2 };

const AXES: [Axis; 4] = [
    Axis { name: "samples", values: [20, 40, 80, 160], sizes: |samples| Sizes { samples, ..BASE } },
    Axis { name: "width", values: [16, 32, 64, 128], sizes: |width| Sizes { width, ..BASE } },
    Axis { name: "hidden layers", values: [1, 2, 3, 4], sizes: |depth| Sizes { depth, ..BASE } },
    Axis { name: "outputs", values: [1, 2, 4, 8], sizes: |outputs| Sizes { outputs, ..BASE } },
];

/// Figures of one run.
#[derive(Clone, Copy)]
struct Measured {
    events: f64,
    gradients: f64,
    seconds: f64,
    /// Largest resident memory, NaN where the system does not tell.
    peak_mib: f64,
}

/// Measures in a process of its own, whose memory is that of one run.
fn measure(sizes: Sizes, method: &str, track: &str) -> Measured {
    let program = std::env::current_exe().expect("a running program has a path");
    let Sizes { samples, width, depth, outputs } = sizes;
    let numbers = [samples, width, depth, outputs].map(|number| number.to_string());
    let child = Command::new(program).arg(ONE_RUN).args(numbers).args([method, track]).output();
    let output = child.expect("this program can run itself");
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap_or(f64::NAN)).collect();
    let [events, gradients, seconds, peak_mib] = figures[..] else {
        panic!("a run failed: {}", String::from_utf8_lossy(&output.stderr));
    };
    Measured { events, gradients, seconds, peak_mib }
}

/// The other side of [`measure`].
fn run_one(arguments: &[String]) {
    let [samples, width, depth, outputs, method, track] = arguments else { panic!("six arguments: {arguments:?}") };
    let depth: usize = depth.parse().expect("a number of layers");
    let hidden = vec![width.clone(); depth].join(", ");
    let overrides = [
        format!("data=Ball(samples: {samples}, inputs: 20, outputs: {outputs})"),
        format!("network=Dense(hidden: [{hidden}], bias: true)"),
        "flow.until=[LossRatio(0.5)]".to_owned(),
        "flow.rtol=1e-6".to_owned(),
        "flow.atol=1e-8".to_owned(),
        format!("flow.method={method}"),
        format!("ntk.track={track}"),
    ];
    let scenario = Scenario::load("quickstart", &overrides).unwrap_or_else(|error| panic!("{error}"));
    let start = Instant::now();
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false);
    let seconds = start.elapsed().as_secs_f64();
    let events = run.observed.events;
    let n_events = events.crossing + events.slide_enter + events.slide_exit + events.graze;
    println!("{n_events} {} {seconds} {}", run.outcome.stats.evaluations, peak_mib().unwrap_or(f64::NAN));
}

/// The largest resident memory of this process, where the system tells.
fn peak_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// The exponent of a power law through the points, by least squares of logarithms.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |f: fn(&(f64, f64)) -> f64| logs.iter().map(f).sum::<f64>() / logs.len() as f64;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let (xy, xx) = logs.iter().fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + (x - mx) * (y - my), xx + (x - mx).powi(2)));
    xy / xx
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == ONE_RUN) {
        return run_one(&arguments[1..]);
    }
    // `cargo test --benches` runs this without `--bench`: one small setting shows that it works.
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    println!(
        "| varied | value | events | event by event: gradients | s | in strides: gradients | s | λ_min followed: s | peak MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for Axis { name, values, sizes } in AXES {
        let mut columns: [Vec<(f64, f64)>; 7] = Default::default();
        for value in if is_bench { &values[..] } else { &values[..1] } {
            let single = measure(sizes(*value), "EventByEvent", "false");
            let strides = measure(sizes(*value), "Auto", "false");
            let tracked = measure(sizes(*value), "Auto", "Adaptive");
            let figures = [
                single.events,
                single.gradients,
                single.seconds,
                strides.gradients,
                strides.seconds,
                tracked.seconds,
                tracked.peak_mib,
            ];
            let [events, gradients, seconds, stride_gradients, stride_seconds, tracked_seconds, peak] = figures;
            println!(
                "| {name} | {value} | {events} | {gradients} | {seconds:.2} | {stride_gradients} | {stride_seconds:.2} | {tracked_seconds:.2} | {peak:.0} |"
            );
            columns.iter_mut().zip(figures).for_each(|(column, y)| column.push((*value as f64, y)));
        }
        if is_bench {
            let fitted = columns.map(|column| format!("{:.1}", exponent(&column)));
            println!("| | *exponent* | {} |", fitted.join(" | "));
        }
    }
}
