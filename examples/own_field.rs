//! A piecewise-smooth system without any network: a mass on a spring with dry friction, shaken from outside.
//!
//! ẍ = −x − μ sign(ẋ) + F cos(ωt). While the mass sticks, friction takes whatever value between −μ and μ keeps ẋ = 0: that is
//! sliding along the surface ẋ = 0 of the phase space. `cargo run --release --example own_field`

use gradflow::ode::tableau::TSIT5;
use gradflow::ode::{
    Event, EventKind, ExplicitRk, FilippovField, Observer, Options, PiecewiseSystem, Point, WrmsNorm, integrate,
};

const FRICTION: f64 = 1.0;
const FORCE: f64 = 1.5;
const FREQUENCY: f64 = 0.5;

/// y = (x, ẋ, t); the one switch is ẋ with breakpoint 0.
struct Oscillator;

impl PiecewiseSystem for Oscillator {
    fn dim(&self) -> usize {
        3
    }

    fn n_switches(&self) -> usize {
        1
    }

    fn breakpoints(&self, _switch: usize) -> &[f64] {
        &[0.0]
    }

    fn rhs(&self, y: &[f64], pieces: &[u16], dy: &mut [f64]) {
        // The direction comes from the piece, not from y[1]: a step must see one smooth field.
        let direction = if pieces[0] == 0 { -1.0 } else { 1.0 };
        dy[0] = y[1];
        dy[1] = -y[0] - FRICTION * direction + FORCE * (FREQUENCY * y[2]).cos();
        dy[2] = 1.0;
    }

    fn switching_value(&self, _switch: usize, y: &[f64]) -> f64 {
        y[1]
    }

    fn switching_gradient(&self, _switch: usize, _y: &[f64], gradient: &mut [f64]) {
        gradient.copy_from_slice(&[0.0, 1.0, 0.0]);
    }
}

#[derive(Default)]
struct Sticking {
    since: Option<f64>,
    total: f64,
}

impl<F> Observer<F> for Sticking {
    fn event(&mut self, after: &Point<'_, F>, event: &Event) {
        for change in &event.changes {
            match change.kind {
                EventKind::SlideEnter => self.since = Some(after.t),
                EventKind::SlideExit => {
                    let since = self.since.take().unwrap_or(0.0);
                    self.total += after.t - since;
                    println!("sticks at x = {:+.9} from t = {since:.9} to {:.9}", after.y[0], after.t);
                }
                EventKind::Crossing => println!("turns  at x = {:+.9} at   t = {:.9}", after.y[0], after.t),
                EventKind::Graze => {}
            }
        }
    }
}

fn main() {
    let mut field = FilippovField::new(Oscillator);
    let mut stepper = ExplicitRk::new(&TSIT5, 3);
    let norm = WrmsNorm { rtol: 1e-10, atol: 1e-12 };
    let options = Options { t_end: 60.0, norm, max_steps: 100_000, fixed_step: None, retake: false, strides: false };
    let mut sticking = Sticking::default();
    let outcome = integrate(&mut field, &mut stepper, &[3.0, 0.0, 0.0], &options, &mut [], &mut sticking);
    println!("{}; at rest for {:.6} of {:.0}", outcome.reason, sticking.total, outcome.t);
}
