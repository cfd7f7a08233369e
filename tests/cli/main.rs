//! What a user sees: the real binary, on small pipelines in folders of their own. One program, so that
//! it is linked once.

mod binary;
mod latex;
mod photos;
mod synthetic_run;

mod activations;
mod check;
mod evaluate;
mod failures;
mod faults;
mod finetune;
mod images;
mod init;
mod memory;
mod output;
mod report;
mod report_chromium;
mod run;
mod runs;
mod schema;
mod search;
mod shared;
mod stop;
mod sweep;
mod table;
mod threads;
mod watch;
