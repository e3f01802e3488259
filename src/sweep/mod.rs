//! Sweeps: a grid of scenarios, run side by side into one directory and one table.
//!
//! [`SweepPlan`] is the grid as written, with every cell's scenario checked before anything runs; [`run()`] computes the cells that a
//! directory does not have yet, on any number of threads and with the same results; [`merge()`] puts the shards of a job array together.
//! A cell is a run directory made under another name and renamed when it is finished, and a [`Row`] is a function of that directory
//! alone, so that a sweep which was killed and resumed, or split into shards, gives the same table as one that was not.
//!
//! Must not know: the command line, the terminal, the clock (a [`Watch`] tells the time).

mod error;
mod execute;
mod fit;
mod folder;
mod merge;
mod plan;
mod row;

pub use error::SweepError;
pub use execute::{Shard, Swept, Watch, run};
pub use fit::decay_rate;
pub use merge::{Merged, merge, shared_plan};
pub use plan::{Axis, SweepPlan};
pub use row::Row;

/// Names in a sweep directory.
pub mod file {
    /// The plan with its base written into it.
    pub const PLAN: &str = "plan.ron";
    /// One line per finished cell.
    pub const TABLE: &str = "sweep.csv";
    /// One run directory per finished cell, named by its number in five digits.
    pub const CELLS: &str = "cells";
}
