//! A child process with a time limit, whose output goes to a file.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::place::{Folder, wait_for};

/// A running program; killed by its process id when dropped.
pub struct Program {
    name: String,
    child: Child,
    /// Kept open: some programs spin when their input has ended.
    input: Option<ChildStdin>,
    output: PathBuf,
}

impl Program {
    /// Starts `command` with both outputs in `<name>.out` of `folder`.
    pub fn start(name: &str, mut command: Command, folder: &Folder) -> Program {
        let output = folder.join(&format!("{name}.out"));
        let file = File::create(&output).unwrap();
        let mut child = command
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} ({:?}): {error}", command.get_program()));
        let input = child.stdin.take();
        Program {
            name: name.to_owned(),
            child,
            input,
            output,
        }
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(&what, limit, || self.child.try_wait().unwrap())
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it this signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.unwrap().success(), "{} is not there for SIG{name}", self.name);
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        if matches!(self.child.try_wait(), Ok(None)) {
            // it may end in this very moment
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let output = self.output();
            let from = output.char_indices().rev().nth(6000).map_or(0, |(index, _)| index);
            eprintln!("---- output of {}\n{}", self.name, &output[from..]);
        }
    }
}
