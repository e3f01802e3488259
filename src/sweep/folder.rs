//! The sweep directory: whose it is, which of its cells are finished, and its table.

use super::error::SweepError;
use super::file;
use super::plan::SweepPlan;
use super::row::Row;
use crate::record::{RecordError, Table, file as run_file};
use std::fs;
use std::path::{Path, PathBuf};

/// What stands behind the name of a file or folder until it is complete.
const UNFINISHED: &str = "tmp";

/// A sweep directory.
#[derive(Debug)]
pub(super) struct SweepFolder {
    path: PathBuf,
}

impl SweepFolder {
    /// Makes the directory of a plan, or takes up the one that is there.
    ///
    /// # Errors
    /// When it holds something else or a sweep of another plan, or cannot be written.
    pub fn create(path: &Path, plan: &SweepPlan) -> Result<Self, SweepError> {
        if path.exists() && !path.is_dir() {
            return Err(RecordError::NotAFolder(path.to_path_buf()).into());
        }
        let folder = Self { path: path.to_path_buf() };
        fs::create_dir_all(path).map_err(RecordError::io("create", path))?;
        let plan_path = path.join(file::PLAN);
        if plan_path.exists() {
            let text = fs::read_to_string(&plan_path).map_err(RecordError::io("read", &plan_path))?;
            if text != plan.text() {
                return Err(SweepError::OtherPlan(path.to_path_buf()));
            }
            return folder.with_cells();
        }
        // What a process that was killed right at its start leaves behind is no reason to refuse.
        let unfinished = plan_path.with_extension(UNFINISHED);
        for entry in fs::read_dir(path).map_err(RecordError::io("read", path))? {
            let entry = entry.map_err(RecordError::io("read", path))?.path();
            if entry != unfinished {
                return Err(SweepError::Occupied(path.to_path_buf()));
            }
        }
        fs::write(&unfinished, plan.text()).map_err(RecordError::io("write", &unfinished))?;
        fs::rename(&unfinished, &plan_path).map_err(RecordError::io("create", &plan_path))?;
        folder.with_cells()
    }

    /// Opens the directory of a sweep and reads its plan.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(path: &Path) -> Result<(Self, SweepPlan), SweepError> {
        let plan_path = path.join(file::PLAN);
        if !plan_path.is_file() {
            return Err(SweepError::NotASweep(path.to_path_buf()));
        }
        let text = fs::read_to_string(&plan_path).map_err(RecordError::io("read", &plan_path))?;
        Ok((Self { path: path.to_path_buf() }, SweepPlan::reread(&plan_path, text)?))
    }

    fn with_cells(self) -> Result<Self, SweepError> {
        let cells = self.cells();
        fs::create_dir_all(&cells).map_err(RecordError::io("create", &cells))?;
        Ok(self)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn cells(&self) -> PathBuf {
        self.path.join(file::CELLS)
    }

    /// The run directory of a finished cell.
    pub fn cell(&self, cell: usize) -> PathBuf {
        self.cells().join(format!("{cell:05}"))
    }

    /// Where a cell is while it is not finished; what an earlier process left there is removed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn unfinished(&self, cell: usize) -> Result<PathBuf, RecordError> {
        let path = self.cell(cell).with_extension(UNFINISHED);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(RecordError::io("remove", &path))?;
        }
        Ok(path)
    }

    /// Gives an unfinished cell its name, in one act.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn finish(&self, cell: usize) -> Result<(), RecordError> {
        let path = self.cell(cell);
        fs::rename(path.with_extension(UNFINISHED), &path).map_err(RecordError::io("create", &path))
    }

    pub fn is_finished(&self, cell: usize) -> bool {
        self.cell(cell).is_dir()
    }

    /// The row of a finished cell, which must have been made from the scenario that the plan gives now.
    ///
    /// # Errors
    /// When it was not, or cannot be read.
    pub fn row(&self, plan: &SweepPlan, cell: usize) -> Result<Row, SweepError> {
        let archive = plan.scenario(cell)?.archive;
        let folder = self.cell(cell);
        let is_same = |name: &str, content: &[u8]| fs::read(folder.join(name)).is_ok_and(|found| found == content);
        let is_whole = is_same(run_file::SCENARIO, archive.text.as_bytes())
            && archive.files.iter().all(|(name, content)| is_same(name, content));
        if is_whole { Ok(Row::read(plan, cell, &folder)?) } else { Err(SweepError::OtherScenario(folder)) }
    }

    /// An empty table, to which rows are appended as they come.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn growing_table(&self, plan: &SweepPlan) -> Result<Table, RecordError> {
        create_table(self.path.join(file::TABLE), plan)
    }

    /// Replaces the table by one with these rows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_table(&self, plan: &SweepPlan, rows: &[Row]) -> Result<(), RecordError> {
        let path = self.path.join(file::TABLE);
        let unfinished = path.with_extension(UNFINISHED);
        let mut table = create_table(unfinished.clone(), plan)?;
        let written = rows.iter().try_for_each(|row| table.push(row)).and_then(|()| table.flush());
        written.map_err(RecordError::io("write", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(RecordError::io("replace", &path))
    }
}

fn create_table(path: PathBuf, plan: &SweepPlan) -> Result<Table, RecordError> {
    let columns = Row::columns(plan);
    Table::create(path, &columns.iter().map(String::as_str).collect::<Vec<_>>())
}
