//! Full disk: a start that needs space fails with a clear message; a running sidecar never fails.
//!
//! The file system is real and small: a tmpfs in a mount namespace of the sidecar.

use crate::black_box::common::{NEVER, SIM, assert_result, call, ended};
use beamflow::commands::child::ChildSidecar;
use beamflow::vertex::client::Driver;
use beamflow_needs::needs;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// Mounts a file system of 64 KiB at the folder `$0`; the rest of the script is appended.
const MOUNT: &str = "mount -t tmpfs -o size=64k tmpfs \"$0\" || exit 77; ";

/// `script` in its own mount namespace, in which `folder` is a file system of 64 KiB; then the program.
fn on_tiny_disk(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--user", "--map-root-user", "sh", "-c"])
        .arg(format!("{MOUNT}{script} exec \"$@\""))
        .arg(folder)
        .arg(PROGRAM);
    command
}

/// Fills the file system of `folder` to the last byte.
fn fill(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("rubbish")).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[7; 512]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[needs(mounts)]
#[tokio::test]
async fn a_disk_that_fills_up_stops_no_frame() {
    let folder = tempfile::tempdir().unwrap();
    let command = on_tiny_disk(folder.path(), "cd \"$0\"; TMPDIR=\"$0\"; export TMPDIR;");
    let flags = ["--model-path", SIM, "--output-size", "full"].map(str::to_owned);
    let mut sidecar = ChildSidecar::start_as(command.into(), folder.path(), &flags).unwrap();
    // The socket and the server-info file are on the small disk, which is reached through the process's root.
    let disk = PathBuf::from(format!("/proc/{}/root", sidecar.pid().unwrap()))
        .join(folder.path().strip_prefix("/").unwrap());
    let (sock, info) = (disk.join("batchmap.sock"), disk.join("mapper-server-info"));
    let mut driver = Driver::wait_ready(&info, &sock, NEVER).await.unwrap();
    fill(&disk);
    for _ in 0..100 {
        let answer = call(&mut driver, 50).await;
        (0..50).for_each(|k| assert_result(&answer, k));
    }
    // A client that reconnects finds it too.
    drop(driver);
    let mut driver = Driver::wait_ready(&info, &sock, NEVER).await.unwrap();
    assert_result(&call(&mut driver, 9).await, 8);
    let written: Vec<_> = std::fs::read_dir(&disk)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "rubbish")
        .collect();
    assert_eq!(written.len(), 2, "{written:?}");
    drop(driver);
    sidecar.terminate().unwrap();
    let status = sidecar.ended().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", sidecar.log_tail());
}

#[tokio::test]
async fn a_sidecar_that_serves_has_no_file_open_to_write_but_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--model-path", SIM, "--output-size", "full"].map(str::to_owned);
    let mut sidecar = ChildSidecar::start(Path::new(PROGRAM), folder.path(), &flags).unwrap();
    let mut driver = sidecar.connect().await.unwrap();
    assert_eq!(call(&mut driver, 50).await.len(), 50);
    let process = PathBuf::from(format!("/proc/{}", sidecar.pid().unwrap()));
    let mut written = Vec::new();
    for open in std::fs::read_dir(process.join("fd")).unwrap() {
        let open = open.unwrap();
        // A descriptor may be closed while they are read.
        let Ok(info) = std::fs::read_to_string(process.join("fdinfo").join(open.file_name()))
        else {
            continue;
        };
        let (_, flags) = info.split_once("flags:").unwrap();
        let flags = flags.lines().next().unwrap().trim();
        let is_read_only = u32::from_str_radix(flags, 8).unwrap() & 0o3 == 0;
        let Ok(target) = std::fs::read_link(open.path()) else {
            continue;
        };
        let is_file = std::fs::metadata(&target).is_ok_and(|file| {
            let kind = file.file_type();
            !kind.is_char_device() && !kind.is_socket() && !kind.is_fifo()
        });
        if is_file && !is_read_only {
            written.push(target);
        }
    }
    assert_eq!(written, [folder.path().join("sidecar.log")]);
    drop(driver);
    sidecar.stop().await.unwrap();
}

#[needs(mounts)]
#[tokio::test]
async fn a_full_disk_ends_the_start_with_path_and_remedy() {
    let (disk, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fill = "head -c 1M /dev/zero > \"$0/rubbish\" 2>/dev/null;";
    let mut command = on_tiny_disk(disk.path(), fill);
    let info = disk.path().join("mapper-server-info");
    command
        .args([
            "--model-path",
            SIM,
            "--output-size",
            "full",
            "--http-address",
            "off",
        ])
        .arg("--sock-path")
        .arg(other.path().join("sock"))
        .arg("--server-info-path")
        .arg(&info);
    let output = ended(command).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        info.to_str().unwrap(),
        "No space left",
        "--server-info-path",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let left = std::fs::read_dir(other.path()).unwrap().count();
    assert_eq!(left, 0, "the socket is left behind");
}
