//! A peer: a Python program on private ports, driven line by line.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::Value;

/// Long enough for a loaded machine: no test waits for it unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program, killed when it is dropped.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// The ports of a peer. No other process on this machine should use them.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) tcp: u16,
    pub(crate) udp: u16,
}

impl Ports {
    /// Two that are free now, and that no other test of this program has had.
    pub(crate) fn free() -> Self {
        static USED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
        let mut used = USED.lock().unwrap();
        let mut new = |port: &mut dyn FnMut() -> u16| {
            loop {
                let port = port();
                if used.insert(port) {
                    return port;
                }
            }
        };
        let any = ("127.0.0.1", 0);
        Self {
            tcp: new(&mut || TcpListener::bind(any).unwrap().local_addr().unwrap().port()),
            udp: new(&mut || UdpSocket::bind(any).unwrap().local_addr().unwrap().port()),
        }
    }
}

impl Peer {
    /// Starts `script` of this folder. Nothing that it sends leaves this machine.
    pub(crate) fn start(script: &str, arguments: &[&str], ports: Ports) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/peers")
            .join(script);
        let mut command = python();
        command.arg(path).args(arguments);
        Self::spawn(command, ports)
    }

    /// Starts `program` of the Python environment.
    pub(crate) fn start_program(program: &str, arguments: &[&str], ports: Ports) -> Self {
        let python = python();
        let path = Path::new(python.get_program()).with_file_name(program);
        let mut command = Command::new(python.get_program());
        command.arg("-u").arg(path).args(arguments);
        Self::spawn(command, ports)
    }

    fn spawn(mut command: Command, Ports { tcp, udp }: Ports) -> Self {
        let (tcp, udp) = (tcp.to_string(), udp.to_string());
        command
            .env("EPICS_PVA_AUTO_ADDR_LIST", "NO")
            .env("EPICS_PVA_ADDR_LIST", "127.0.0.1")
            .env("EPICS_PVAS_INTF_ADDR_LIST", "127.0.0.1")
            .env("EPICS_PVAS_AUTO_BEACON_ADDR_LIST", "NO")
            .env("EPICS_PVA_BROADCAST_PORT", &udp)
            .env("EPICS_PVAS_BROADCAST_PORT", &udp)
            .env("EPICS_PVA_SERVER_PORT", &tcp)
            .env("EPICS_PVAS_SERVER_PORT", &tcp);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(1000);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            input,
            lines,
        }
    }

    /// The next line of its output that is JSON.
    pub(crate) fn line(&self) -> Value {
        loop {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .expect("the peer is silent");
            if let Ok(value) = serde_json::from_str(&line) {
                return value;
            }
        }
    }

    /// Sends `command` and waits until it is done.
    pub(crate) fn tell(&mut self, command: &Value) {
        writeln!(self.input, "{command}").unwrap();
        let answer = self.line();
        assert!(answer.get("done").is_some(), "{answer}");
    }

    /// Stops it, as a debugger does: it lives on, and does nothing.
    pub(crate) fn stop(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-STOP", &id]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The interpreter with the peers' packages. The variable is read at compile time too, so that these tests are
/// compiled anew, and no longer ignored, when it is set.
fn python() -> Command {
    let _ = option_env!("BEAMFLOW_PYTHON");
    let mut command = Command::new(std::env::var_os("BEAMFLOW_PYTHON").expect("the test needs it"));
    command.arg("-u");
    command
}

/// `bytes` in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
