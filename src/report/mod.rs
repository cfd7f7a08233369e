//! Reads finished runs and writes CSV and tables. Never computes what a stage should have.

pub mod csv;
pub mod live;
pub mod record;
pub mod results;
pub mod scores;
pub mod stats;
pub mod table;
pub mod trials;
