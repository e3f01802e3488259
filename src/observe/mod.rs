//! Watches a gradient flow: samples, events, the NTK spectrum, identities. Decides nothing about files.

pub mod audit;
pub mod identities;
pub mod monitor;
pub mod rows;

pub use audit::Audit;
pub use identities::{Identities, IdentityReport};
pub use monitor::{EventCounts, Monitor, Observed};
pub use rows::{BranchRow, EventRow, Row, RowSide, Sink, StartRow};
