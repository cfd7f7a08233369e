//! Reads finished runs and writes CSV and tables. Never computes what a stage should have.

pub mod csv;
pub mod record;
pub mod results;
pub mod table;
pub mod trials;
