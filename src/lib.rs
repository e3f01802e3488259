//! Exact gradient flow of neural networks with piecewise-polynomial activations: every crossing of a kink is located, sliding along
//! kinks is followed, and the spectrum of the neural tangent kernel is watched over continuous time.
//!
//! ```text
//!   RON text ──scenario──▶ Problem + Plan ──simulate──▶ Simulated (outcome, what was observed)
//!                                              │
//!      data ─┐                                 ▼
//!            ├─▶ flow: −∇L in a mode ──▶ ode: attempt → judge → locate → commit → tell ──▶ observe ──▶ Sink (rows)
//!      net  ─┘    (a PiecewiseField)          (the loop)                                   │
//!                                                                                         ntk: G, λ_min, verdicts
//! ```
//!
//! - [`scenario`] reads what users write and reports every fault of a text at once.
//! - [`data`] and [`net`] describe samples and the network as a function of θ; they know no time.
//! - [`ode`] integrates piecewise-smooth fields with located events and sliding; it knows no networks. [`ode::PiecewiseField`],
//!   [`ode::Stepper`] and [`ode::Observer`] are its seams, [`ode::FilippovField`] is the door for systems of your own.
//! - [`flow`] joins the two: θ̇ = −∇L(θ) as a piecewise field, sliding units included.
//! - [`ntk`] computes the Gram matrix G = J Jᵀ without J, its extreme eigenvalues and their resolution, and λ₀.
//! - [`observe`] turns a run into rows, checks identities, and counts events.
//! - [`descent`] follows discrete gradient descent beside the flow, and measures how far apart they are.
//! - [`record`] writes and reads run directories; [`report`] makes pages and figures from them alone.
//! - [`simulate`](mod@simulate) runs a scenario in one call.
//! - [`sweep`] runs a grid of scenarios side by side into one table, and goes on where it was stopped.
//! - [`theory`] judges a run claim by claim.
//!
//! The mathematics, with all constants and with what event location does not find, is in `docs/mathematics.md`; who may name whom is
//! in `ARCHITECTURE.md`.
//!
//! # Example
//!
//! ```
//! use gradflow::scenario::Scenario;
//! use gradflow::simulate::simulate;
//!
//! // One hidden unit on two samples; its kink sticks to the second sample for a while.
//! let scenario = Scenario::load("sliding-1d", &[])?;
//! let run = simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false);
//! assert!(run.outcome.reason.is_completion());
//!
//! let seen = &run.observed;
//! assert_eq!((seen.events.slide_enter, seen.events.slide_exit), (1, 1));
//! assert!(seen.loss_final < seen.loss_initial);
//! assert!(seen.identities.energy_defect < 1e-8);
//! println!("{}: {}", seen.bound.verdict.as_str(), seen.bound.reason);
//! # Ok::<(), gradflow::scenario::ScenarioError>(())
//! ```

pub mod cholesky;
pub mod data;
pub mod descent;
pub mod flow;
pub mod logistic;
pub mod loss;
pub mod net;
pub mod ntk;
pub mod observe;
pub mod ode;
pub mod record;
pub mod report;
pub mod scenario;
pub mod simulate;
pub mod sweep;
pub mod theory;
pub mod vector;

/// Keeps the Rust code in the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
