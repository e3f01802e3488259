//! Computing the cells of a plan that its directory does not have yet.

use super::error::SweepError;
use super::folder::SweepFolder;
use super::plan::SweepPlan;
use super::row::Row;
use crate::record::{RecordError, RunWriter, Table};
use crate::simulate::simulate;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fs, str};

/// The cells that one of several processes takes: every N-th one from the i-th on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// i, from 1 to N.
    pub index: usize,
    /// N.
    pub count: usize,
}

/// Follows a sweep from outside: tells it the time and when to end, and is told of its cells. `()` does nothing.
pub trait Watch: Sync {
    /// Whether to end after the current step of each running cell; asked often.
    fn interrupted(&self) -> bool {
        false
    }

    /// Seconds since some fixed moment, for the column `wall_seconds`.
    fn seconds(&self) -> f64 {
        0.0
    }

    /// A cell of this shard is finished: computed just now, or found in the directory.
    fn finished(&self, _row: &Row) {}
}

impl Watch for () {}

/// What a sweep has when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Swept {
    /// Rows of all finished cells in the directory, in order.
    pub rows: Vec<Row>,
    /// How many of them were there already.
    pub n_found: usize,
    /// Cells of this shard that are not finished, since the sweep was interrupted.
    pub n_pending: usize,
}

impl Shard {
    /// All cells.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Whether a cell is in this shard.
    pub fn owns(self, cell: usize) -> bool {
        cell % self.count == self.index - 1
    }
}

impl str::FromStr for Shard {
    type Err = SweepError;

    fn from_str(text: &str) -> Result<Self, SweepError> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
        match parts {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err(SweepError::Shard(text.to_owned())),
        }
    }
}

/// Computes the cells of `shard` that `folder` does not have, on up to `n_threads` threads, and writes the table.
///
/// The results do not depend on the number of threads. A cell that stops early is a row with its status; whatever keeps a record from
/// being written ends the sweep. One process at a time may write to a folder.
///
/// # Errors
/// When the folder belongs to something else, a finished cell to another scenario, or the file system refuses. Finished cells are kept.
pub fn run(
    plan: &SweepPlan,
    folder: &Path,
    shard: Shard,
    n_threads: usize,
    watch: &dyn Watch,
) -> Result<Swept, SweepError> {
    let folder = SweepFolder::create(folder, plan)?;
    let (found, missing): (Vec<usize>, Vec<usize>) = (0..plan.n_cells()).partition(|&cell| folder.is_finished(cell));
    let rows = found.into_iter().map(|cell| folder.row(plan, cell)).collect::<Result<Vec<_>, _>>()?;
    let pending: Vec<usize> = missing.into_iter().filter(|&cell| shard.owns(cell)).collect();
    rows.iter().filter(|row| shard.owns(row.cell)).for_each(|row| watch.finished(row));
    let n_found = rows.len();
    let n_workers = n_threads.min(pending.len()).max(1);
    let crew = Crew {
        plan,
        folder: &folder,
        watch,
        // Threads that have no cell of their own help those that have.
        n_threads: (n_threads / n_workers).max(1),
        next: AtomicUsize::new(0),
        is_ending: AtomicBool::new(false),
        done: Mutex::new(Done { table: folder.growing_table(plan)?, rows: Vec::new(), error: None }),
    };
    rows.into_iter().try_for_each(|row| crew.keep(row))?;
    std::thread::scope(|scope| {
        for _ in 0..n_workers {
            scope.spawn(|| crew.work(&pending));
        }
    });
    let Done { mut rows, error, .. } = crew.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|row| row.cell);
    folder.write_table(plan, &rows)?;
    let n_pending = pending.len() + n_found - rows.len();
    error.map_or(Ok(Swept { rows, n_found, n_pending }), Err)
}

/// Threads that take cells one after the other.
struct Crew<'a> {
    plan: &'a SweepPlan,
    folder: &'a SweepFolder,
    watch: &'a dyn Watch,
    /// For each cell.
    n_threads: usize,
    next: AtomicUsize,
    is_ending: AtomicBool,
    done: Mutex<Done>,
}

/// What the threads share.
struct Done {
    table: Table,
    rows: Vec<Row>,
    error: Option<SweepError>,
}

impl Crew<'_> {
    fn ends(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed) || self.watch.interrupted()
    }

    fn work(&self, pending: &[usize]) {
        while !self.ends() {
            let Some(&cell) = pending.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            let kept = self.compute(cell).and_then(|row| match row {
                Some(row) => {
                    self.watch.finished(&row);
                    self.keep(row)
                }
                None => Ok(()),
            });
            if let Err(error) = kept {
                self.is_ending.store(true, Ordering::Relaxed);
                self.done.lock().unwrap_or_else(PoisonError::into_inner).error.get_or_insert(error);
            }
        }
    }

    /// Runs one cell into a folder of its own; `None` when it was interrupted, which leaves nothing behind.
    fn compute(&self, cell: usize) -> Result<Option<Row>, SweepError> {
        let scenario = self.plan.scenario(cell)?;
        let folder = self.folder.unfinished(cell)?;
        let mut writer = RunWriter::create(&folder, &scenario)?;
        let began = self.watch.seconds();
        let run = simulate(&scenario.problem, &scenario.plan, self.n_threads, &mut writer, &|| self.ends());
        let summary = writer.finish(&run, self.watch.seconds() - began)?;
        match summary.stop_reason.as_deref() {
            Some("interrupted") => {
                fs::remove_dir_all(&folder).map_err(RecordError::io("remove", &folder))?;
                Ok(None)
            }
            Some("output_error") => Err(SweepError::Lost { cell, message: summary.stop_message.unwrap_or_default() }),
            _ => {
                self.folder.finish(cell)?;
                Ok(Some(Row::read(self.plan, cell, &self.folder.cell(cell))?))
            }
        }
    }

    fn keep(&self, row: Row) -> Result<(), SweepError> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let written = done.table.push(&row).and_then(|()| done.table.flush());
        done.rows.push(row);
        Ok(written.map_err(RecordError::io("write", self.folder.path()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_the_cells_out_without_rest() {
        for count in 1..=5 {
            for cell in 0..23 {
                let owners = (1..=count).filter(|&index| Shard { index, count }.owns(cell)).count();
                assert_eq!(owners, 1, "cell {cell} of {count} shards");
            }
        }
        for wrong in ["", "3", "0/2", "3/2", "1/0", "a/2", "1/2/3", "-1/2"] {
            let error = wrong.parse::<Shard>().expect_err(wrong);
            assert!(error.to_string().ends_with(&format!("found `{wrong}`")), "{error}");
        }
        assert_eq!("2/3".parse::<Shard>().ok(), Some(Shard { index: 2, count: 3 }));
    }
}
