//! Turns a pipeline file into a checked pipeline and a graph of tasks.

mod link;
pub mod pipeline;
pub mod print;
pub mod resolve;
