//! Turns a pipeline file into a checked pipeline and a graph of tasks.

pub mod column_label;
pub mod domains;
mod draft;
pub mod fingerprint;
pub mod foresight;
pub mod goal;
pub mod graph;
pub mod kept;
mod labels;
mod link;
mod loss;
pub mod manual;
mod origin;
pub mod pipeline;
mod pipeline_file;
pub mod print;
pub mod resolve;
pub mod resources;
pub mod schema;
pub mod search;
mod sections;
pub mod table_spec;
pub mod tables;
pub mod trial;
pub mod trials;
