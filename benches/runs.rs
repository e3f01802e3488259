//! Whole runs: the quickstart scenario alone, with λ_min followed, and per method; the first part of one with nM = 500, alone and with λ_min
//! followed; a stiff one per method. See README.md of this folder.

use criterion::{Criterion, criterion_group, criterion_main};
use gradflow::scenario::{Problem, Scenario};
use gradflow::simulate::simulate;

fn bench(c: &mut Criterion, of: &str, name: &str, n_threads: usize, overrides: &[&str]) {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    let scenario = Scenario::load(of, &overrides).expect("the embedded scenario has no faults");
    let problem: &Problem = &scenario.problem;
    let mut group = c.benchmark_group(of);
    group.sample_size(10);
    group.bench_function(name, |b| {
        b.iter(|| simulate(problem, &scenario.plan, n_threads, &mut (), &|| false).outcome.stats)
    });
    group.finish();
}

/// A wide net with many samples, while about 230 events happen.
const CROWDED: [&str; 6] = [
    "data=Ball(samples: 100, inputs: 300, outputs: 10)",
    "network=Dense(hidden: [100, 100])",
    "ntk.track=false",
    "flow.until=[Time(0.02)]",
    "flow.rtol=1e-6",
    "flow.atol=1e-8",
];

fn runs(c: &mut Criterion) {
    bench(c, "quickstart", "flow", 1, &["ntk.track=false"]);
    bench(c, "quickstart", "flow_and_lambda_min", 1, &["ntk.track=Adaptive"]);
    bench(c, "quickstart", "flow_and_lambda_min_at_every_event", 1, &["ntk.track=EveryEvent"]);
    bench(c, "quickstart", "flow_and_lambda_min_two_threads", 2, &["ntk.track=Adaptive"]);
    bench(
        c,
        "quickstart",
        "flow_bogacki_shampine",
        1,
        &["ntk.track=false", "flow.method=BogackiShampine32", "flow.rtol=1e-6"],
    );
    bench(c, "quickstart", "flow_dop853", 1, &["ntk.track=false", "flow.method=Dop853"]);
    let medium = [
        "data=Ball(samples: 100, inputs: 20, outputs: 5)",
        "network=Dense(hidden: [64, 64], bias: true)",
        "flow.until=[Time(0.02)]",
    ];
    for (name, n_threads, track) in [
        ("n100_flow", 1, "ntk.track=false"),
        ("n100_flow_and_lambda_min", 1, "ntk.track=Adaptive"),
        ("n100_flow_and_lambda_min_at_every_event", 1, "ntk.track=EveryEvent"),
        ("n100_flow_and_lambda_min_two_threads", 2, "ntk.track=Adaptive"),
    ] {
        bench(c, "quickstart", name, n_threads, &[&medium[..], &[track]].concat());
    }
    for method in ["Tsit5", "Auto", "Esdirk54", "Rkc2", "Rock4"] {
        let method_is = format!("flow.method={method}");
        bench(c, "stiff", method, 1, &["ntk.track=false", "flow.until=[Time(150)]", &method_is]);
    }
    for method in ["EventByEvent", "Auto"] {
        let mut overrides = CROWDED.to_vec();
        let method_is = format!("flow.method={method}");
        overrides.push(&method_is);
        bench(c, "quickstart", &format!("crowded_{method}"), 1, &overrides);
    }
}

criterion_group!(benches, runs);
criterion_main!(benches);
