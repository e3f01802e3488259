//! Explicit pairs keep their order through crossings and slides.

mod common;

use common::{Case, options, run_tracked};
use gradflow::net::{Activation, Smooth};
use gradflow::ode::{EventKind, Options};

fn end(case: &Case, method: &str, options: Options) -> (Vec<f64>, Vec<EventKind>) {
    let run = run_tracked(case, method, options, &mut [], &[], false);
    assert!(run.outcome.reason.is_completion(), "{method}: {}", run.outcome.reason);
    (run.outcome.y, run.kept.events.iter().map(|e| e.kind).collect())
}

#[test]
fn explore() {
    for seed in 0..40 {
        let mut case = Case::random(&[2, 4, 1], true, Activation::leaky_relu(0.1), 4, seed);
        case.theta0.iter_mut().for_each(|t| *t *= 2.0);
        let mut o = options(2.0, 1e-10);
        let (_, e) = end(&case, "Tsit5", o);
        println!("seed {seed}: {} events {:?}", e.len(), &e[..e.len().min(3)]);
        o.t_end = 1.0;
    }
    for seed in 0..6 {
        for (n, widths, t) in [(12, vec![2, 8, 1], 8.0), (10, vec![3, 6, 6, 1], 6.0), (20, vec![3, 8, 8, 1], 3.0)] {
            let case = Case::random(&widths, true, Activation::leaky_relu(0.1), n, seed);
            let o = options(t, 1e-13);
            let now = std::time::Instant::now();
            let (reference, e) = end(&case, "Dop853", o);
            let (other, _) = end(&case, "Tsit5", o);
            println!(
                "seed {seed} {widths:?} n {n}: {} events {} slides; {:e} {:?}",
                e.len(),
                e.iter().filter(|k| **k == EventKind::SlideEnter).count(),
                common::relative_distance(&other, &reference, 1.0),
                now.elapsed()
            );
            for method in ["BogackiShampine32", "Tsit5", "Dop853"] {
                for steps in [50, 100, 200, 400, 800, 1600, 3200] {
                    let o = Options { fixed_step: Some(t / f64::from(steps)), ..o };
                    let (y, events) = end(&case, method, o);
                    print!(" {:.1e}({})", common::relative_distance(&y, &reference, 1.0), events.len());
                }
                println!();
            }
        }
    }
    let _ = Activation::Smooth(Smooth::Tanh);
}
