use super::*;

/// A file that begins with `start` and is long enough for every signature.
fn file(start: &[u8]) -> Vec<u8> {
    let mut file = start.to_vec();
    file.resize(600.max(start.len()), b'\x01');
    file
}

fn tar() -> Vec<u8> {
    let mut file = b"m.onnx".to_vec();
    file.resize(257, 0);
    file.extend(b"ustar\x0000");
    file
}

fn archive(names: &[&str]) -> Vec<u8> {
    let mut file = b"PK\x03\x04\x14\x00\x00\x00".to_vec();
    names.iter().for_each(|name| file.extend(name.as_bytes()));
    file
}

#[test]
fn each_file_that_is_no_model_is_named_with_a_remedy() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4564321\n";
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (Vec::new(), "it is empty", "download it again"),
        (vec![0; 4096], "it holds only zeros", "download it again"),
        (pointer.to_vec(), "a Git LFS pointer", "git lfs pull"),
        (
            b"<!DOCTYPE html><html><title>Sign in".to_vec(),
            "a web page",
            "download",
        ),
        (
            b"\xef\xbb\xbf\n  <HTML lang=en>\n".to_vec(),
            "a web page",
            "download",
        ),
        (file(b"\x1f\x8b\x08\x08"), "gzip", "gunzip"),
        (file(b"\xfd7zXZ\0"), "xz", "unxz"),
        (file(b"\x28\xb5\x2f\xfd"), "zstd", "unzstd"),
        (file(b"BZh9"), "bzip2", "bunzip2"),
        (tar(), "a tar archive", "tar xf"),
        (archive(&["m.onnx"]), "a ZIP archive", "unzip"),
        (
            archive(&["archive/data.pkl"]),
            "a PyTorch file",
            "torch.onnx.export",
        ),
        (
            archive(&["metadata.json", "config.json"]),
            "a Keras file",
            "export",
        ),
        (
            archive(&["arr_0.npy"]),
            "a NumPy archive",
            "name the model file",
        ),
        (
            file(b"\x80\x02\x8a\x0al\xfc\x9cF"),
            "a Python pickle",
            "torch.onnx.export",
        ),
        (file(b"\x89HDF\r\n\x1a\n"), "an HDF5 file", "tf2onnx"),
        (
            file(b"\x93NUMPY\x01\0"),
            "a NumPy array",
            "name the model file",
        ),
        (file(b"ftrt\0\0\0\0"), "a TensorRT engine", ".engine"),
        (file(b"vtrt\0\0\0\0"), "a TensorRT engine", ".engine"),
        (
            file(b"\x1c\0\0\0TFL3"),
            "a TensorFlow Lite model",
            "--tflite",
        ),
        (
            file(b"\x08\x01\x12\xff\x01\x0a\x07serving_default"),
            "SavedModel",
            "--saved-model",
        ),
        (
            file(b"\x0a\x20\x0a\x01x\x12\x0bPlaceholder"),
            "a TensorFlow graph",
            "--graphdef",
        ),
        (
            b"\x40\0\0\0\0\0\0\0{\"w\":{}}".to_vec(),
            "a safetensors file",
            "export",
        ),
        (
            b"<\n  ir_version: 8,\n>\ng () => ()".to_vec(),
            "written as text",
            "onnxtxt",
        ),
        (
            b"ir_version: 8\ngraph {\n}\n".to_vec(),
            "written as text",
            "textproto",
        ),
        (
            b"{\"irVersion\":\"8\",\"graph\":{}}".to_vec(),
            "written as text",
            "json",
        ),
        (
            b"../blobs/1111".to_vec(),
            "a symbolic link that was copied",
            "'../blobs/1111'",
        ),
        (
            b"<?xml version=\"1.0\"?><Error>".to_vec(),
            "an XML document",
            "download",
        ),
        (
            b"404: Not Found\n".to_vec(),
            "it is a text",
            "'404: Not Found'",
        ),
    ];
    for (bytes, what, remedy) in cases {
        let said = of(&bytes).unwrap_or_else(|| panic!("{what}: not known"));
        assert!(said.contains(what), "{what}: {said}");
        assert!(said.contains(remedy), "{what}: {said}");
        assert!(!said.contains(char::is_control), "{said}");
    }
}

#[test]
fn a_text_is_quoted_in_one_short_line_without_half_characters() {
    let long = "é".repeat(400);
    let said = of(long.as_bytes()).unwrap();
    assert!(
        said.ends_with(&format!("'{}…'", "é".repeat(QUOTED))),
        "{said}"
    );
    assert_eq!(of(b"\x08\x08\xff\xfe"), None);
    assert_eq!(of(b"words\x07"), None);
}

#[test]
fn the_text_of_an_engines_file_is_not_judged() {
    assert_eq!(marked(b"plan"), None);
    assert!(marked(b"<html>").is_some());
}
