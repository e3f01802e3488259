//! Watches a gradient flow: samples, events, the NTK spectrum, identities. Decides nothing about files.

pub mod accuracy;
pub mod audit;
pub mod identities;
pub mod monitor;
pub mod path;
pub mod rows;
pub mod spectra;

pub use accuracy::{Accuracy, Grounds, Level};
pub use audit::Audit;
pub use identities::{Allowed, Identities, IdentityPoint, IdentityReport};
pub use monitor::{EventCounts, Monitor, Observed};
pub use path::Path;
pub use rows::{BranchRow, ConservedRow, EventRow, Row, RowSide, Sink, StartRow, StepLimit, StepRow};
pub use spectra::Spectra;
