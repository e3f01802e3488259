//! Initial parameters.
