//! Whole runs: the quickstart scenario alone, with λ_min followed, and per method; a stiff one per method. See README.md of this folder.

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

fn runs(c: &mut Criterion) {
    bench(c, "quickstart", "flow", 1, &["ntk.track=false"]);
    bench(c, "quickstart", "flow_and_lambda_min", 1, &["ntk.track=true"]);
    bench(c, "quickstart", "flow_and_lambda_min_two_threads", 2, &["ntk.track=true"]);
    bench(
        c,
        "quickstart",
        "flow_bogacki_shampine",
        1,
        &["ntk.track=false", "flow.method=BogackiShampine32", "flow.rtol=1e-6"],
    );
    bench(c, "quickstart", "flow_dop853", 1, &["ntk.track=false", "flow.method=Dop853"]);
    for method in ["Tsit5", "Auto", "Esdirk54", "Rkc2", "Rock4"] {
        let method_is = format!("flow.method={method}");
        bench(c, "stiff", method, 1, &["ntk.track=false", "flow.until=[Time(150)]", &method_is]);
    }
}

criterion_group!(benches, runs);
criterion_main!(benches);
