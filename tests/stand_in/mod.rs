//! A GPU for tests on machines without one: a stand-in for the driver's library, whose device is this processor. It runs
//! the same kernels, compiled by g++, and fails where a GPU would. `build.sh` says how.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the library, which is built first where it is not current; absent where it cannot be built.
pub fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(built).as_deref()
}

fn built() -> Option<PathBuf> {
    if Command::new("g++").arg("--version").output().is_err() {
        left_out("everything on a GPU: no g++ here, which compiles the stand-in for one");
        return None;
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = project.join("target/stand_in");
    let built = Command::new("bash")
        .arg(project.join("tests/stand_in/build.sh"))
        .arg(&folder)
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the stand-in for a GPU is not built: {said}");
    Some(folder)
}

/// Says what a test could not do here, for the gate's last lines too.
fn left_out(why: &str) {
    eprintln!("LEFT OUT: {why}");
    if let Some(file) = std::env::var_os("RUNNER_TESTS_LEFT_OUT") {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        if let Ok(mut file) = file {
            let _ = writeln!(file, "{why}");
        }
    }
}

/// The stand-in in this process: from here on the program finds it as the driver's library.
pub fn here() -> Option<&'static StandIn> {
    static HERE: OnceLock<Option<StandIn>> = OnceLock::new();
    let load = || {
        // SAFETY: the library's initialisers are those of its own sources.
        let library = unsafe { libloading::Library::new(folder()?.join("libcuda.so.1")) };
        Some(StandIn(library.expect("the stand-in loads")))
    };
    HERE.get_or_init(load).as_ref()
}

/// The stand-in's library.
pub struct StandIn(libloading::Library);

impl StandIn {
    /// How often something was asked of it since it was last reset: `launches`, `graph_launches`, `synchronisations`,
    /// `allocations`, `uploads`, `uploaded_bytes`, `downloads`, `instantiations` and what else `driver.cpp` counts.
    pub fn count(&self, what: &str) -> u64 {
        let what = std::ffi::CString::new(what).unwrap();
        type Count = unsafe extern "C" fn(*const std::ffi::c_char) -> u64;
        // SAFETY: the library has this function, and reads the text before it returns.
        unsafe { self.0.get::<Count>(b"stand_in_count\0").unwrap()(what.as_ptr()) }
    }

    /// Begins to count again.
    pub fn reset(&self) {
        // SAFETY: the library has this function.
        unsafe { self.0.get::<unsafe extern "C" fn()>(b"stand_in_reset\0").unwrap()() }
    }

    /// Overrides a variable of the environment for it alone.
    pub fn set(&self, name: &str, value: &str) {
        let [name, value] = [name, value].map(|it| std::ffi::CString::new(it).unwrap());
        type Set = unsafe extern "C" fn(*const std::ffi::c_char, *const std::ffi::c_char);
        // SAFETY: the library has this function, and copies both texts before it returns.
        unsafe { self.0.get::<Set>(b"stand_in_set\0").unwrap()(name.as_ptr(), value.as_ptr()) };
    }
}
