//! Reads finished runs, and writes their CSVs, tables, pictures and pages. It never computes what a stage
//! should have measured, and never resolves a pipeline to show a run that says what it needs to.

pub mod checksums;
pub mod csv;
mod earlier;
mod error;
pub mod figures;
pub mod finished;
pub mod html;
pub mod live;
pub mod measured;
mod older;
pub mod plot;
pub mod ranking;
pub mod record;
pub mod results;
pub mod runs;
pub mod scores;
pub mod stats;
pub mod table;
pub mod tables;
pub mod target_labels;
mod tasks;
mod tidy_scores;
pub mod trial_files;
pub mod trial_score;
pub mod trials;

pub use earlier::Earlier;
pub use error::Error;
