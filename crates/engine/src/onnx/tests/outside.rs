//! Weights in files beside the model.

use super::proto::{F32, bytes, int, message, model, node, tensor};
use super::*;

/// Where a tensor's data lies: keys and values.
type Entries<'a> = &'a [(&'a str, &'a str)];

/// A convolution whose weight is described by `entries`, as `location`, `offset`, `length`.
fn referring(entries: Entries<'_>) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| {
        message(13, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())])
    };
    let mut parts: Vec<_> = [1, 1, 3, 3].map(|n| int(1, n)).to_vec();
    parts.extend([int(2, F32), bytes(8, b"w")]);
    parts.extend(entries.iter().map(entry));
    parts.push(int(14, 1));
    let shape = ["N", "1", "6", "5"];
    model(&[
        node("Conv", &["x", "w"], &["y"], &conv(1)),
        message(5, &parts),
        tensor(11, "x", F32, &shape),
        tensor(12, "y", F32, &shape),
    ])
}

fn kernel() -> Vec<u8> {
    KERNEL.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A folder with files, by their names in it.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn load_at(path: &Path) -> Result<OnnxEngine, EngineError> {
    load_file(path, &EngineOptions::default())
}

fn assert_computes(path: &Path) {
    let engine = load_at(path).unwrap_or_else(|error| panic!("{error}"));
    let whole = load(&small_model("N")).unwrap();
    let input = counts(2 * H * W);
    let relu = |values: &[f32]| values.iter().map(|v| v.max(0.0)).collect::<Vec<_>>();
    let got = run(&engine, 2, &input).unwrap();
    assert_eq!(relu(&got[0]), run(&whole, 2, &input).unwrap()[0]);
}

fn refusal(path: &Path) -> String {
    load_at(path).err().unwrap().to_string()
}

#[test]
fn weights_are_read_under_any_name_in_the_models_folder() {
    for name in [
        "ext.weights",
        "m.onnx_data",
        "weights",
        "parts/w.bin",
        "./a b.data",
    ] {
        let length = ("length", "36");
        let model = referring(&[("location", name), ("offset", "0"), length]);
        let folder = folder(&[("m.onnx", &model), (name, &kernel())]);
        assert_computes(&folder.path().join("m.onnx"));
    }
}

#[test]
fn only_the_location_of_a_weight_is_required() {
    let after = [b"0123456".as_slice(), &kernel(), b"more"].concat();
    let cases: [(Entries<'_>, Vec<u8>); 3] = [
        (&[("location", "w")], kernel()),
        (&[("location", "w"), ("offset", "7")], after.clone()),
        (
            &[
                ("location", "w"),
                ("checksum", "00"),
                ("basepath", "."),
                ("offset", "7"),
            ],
            after,
        ),
    ];
    for (entries, file) in cases {
        let folder = folder(&[("m.onnx", &referring(entries)), ("w", &file)]);
        assert_computes(&folder.path().join("m.onnx"));
    }
}

#[cfg(unix)]
#[test]
fn weights_are_found_beside_the_link_and_beside_its_target() {
    use std::os::unix::fs::symlink;
    let model = referring(&[("location", "m.onnx_data")]);
    // The cache of Hugging Face: both files are links, under their own names, to files under other names.
    let cache = folder(&[
        ("blobs/1111", &model),
        ("blobs/2222", &kernel()),
        ("snapshot/x", b""),
    ]);
    let snapshot = cache.path().join("snapshot");
    symlink("../blobs/1111", snapshot.join("m.onnx")).unwrap();
    symlink("../blobs/2222", snapshot.join("m.onnx_data")).unwrap();
    assert_computes(&snapshot.join("m.onnx"));
    // A link to a model in another folder. The weights are in that folder.
    let store = folder(&[("m.onnx", &model), ("m.onnx_data", &kernel())]);
    let link = cache.path().join("current.onnx");
    symlink(store.path().join("m.onnx"), &link).unwrap();
    assert_computes(&link);
    // What is beside the link is meant, where both are there.
    let broken = folder(&[("m.onnx_data", b"short")]);
    let link = broken.path().join("m.onnx");
    symlink(store.path().join("m.onnx"), &link).unwrap();
    assert!(refusal(&link).contains("but the file has 5 bytes"));
}

#[test]
fn weights_outside_the_models_folder_are_never_read() {
    let secret = folder(&[("w.data", &kernel())]);
    let absolute = secret.path().join("w.data");
    for location in [
        absolute.to_str().unwrap(),
        "../w.data",
        "a/../../w.data",
        "/etc/passwd",
        "",
    ] {
        let model = referring(&[("location", location), ("length", "36")]);
        std::fs::create_dir_all(secret.path().join("inner/a")).unwrap();
        let path = secret.path().join("inner/m.onnx");
        std::fs::write(&path, model).unwrap();
        let said = refusal(&path);
        assert!(said.contains("its weight 'w' is in "), "{said}");
        if !location.is_empty() {
            assert!(
                said.contains("outside the model's folder are not read"),
                "{said}"
            );
            assert!(said.contains("save_as_external_data=False"), "{said}");
        }
    }
}

#[test]
fn a_missing_or_short_file_of_weights_is_named_with_the_remedy() {
    let model = referring(&[("location", "w.bin"), ("offset", "8"), ("length", "36")]);
    let alone = folder(&[("m.onnx", &model)]);
    let said = refusal(&alone.path().join("m.onnx"));
    assert!(
        said.contains("in the file 'w.bin', which is not in the model's folder"),
        "{said}"
    );
    assert!(said.contains("copy that file beside the model"), "{said}");

    let short = folder(&[("m.onnx", &model), ("w.bin", &[7; 40])]);
    let said = refusal(&short.path().join("m.onnx"));
    assert!(
        said.contains("from byte 8 to 44, but the file has 40 bytes"),
        "{said}"
    );

    let pointer = b"version https://git-lfs.github.com/spec/v1\n";
    let pointed = folder(&[("m.onnx", &model), ("w.bin", &pointer[..])]);
    let said = refusal(&pointed.path().join("m.onnx"));
    assert!(said.contains("git lfs pull"), "{said}");

    let nested = folder(&[("m.onnx", &model), ("w.bin/x", b"")]);
    assert!(refusal(&nested.path().join("m.onnx")).contains("which is no file"));
}

#[test]
fn no_memory_is_taken_for_bytes_that_a_file_does_not_have() {
    for (offset, length) in [
        ("0", "18446744073709551615"),
        ("18446744073709551615", "36"),
    ] {
        let entries = [("location", "w"), ("offset", offset), ("length", length)];
        let folder = folder(&[("m.onnx", &referring(&entries)), ("w", &kernel())]);
        assert!(refusal(&folder.path().join("m.onnx")).contains("but the file has 36 bytes"));
    }
    for number in ["-1", "1e3", "many\n"] {
        let entries = [("location", "w"), ("offset", number)];
        let folder = folder(&[("m.onnx", &referring(&entries)), ("w", &kernel())]);
        let said = refusal(&folder.path().join("m.onnx"));
        assert!(said.contains("which is no number"), "{said}");
    }
}
