//! How time, memory and events grow with samples, width, depth and outputs: whole runs until the loss has halved, one setting varied at a
//! time, and exponents fitted to each column. Not a Criterion bench, since one run of each is enough.

use gradflow::ode::Stats;
use gradflow::scenario::Scenario;
use gradflow::simulate::simulate;
use std::fs;
use std::time::Instant;

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
struct Measured {
    stats: Stats,
    n_events: u64,
    seconds: f64,
    peak_mib: Option<f64>,
}

fn measure(sizes: Sizes, method: &str, track: &str) -> Measured {
    let Sizes { samples, width, depth, outputs } = sizes;
    let hidden = vec![width.to_string(); depth].join(", ");
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
    let has_reset = fs::write("/proc/self/clear_refs", "5").is_ok();
    let start = Instant::now();
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false);
    let seconds = start.elapsed().as_secs_f64();
    let events = run.observed.events;
    let n_events = events.crossing + events.slide_enter + events.slide_exit + events.graze;
    Measured { stats: run.outcome.stats, n_events, seconds, peak_mib: peak_mib().filter(|_| has_reset) }
}

/// The largest resident memory since it was last reset, where the system tells.
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
    // `cargo test --benches` runs this without `--bench`: one small setting shows that it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    println!(
        "| varied | value | events | Auto: gradients | s | Strides: gradients | s | λ_min followed: s | peak MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for Axis { name, values, sizes } in AXES {
        let mut columns: [Vec<(f64, f64)>; 7] = Default::default();
        for value in if is_bench { &values[..] } else { &values[..1] } {
            let auto = measure(sizes(*value), "Auto", "false");
            let strides = measure(sizes(*value), "Strides", "false");
            let tracked = measure(sizes(*value), "Auto", "Adaptive");
            let figures = [
                auto.n_events as f64,
                auto.stats.evaluations as f64,
                auto.seconds,
                strides.stats.evaluations as f64,
                strides.seconds,
                tracked.seconds,
                tracked.peak_mib.unwrap_or(f64::NAN),
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
