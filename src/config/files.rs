//! Files that the configuration names.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::report::Report;

/// The longest file that is read: a million users take some 60 MB.
const LENGTH_MAX: u64 = 1 << 30;

/// The permission of everybody to read.
const READ_BY_OTHERS: u32 = 0o004;

/// The path that `text` means: relative to the configuration file.
pub fn path(text: &str, report: &Report) -> PathBuf {
    report.folder().join(text)
}

/// The bytes of the file; that it cannot be read goes to the report, at `span`.
pub fn read(path: &Path, span: &Range<usize>, report: &mut Report) -> Option<Vec<u8>> {
    let shown = path.display();
    let read = fs::metadata(path).and_then(|metadata| match metadata.len() {
        0..=LENGTH_MAX => fs::read(path).map(Some),
        _ => Ok(None),
    });
    match read {
        Ok(Some(bytes)) => Some(bytes),
        Ok(None) => {
            report.error(span.clone(), format!("{shown} is longer than {LENGTH_MAX} bytes"));
            None
        }
        Err(error) => {
            report.error(span.clone(), format!("cannot read {shown}: {error}"));
            None
        }
    }
}

/// Warns when everybody on this machine can read the file, which holds secrets.
pub fn warn_if_public(path: &Path, span: &Range<usize>, report: &mut Report) {
    let Ok(metadata) = fs::metadata(path) else { return };
    if metadata.mode() & READ_BY_OTHERS != 0 {
        let shown = path.display();
        report
            .warning(
                span.clone(),
                format!("{shown} holds secrets and everybody on this machine can read it"),
            )
            .help = Some(format!("chmod o-r {shown}"));
    }
}
