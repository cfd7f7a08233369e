//! Turns a pipeline file into a checked pipeline and a graph of tasks.

pub mod fingerprint;
pub mod foresight;
pub mod goal;
pub mod graph;
mod link;
pub mod pipeline;
pub mod print;
pub mod resolve;
pub mod schema;
pub mod search;
pub mod table_spec;
pub mod tables;
pub mod trial;
pub mod trials;
