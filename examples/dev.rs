use gradflow::data::Data;
use gradflow::flow::FlowField;
use gradflow::net::{Activation, Network};
use gradflow::observe::*;
use gradflow::ode::tableau::*;
use gradflow::ode::*;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
struct Ratio(Option<f64>, f64);
impl StopRule<FlowField> for Ratio {
    fn name(&self) -> &'static str {
        "loss ratio"
    }
    fn margin(&mut self, field: &FlowField, dy: &[f64]) -> f64 {
        let l = field.sample(dy).loss;
        let l0 = *self.0.get_or_insert(l);
        l - self.1 * l0
    }
}
#[derive(Default)]
struct Keep {
    events: Vec<EventRow>,
    n: usize,
}
impl Sink for Keep {
    fn row(&mut self, _r: &Row) -> std::io::Result<()> {
        self.n += 1;
        Ok(())
    }
    fn event(&mut self, r: &[EventRow]) -> std::io::Result<()> {
        self.events.extend_from_slice(r);
        Ok(())
    }
    fn theta(&mut self, _: f64, _: &[f64]) -> std::io::Result<()> {
        Ok(())
    }
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seed: u64 = args[1].parse().unwrap();
    let ratio: f64 = args[2].parse().unwrap();
    let track = args[3] == "1";
    let method = args.get(4).map(|s| s.as_str()).unwrap_or("Tsit5").to_string();
    let rtols: Vec<f64> = args[5..].iter().map(|s| s.parse().unwrap()).collect();
    let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
    let (n, nin, m) = (40, 10, 2);
    let x: Vec<Vec<f64>> = (0..n)
        .map(|_| {
            let g: Vec<f64> = (0..nin).map(|_| StandardNormal.sample(&mut rng)).collect();
            let r = g.iter().map(|v: &f64| v * v).sum::<f64>().sqrt();
            let u: f64 = rng.random::<f64>().powf(1.0 / nin as f64);
            g.iter().map(|v| v * u / r).collect()
        })
        .collect();
    let y: Vec<Vec<f64>> = (0..n).map(|_| (0..m).map(|_| StandardNormal.sample(&mut rng)).collect()).collect();
    let net = Network::dense(nin, &[32, 32], m, true, Activation::leaky_relu(0.01)).unwrap();
    let mut th = vec![0.0; net.n_parameters()];
    for b in net.layout().layers() {
        let k = 1.0 / (b.n_in as f64).sqrt();
        for i in b.weights.clone().chain(b.bias.clone().unwrap()) {
            th[i] = rng.random_range(-k..k);
        }
    }
    let data = Data::from_rows(&x, &y).unwrap();
    let mut lists = vec![];
    for rtol in rtols {
        let t0 = std::time::Instant::now();
        let mut field = FlowField::new(net.clone(), &data);
        let tab = match method.as_str() {
            "Tsit5" => &TSIT5,
            "Bs" => &BOGACKI_SHAMPINE_32,
            _ => &DOP853,
        };
        let mut st = ExplicitRk::new(tab, th.len());
        let mut keep = Keep::default();
        let mut mon = Monitor::new(&field, n * m, track, rtol, Box::new(std::iter::empty()), &mut keep);
        let o = Options {
            t_end: f64::INFINITY,
            norm: WrmsNorm { rtol, atol: rtol * 0.01 },
            max_steps: 1_000_000,
            fixed_step: None,
        };
        let out = integrate(&mut field, &mut st, &th, &o, &mut [Box::new(Ratio(None, ratio))], &mut mon);
        let obs = mon.finish();
        let ne = obs.events.crossing + obs.events.slide_enter + obs.events.slide_exit;
        println!(
            "rtol {rtol:e}: {} t={} wall {:.3}s stats {:?} ev/ {:.2}",
            out.reason,
            out.t,
            t0.elapsed().as_secs_f64(),
            out.stats,
            out.stats.evaluations as f64 / ne as f64
        );
        println!(
            "   {:?}\n   λ0 {:?}\n   {:?}\n   {:?} grams {}",
            obs.events,
            obs.lambda0.map(|l| (l.value, l.t)),
            obs.bound.reason,
            obs.identities,
            obs.gram_evaluations
        );
        println!("   branch {:?}", obs.branch_points);
        lists.push((rtol, keep.events, out.y));
    }
    for w in lists.windows(2) {
        let (a, b) = (&w[0].1, &w[1].1);
        let same = a
            .iter()
            .zip(b)
            .take_while(|(p, q)| p.kind == q.kind && p.place == q.place && p.direction == q.direction)
            .count();
        let dt = a.iter().zip(b).take(same).map(|(p, q)| (p.t - q.t).abs()).fold(0.0, f64::max);
        let dth: f64 = w[0].2.iter().zip(&w[1].2).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        println!(
            "{:e} vs {:e}: {} of {} / {} equal, max dt {:e}, |dθ| {:e}",
            w[0].0,
            w[1].0,
            same,
            a.len(),
            b.len(),
            dt,
            dth
        );
        if same < a.len().min(b.len()) {
            for k in same.saturating_sub(2)..(same + 4).min(a.len()).min(b.len()) {
                println!(
                    "   {:?}\n   {:?}",
                    (a[k].t, a[k].kind, a[k].place, a[k].direction, a[k].rate_before),
                    (b[k].t, b[k].kind, b[k].place, b[k].direction, b[k].rate_before)
                );
            }
        }
    }
}
