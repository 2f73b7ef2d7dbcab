//! A folder that does not let the sidecar write is told as such, and a stale file as a stale file.

use crate::black_box::common::{SIM, ended};
use beamflow_needs::needs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// The user of the image.
const USER: u32 = 65532;

/// The arguments of a sidecar with these files.
fn with_files(mut command: Command, sock: &Path, info: &Path) -> Command {
    command.args([
        "--model-path",
        SIM,
        "--output-size",
        "full",
        "--http-address",
        "off",
    ]);
    command.arg("--sock-path").arg(sock);
    command.arg("--server-info-path").arg(info);
    command
}

/// What a sidecar with these files says when it does not start, as the image's user.
async fn refused(sock: &Path, info: &Path) -> String {
    let mut command = with_files(Command::new(PROGRAM), sock, info);
    command.uid(USER).gid(USER).current_dir("/");
    let output = ended(command).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let told = text.lines().find(|line| line.contains("ERROR"));
    told.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// A folder that every user may enter, and in it one with this mode.
fn folder(mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
    let top = tempfile::tempdir().unwrap();
    set_mode(top.path(), 0o755);
    let inner = top.path().join("run");
    std::fs::create_dir(&inner).unwrap();
    set_mode(&inner, mode);
    (top, inner)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[needs(other_user)]
#[tokio::test]
async fn a_folder_of_another_user_is_told_with_its_owner() {
    let (_open, free) = folder(0o777);
    for (mode, doing) in [(0o700, "enter"), (0o755, "write to"), (0o711, "write to")] {
        let (_top, shut) = folder(mode);
        let below = shut.join("numaflow");
        for (sock, info, flag) in [
            (shut.join("sock"), free.join("info"), "--sock-path"),
            (below.join("sock"), free.join("info"), "--sock-path"),
            (free.join("sock"), shut.join("info"), "--server-info-path"),
            (free.join("sock"), below.join("info"), "--server-info-path"),
        ] {
            let told = refused(&sock, &info).await;
            let folder = format!("cannot {doing} the folder {}, which", shut.display());
            let owner = format!("belongs to user 0, group 0, with mode {mode:04o}");
            let process = format!("this process (user {USER}, group {USER})");
            for words in [
                &*folder,
                &owner,
                &process,
                "fsGroup",
                "runAsUser",
                &format!("another {flag}"),
            ] {
                assert!(told.contains(words), "no {words:?} in: {told}");
            }
            assert!(!told.contains("earlier sidecar"), "{told}");
            assert!(!free.join("sock").exists(), "the socket is left behind");
        }
    }
}

#[needs(other_user)]
#[tokio::test]
async fn a_stale_file_that_cannot_be_removed_is_told_as_stale() {
    let (_top, shut) = folder(0o755);
    let (_open, free) = folder(0o777);
    let sock = shut.join("sock");
    drop(UnixListener::bind(&sock).unwrap());
    set_mode(&sock, 0o777);
    let told = refused(&sock, &free.join("info")).await;
    for words in [
        sock.to_str().unwrap(),
        "earlier sidecar",
        "cannot write to the folder",
        "fsGroup",
    ] {
        assert!(told.contains(words), "no {words:?} in: {told}");
    }
    // In a folder like /tmp the owner of the file is the reason.
    let (_sticky, shared) = folder(0o1777);
    let info = shared.join("info");
    std::fs::write(&info, "").unwrap();
    let told = refused(&free.join("sock"), &info).await;
    for words in [
        "server-info file",
        "earlier sidecar",
        "belongs to user 0",
        "remove it by hand",
    ] {
        assert!(told.contains(words), "no {words:?} in: {told}");
    }
    // A socket that this user may not connect to may be in use.
    let theirs = free.join("theirs");
    let _listener = UnixListener::bind(&theirs).unwrap();
    set_mode(&theirs, 0o700);
    let told = refused(&theirs, &free.join("info")).await;
    for words in [
        "belongs to user 0",
        "may not connect",
        "another --sock-path",
    ] {
        assert!(told.contains(words), "no {words:?} in: {told}");
    }
    assert!(
        !told.contains("earlier sidecar") && theirs.exists(),
        "{told}"
    );
}

#[needs(mounts)]
#[tokio::test]
async fn a_read_only_disk_is_told_with_the_remedy() {
    let (disk, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (sock, info, flag) in [
        (
            disk.path().join("sock"),
            other.path().join("info"),
            "--sock-path",
        ),
        (
            other.path().join("sock"),
            disk.path().join("info"),
            "--server-info-path",
        ),
        (
            other.path().join("sock"),
            disk.path().join("a/b/info"),
            "--server-info-path",
        ),
    ] {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--user", "--map-root-user", "sh", "-c"])
            .arg("mount -t tmpfs -o ro,size=64k tmpfs \"$0\" || exit 77; exec \"$@\"")
            .arg(disk.path())
            .arg(PROGRAM);
        let output = ended(with_files(command, &sock, &info)).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        let folder = format!("the folder {} is on a read-only", disk.path().display());
        for words in [&*folder, "emptyDir", &format!("another {flag}")] {
            assert!(told.contains(words), "no {words:?} in: {told}");
        }
        assert!(!told.contains("earlier sidecar"), "{told}");
    }
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_told_with_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let sock = folder.path().join("s".repeat(120));
    let command = with_files(Command::new(PROGRAM), &sock, &folder.path().join("info"));
    let output = ended(command).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("at most 107") && told.contains("--sock-path"),
        "{told}"
    );
}

#[needs(other_user)]
#[tokio::test]
async fn the_simulated_source_tells_of_its_folder_too() {
    let (_top, shut) = folder(0o755);
    let (_open, free) = folder(0o777);
    for (sock, info) in [
        (shut.join("sock"), free.join("info")),
        (free.join("sock"), shut.join("info")),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["simulate-source", "--points", "2", "--frame-size", "16x16"]);
        command.arg("--sock-path").arg(&sock);
        command.arg("--server-info-path").arg(&info);
        command.uid(USER).gid(USER).current_dir("/");
        let output = ended(command).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        let folder = format!("cannot write to the folder {}", shut.display());
        assert!(told.contains(&folder) && told.contains("fsGroup"), "{told}");
    }
}
