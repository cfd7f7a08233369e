//! Turns a pipeline file into a checked pipeline and a graph of tasks.

pub mod fingerprint;
pub mod graph;
pub mod pipeline;
pub mod trial;
