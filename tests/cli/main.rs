//! What a user sees: the real binary, on small pipelines in folders of their own. One program, so that
//! it is linked once.

mod binary;
mod latex;
mod photos;
mod synthetic_run;

mod activations;
mod advice;
mod backends;
mod check;
mod classes;
mod command;
mod crops;
mod docs;
mod epoch;
mod evaluate;
mod failures;
mod faults;
mod features;
mod finetune;
mod gc;
mod gpu;
mod images;
mod init;
mod input;
mod memory;
mod older;
mod open_set;
mod output;
mod protocols;
mod python;
mod queue;
mod ranking;
mod report;
mod report_chromium;
mod results;
mod run;
mod runs;
mod sampler;
mod schema;
mod seam;
mod search;
mod shared;
mod slurm;
mod sources;
#[path = "../stand_in/mod.rs"]
mod stand_in;
mod stop;
mod sweep;
mod table;
mod threads;
mod watch;
mod weights;
mod without_source;
mod work;
mod workers;
