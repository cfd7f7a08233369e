//! The pieces of work that `benches/compare.py` times against PyTorch, this project's side.
//!
//! Reads lines `WORK TIMES` and answers each with that many times in milliseconds, so that the
//! caller can take turns with another program: `cargo bench --bench work -- THREADS`.
//! Images and labels are made up; both sides do the same number of the same steps.

#[allow(dead_code, reason = "a bench that shares it does not use all of it")]
mod steps;

fn main() {
    let words: Vec<String> = runner::system::command_line().into_iter().skip(1).collect();
    let threads = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1);
    runner::memory::keep_freed_memory();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| steps::answer(&runner::nn::ops::CpuOps::shared()));
}
