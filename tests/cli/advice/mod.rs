//! Every piece of advice that a message gives is followed here, and must help. A test provokes the message
//! with the real binary, takes what it says in backticks, does it, and sees that the trouble is over.
//! [`census`] reads the program's text and fails for advice that no test follows.

mod census;
mod command;
mod crops;
mod data_sets;
mod features;
mod fetched;
mod lists;
mod mistakes;
mod open_set;
mod own_data;
mod pairs;
mod reuse;
mod scene;
mod settings;
mod source_text;
mod stages;
mod store;
mod sweeps;
mod training;
mod verbs;
mod without_source;
