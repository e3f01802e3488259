//! What can go wrong with a sweep as a whole. What goes wrong in a cell is a row of its table.

use crate::record::RecordError;
use crate::scenario::ScenarioError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a sweep cannot be run or merged.
#[derive(Debug, Error)]
pub enum SweepError {
    /// Neither a file nor an embedded plan has this name.
    #[error("`{name}` is neither a file nor an embedded plan")]
    UnknownPlan {
        /// The name.
        name: String,
        /// What to try instead.
        hint: String,
    },
    /// The plan, or a scenario it makes, is at fault.
    #[error(transparent)]
    Plan(#[from] ScenarioError),
    /// A folder cannot be made, read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A shard that is not `i/N`.
    #[error("expected a shard i/N with 1 ≤ i ≤ N, such as 1/4, found `{0}`")]
    Shard(String),
    /// The folder holds other things.
    #[error("`{}` is not empty and is not a gradflow sweep, so nothing is written to it", .0.display())]
    Occupied(PathBuf),
    /// The folder belongs to another sweep.
    #[error("`{}` holds a sweep of another plan, so nothing is written to it", .0.display())]
    OtherPlan(PathBuf),
    /// A finished cell was made from something else than the plan says now.
    #[error("`{}` was made from another scenario than the plan gives now: its base or its data have changed", .0.display())]
    OtherScenario(PathBuf),
    /// The folder has no sweep in it.
    #[error("`{}` is not a sweep: it has no plan.ron", .0.display())]
    NotASweep(PathBuf),
    /// The shards do not have the same plan.
    #[error("`{}` and `{}` are sweeps of different plans", .0.display(), .1.display())]
    DifferentPlans(PathBuf, PathBuf),
    /// The record of a cell could not be written to its end.
    #[error("cell {cell}: {message}")]
    Lost {
        /// Its number.
        cell: usize,
        /// Why.
        message: String,
    },
}

impl SweepError {
    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPlan { hint, .. } => Some(hint.clone()),
            Self::Occupied(_) => Some("choose another folder with --out, or empty this one".to_owned()),
            Self::OtherPlan(_) => Some("choose another folder with --out; plan.ron says what this one is".to_owned()),
            Self::OtherScenario(_) => Some("choose another folder with --out, or remove this cell".to_owned()),
            Self::NotASweep(_) => Some("give folders that `gradflow sweep` said it wrote".to_owned()),
            Self::Lost { .. } => Some("finished cells are kept; make room and run the same command again".to_owned()),
            Self::Record(error) => error.hint().map(str::to_owned),
            Self::Plan(_) | Self::Shard(_) | Self::DifferentPlans(..) => None,
        }
    }
}
