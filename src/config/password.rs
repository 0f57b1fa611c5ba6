//! A password from the terminal, which does not show it, or from standard input.
#![expect(
    unsafe_code,
    reason = "the standard library cannot switch the echo of a terminal off"
)]

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};

use zeroize::Zeroizing;

/// The longest password.
const LENGTH_MAX: u64 = 1024;

/// Asks for a password, twice on a terminal; elsewhere it is the first line of standard input.
pub fn read() -> io::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(&mut stdin.lock());
    }
    let password = ask("Password: ")?;
    if *ask("Again: ")? != *password {
        return Err(io::Error::other("the two passwords differ"));
    }
    Ok(password)
}

fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let stdin = io::stdin();
    let silence = Silence::begin(&stdin)?;
    let password = line(&mut stdin.lock());
    drop(silence);
    terminal.write_all(b"\n")?;
    password
}

fn line(input: &mut impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    input.take(LENGTH_MAX).read_line(&mut line)?;
    let password = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if password.is_empty() {
        return Err(io::Error::other("the password is empty"));
    }
    if password.chars().any(char::is_control) {
        return Err(io::Error::other("a password has no control characters"));
    }
    Ok(password)
}

/// While it lives the terminal shows nothing.
struct Silence<'a> {
    terminal: BorrowedFd<'a>,
    before: libc::termios,
}

impl<'a> Silence<'a> {
    fn begin(terminal: &'a impl std::os::fd::AsFd) -> io::Result<Silence<'a>> {
        let terminal = terminal.as_fd();
        // SAFETY: termios is plain data, of which all zeros is a value.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open as long as it is borrowed, and `before` is written within its bounds.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        // SAFETY: as above; `silent` is only read.
        if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, &silent) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // SAFETY: the descriptor is open as long as it is borrowed; `before` is only read.
        unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSAFLUSH, &self.before) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        for (input, expected) in [
            ("secret\nmore\n", Some("secret")),
            ("two words\r\n", Some("two words")),
            ("secret", Some("secret")),
            ("\n", None),
            ("", None),
            ("a\tb\n", None),
        ] {
            let read = line(&mut input.as_bytes()).ok();
            assert_eq!(read.as_ref().map(|password| password.as_str()), expected, "{input:?}");
        }
    }
}
