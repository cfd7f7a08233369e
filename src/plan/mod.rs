//! Turns a pipeline file into a checked pipeline and a graph of tasks.

pub mod pipeline;
