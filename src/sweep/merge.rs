//! Putting the shards of a sweep together.

use super::error::SweepError;
use super::folder::SweepFolder;
use super::plan::SweepPlan;
use super::row::Row;
use crate::record::{RecordError, file as run_file};
use std::fs;
use std::path::{Path, PathBuf};

/// A sweep made from shards.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The plan they share.
    pub plan: SweepPlan,
    /// Rows of all cells that some shard has, in order.
    pub rows: Vec<Row>,
    /// Cells that no shard has.
    pub missing: Vec<usize>,
}

/// The plan that all these sweep directories share.
///
/// # Errors
/// When one is not a sweep, or their plans differ.
pub fn shared_plan(shards: &[PathBuf]) -> Result<SweepPlan, SweepError> {
    let mut first: Option<SweepPlan> = None;
    for shard in shards {
        let (_, plan) = SweepFolder::open(shard)?;
        match &first {
            Some(known) if known.text() != plan.text() => {
                return Err(SweepError::DifferentPlans(shards[0].clone(), shard.clone()));
            }
            Some(_) => {}
            None => first = Some(plan),
        }
    }
    first.ok_or_else(|| SweepError::NotASweep(PathBuf::new()))
}

/// Copies the finished cells of all `shards` into `out`, a sweep directory like any other afterwards, and writes its table.
///
/// # Errors
/// When a folder is not a sweep, plans or scenarios differ, or the file system refuses.
pub fn merge(shards: &[PathBuf], out: &Path) -> Result<Merged, SweepError> {
    let plan = shared_plan(shards)?;
    let target = SweepFolder::create(out, &plan)?;
    for shard in shards {
        let (source, _) = SweepFolder::open(shard)?;
        for cell in (0..plan.n_cells()).filter(|&cell| source.is_finished(cell)) {
            if target.is_finished(cell) {
                same_scenario(&source.cell(cell), &target.cell(cell))?;
                continue;
            }
            let unfinished = target.unfinished(cell)?;
            copy(&source.cell(cell), &unfinished)?;
            target.finish(cell)?;
        }
    }
    let (there, missing): (Vec<usize>, Vec<usize>) = (0..plan.n_cells()).partition(|&cell| target.is_finished(cell));
    let read = |cell| Row::read(&plan, cell, &target.cell(cell));
    let rows = there.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    target.write_table(&plan, &rows)?;
    Ok(Merged { plan, rows, missing })
}

fn same_scenario(a: &Path, b: &Path) -> Result<(), SweepError> {
    let text = |folder: &Path| {
        let path = folder.join(run_file::SCENARIO);
        fs::read(&path).map_err(RecordError::io("read", &path))
    };
    if text(a)? == text(b)? { Ok(()) } else { Err(SweepError::OtherScenario(a.to_path_buf())) }
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) -> Result<(), RecordError> {
    fs::create_dir_all(to).map_err(RecordError::io("create", to))?;
    for entry in fs::read_dir(from).map_err(RecordError::io("read", from))? {
        let source = entry.map_err(RecordError::io("read", from))?.path();
        let Some(name) = source.file_name() else { continue };
        let target = to.join(name);
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(RecordError::io("create", &target))?;
        }
    }
    Ok(())
}
