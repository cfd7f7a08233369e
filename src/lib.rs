//! `runner`: transfer-learning and domain-adaptation experiments, declared in TOML.
//!
//! The way data flows is a one-way street: `config` reads a file, `plan` makes it a graph of
//! tasks with fingerprints, `exec` runs what the `store` does not hold yet, `report` writes the
//! results. `nn`, `data`, `adapt`, `train` and `metrics` are libraries that `stages` call.

pub mod adapt;
pub mod bytes;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod console;
pub mod data;
pub mod device;
pub mod digest;
pub mod exec;
pub mod fault;
pub mod memory;
pub mod metrics;
pub mod nn;
pub mod plan;
pub mod progress;
pub mod random;
pub mod report;
pub mod scratch;
pub mod stages;
#[cfg(test)]
#[path = "../tests/stand_in/mod.rs"]
mod stand_in;
pub mod store;
pub mod system;
pub mod train;
