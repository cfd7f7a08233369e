//! Reads finished runs and writes CSV, tables, pictures and pages. Never computes what a stage should have.

pub mod csv;
pub mod figures;
pub mod html;
pub mod loaded;
pub mod plot;
pub mod record;
pub mod results;
pub mod table;
