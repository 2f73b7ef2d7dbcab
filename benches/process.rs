//! Programs as child processes: their logs, their processor time, their memory.

#![allow(dead_code, reason = "each example uses a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process, killed when dropped.
pub struct Process {
    pub child: Child,
    pub log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub fn beamflow(arguments: &[&str], log: PathBuf) -> Self {
        let example = std::env::current_exe().unwrap();
        let program = example.parent().unwrap().parent().unwrap().join("beamflow");
        assert!(program.exists(), "{} is not built", program.display());
        Self::start(Command::new(program).args(arguments), log)
    }

    /// What follows `words` in the log, up to the next space.
    pub fn said(&self, words: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            if let Some((_, rest)) = log.split_once(words)
                && let Some((word, _)) = rest.split_once([' ', '\n'])
            {
                return word.to_owned();
            }
            assert!(Instant::now() < deadline, "no '{words}' in:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processor time so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ is 100 on Linux.
        Duration::from_millis(ticks * 10)
    }

    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Its memory in use, in MiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let (_, rest) = status.split_once("VmRSS:").unwrap();
        let kib: u64 = rest.split_whitespace().next().unwrap().parse().unwrap();
        kib / 1024
    }

    /// The rest of its standard output, once it has ended.
    pub fn output(mut self) -> String {
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

/// The body of a page.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
