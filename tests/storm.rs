//! A storm of small problems, plain and structured: each runs to its end, by every method and at every tolerance through the same events, with its identities
//! intact and with the loss of gradient descent with tiny steps.
//!
//! `cargo test --release --test storm` runs a few hundred. `STORM=10000 STORM_FROM=0 cargo test --release --test storm -- --ignored --nocapture big` runs as
//! many as wanted, on `STORM_THREADS` threads (2) with `STORM_WORK` million multiplications (100) for each descent, with a line for each failure and counts at the end; `STORM_ONE=seed` shows a single one, `STORM_DATA`,
//! `STORM_START` and `STORM_ACTIVATION` keep to one kind.

mod common;
#[path = "storm/descent.rs"]
mod descent;
#[path = "storm/judge.rs"]
mod judge;
#[path = "storm/problems.rs"]
mod problems;

use descent::Care;
use judge::{Verdict, judge, quiet_panics};
use problems::{Problem, problem};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Judges the problems of `seeds` on a few threads, telling each as it is done; the verdicts in the order of the seeds.
fn storm(
    seeds: &[u64],
    n_threads: usize,
    care: Care,
    tell: &(dyn Fn(&Problem, &Verdict) + Sync),
) -> Vec<(Problem, Verdict)> {
    quiet_panics();
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let problem = problem(*seed);
                    let verdict = judge(&problem, care);
                    tell(&problem, &verdict);
                    done.lock().expect("no thread panics while it holds the list").push((problem, verdict));
                }
            });
        }
    });
    // What a test itself finds wrong is said aloud.
    drop(std::panic::take_hook());
    let mut done = done.into_inner().expect("as above");
    done.sort_by_key(|(problem, _)| problem.seed);
    done
}

fn lines(problem: &Problem, verdict: &Verdict) -> String {
    let fault = |f: &judge::Fault| format!("{} | {} | {}: {}\n", problem.seed, problem.title(), f.kind, f.text);
    verdict.faults.iter().map(fault).collect()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Problems of the first few hundred that are not solved yet: `STORM_ONE` tells why. Nothing is asked of them here.
const UNSOLVED: &[u64] = &[251];
/// Later ones that were wrong once: starts that chattered (third power of time, slides without a margin yet), weights of 1e-12 that move by 1e-36, units that
/// wake inside a Newton iteration, energies of implicit steps over a fast phase, infinite margins, iterations that end in rounding.
const MENDED: &[u64] =
    &[394, 455, 1421, 1472, 1482, 1871, 1909, 1974, 2241, 2322, 2361, 2552, 2673, 2692, 3366, 9673, 9781];

#[test]
fn a_few_hundred_problems_are_solved() {
    let seeds: Vec<u64> = (0..300).filter(|seed| !UNSOLVED.contains(seed)).chain(MENDED.iter().copied()).collect();
    let care = Care { work: 3e7, target: 1e-3 };
    let done = storm(&seeds, 2, care, &|_, _| ());
    let failures: String = done.iter().map(|(problem, verdict)| lines(problem, verdict)).collect();
    assert!(failures.is_empty(), "{failures}");
    // A storm that judges by nothing would be calm.
    let n_descended = done.iter().filter(|(_, verdict)| verdict.n_descents > 0).count();
    assert!(n_descended > seeds.len() / 2, "only {n_descended} problems were held against descent");
}

#[test]
#[ignore = "as long as one likes; see the module"]
fn big_storm() {
    let care = Care { work: 1e6 * number("STORM_WORK", 100) as f64, target: 1e-3 };
    if let Ok(seed) = std::env::var("STORM_ONE") {
        show(seed.parse().expect("STORM_ONE is a seed"), care);
        return;
    }
    let from = number("STORM_FROM", 0);
    let only = |name: &str, kind: &str| std::env::var(name).is_ok_and(|wanted| wanted != kind);
    let wanted = |seed: &u64| {
        let p = problem(*seed);
        !only("STORM_DATA", p.data) && !only("STORM_START", p.start) && !only("STORM_ACTIVATION", p.activation)
    };
    let seeds: Vec<u64> = (from..from + number("STORM", 1000)).filter(wanted).collect();
    let start = Instant::now();
    let done = storm(&seeds, number("STORM_THREADS", 2) as usize, care, &|problem, verdict| {
        print!("{}", lines(problem, verdict));
    });
    let n_failed = done.iter().filter(|(_, verdict)| !verdict.faults.is_empty()).count();
    for (name, of) in [
        ("data", (|p: &Problem| p.data.to_owned()) as fn(&Problem) -> String),
        ("start", |p| p.start.to_owned()),
        ("activation", |p| p.activation.to_owned()),
        ("network", |p| format!("{:?}{}", p.hidden(), if p.net.bias { "" } else { " no bias" })),
        ("loss", |p| if p.net.logistic { "logistic" } else { "squared" }.to_owned()),
        ("first method", |p| p.methods[0].to_owned()),
    ] {
        table(name, &done, of);
    }
    let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
    done.iter().flat_map(|(_, verdict)| &verdict.notes).for_each(|note| *notes.entry(note).or_default() += 1);
    println!("notes: {notes:?}");
    println!("storm: {} of {} right in {:.0} s", done.len() - n_failed, done.len(), start.elapsed().as_secs_f64());
    assert_eq!(n_failed, 0, "problems with faults");
}

/// Counts of problems, of those with a fault, and of those with each kind of fault.
fn table(name: &str, done: &[(Problem, Verdict)], of: fn(&Problem) -> String) {
    let mut counts: BTreeMap<String, (usize, usize, BTreeMap<&str, usize>)> = BTreeMap::new();
    for (problem, verdict) in done {
        let (n, failed, kinds) = counts.entry(of(problem)).or_default();
        *n += 1;
        *failed += usize::from(!verdict.faults.is_empty());
        let mut seen: Vec<&str> = verdict.faults.iter().map(|f| f.kind).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.into_iter().for_each(|kind| *kinds.entry(kind).or_default() += 1);
    }
    println!("by {name}:");
    for (what, (n, failed, kinds)) in counts {
        let kinds: Vec<String> = kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        println!("  {what:24} {failed:4} of {n:4}  {}", kinds.join(", "));
    }
}

fn show(seed: u64, care: Care) {
    quiet_panics();
    let problem = problem(seed);
    println!("// {seed}: {}\n{}", problem.title(), problem.ron(problem.methods[0], 1e-8, problem.horizon));
    let verdict = judge(&problem, care);
    verdict.details.iter().for_each(|line| println!("// {line}"));
    println!("// notes: {:?}", verdict.notes);
    print!("{}", lines(&problem, &verdict));
}
