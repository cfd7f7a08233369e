//! What to do when the system refuses something, in words.

use std::io;

/// What to do when there is not enough of something; `None` when that is not what is wrong.
pub fn shortage(source: &io::Error) -> Option<String> {
    /// ENFILE and EMFILE.
    const HANDLES: [i32; 2] = [23, 24];
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or give a folder on another disk with `--store DIR`".into())
        }
        _ if cfg!(unix) && source.raw_os_error().is_some_and(|it| HANDLES.contains(&it)) => {
            Some("raise the limit of open files, with `ulimit -n`, or close other programs".into())
        }
        _ => None,
    }
}

/// What to do when a folder that `option` names is refused.
pub fn refused(source: &io::Error, option: &str) -> String {
    shortage(source).map_or_else(
        || match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => {
                format!("give a folder that can be written with `{option} DIR`")
            }
            _ => format!(
                "check the folder's owner and permissions, or give another one with `{option} DIR`"
            ),
        },
        |advice| advice.replace("--store", option),
    )
}
