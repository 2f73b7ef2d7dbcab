//! What a file is, if it is not the model that its name says: from its first bytes.
//!
//! Downloads, checkouts and copies often leave another file under a model's name: a Git LFS pointer, a web page, an
//! archive. Each is named, with the remedy. A file that is a model is never judged here: engines ask only about a file
//! that they could not read.

/// Bytes at a place in the file, what the file is, and the remedy.
type Mark = (usize, &'static [u8], &'static str);

/// How to make an `.onnx` file from a PyTorch file.
const FROM_TORCH: &str = "load it in PyTorch and export it with torch.onnx.export";

/// Formats that are known by bytes at a fixed place.
const MARKS: &[Mark] = &[
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "it is a Git LFS pointer, not the file itself: run 'git lfs pull' in its repository",
    ),
    (
        0,
        b"version https://hawser.github.com/spec/",
        "it is a Git LFS pointer, not the file itself: run 'git lfs pull' in its repository",
    ),
    (
        0,
        b"\x1f\x8b",
        "it is compressed with gzip: unpack it with gunzip (or tar xzf)",
    ),
    (
        0,
        b"\xfd7zXZ\0",
        "it is compressed with xz: unpack it with unxz (or tar xJf)",
    ),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "it is compressed with zstd: unpack it with unzstd",
    ),
    (
        0,
        b"\x04\x22\x4d\x18",
        "it is compressed with lz4: unpack it with unlz4",
    ),
    (
        0,
        b"BZh",
        "it is compressed with bzip2: unpack it with bunzip2 (or tar xjf)",
    ),
    (
        0,
        b"7z\xbc\xaf\x27\x1c",
        "it is a 7z archive: unpack it with 7z x",
    ),
    (0, b"Rar!", "it is a RAR archive: unpack it with unrar"),
    (257, b"ustar", "it is a tar archive: unpack it with tar xf"),
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "it is an HDF5 file (Keras .h5, or detector data): load a Keras model in Python and export it with tf2onnx",
    ),
    (
        4,
        b"TFL3",
        "it is a TensorFlow Lite model: convert it with python -m tf2onnx.convert --tflite",
    ),
    (
        0,
        b"RTEN",
        "it is an RTen model: use the .onnx file that it was converted from",
    ),
    (
        0,
        b"\x93NUMPY",
        "it is a NumPy array (.npy), not a model: name the model file",
    ),
    (
        0,
        b"GGUF",
        "it is a GGUF file, for language models: use an .onnx file",
    ),
];

/// The first bytes of TensorRT engines, and of TensorRT-RTX engines.
const ENGINES: [&[u8]; 3] = [b"ftrt", b"ptrt", b"vtrt"];

/// What the file with this content is, and the remedy, as text to follow the file's name. `None` if it is none of the
/// formats that are known here.
pub(crate) fn of(file: &[u8]) -> Option<String> {
    marked(file)
        .or_else(|| text(file))
        .or_else(|| tensorflow(file).map(str::to_owned))
}

/// Like [`of`], but only for formats that no engine's file can be taken for.
pub(crate) fn marked(file: &[u8]) -> Option<String> {
    if file.is_empty() {
        return Some("it is empty: copy or download it again".to_owned());
    }
    if file.iter().all(|byte| *byte == 0) {
        let words =
            "it holds only zeros: its copy or download did not finish; copy or download it again";
        return Some(words.to_owned());
    }
    let marked = MARKS.iter().find(|(at, bytes, _)| {
        let there = file.get(*at..);
        there.is_some_and(|there| there.starts_with(bytes))
    });
    if let Some((_, _, words)) = marked {
        return Some((*words).to_owned());
    }
    if file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06") {
        return Some(zip(file));
    }
    if is_engine(file) {
        let words = "it is a TensorRT engine: give it a name that ends in .engine, and use a build of beamflow for its \
                     version of TensorRT";
        return Some(words.to_owned());
    }
    if let [0x80, 2..=5, ..] = file {
        return Some(format!(
            "it is a Python pickle (an old PyTorch .pt or .pth, or joblib): {FROM_TORCH}"
        ));
    }
    if is_safetensors(file) {
        return Some(
            "it is a safetensors file, which holds weights without the network: load it in Python and export the \
             network to ONNX"
                .to_owned(),
        );
    }
    is_page(file).then(|| PAGE.to_owned())
}

/// Whether the file begins as a web page.
fn is_page(file: &[u8]) -> bool {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let head = file.trim_ascii_start();
    let starts = |with: &&[u8]| {
        let head = head.get(..with.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(with))
    };
    let tags: [&[u8]; 5] = [b"<!doctype html", b"<html", b"<head", b"<body", b"<!--"];
    tags.iter().any(starts)
}

const PAGE: &str = "it is a web page: the download gave a page (a log-in, or an error) instead of the file; download it \
                    again from the address of the file itself";

/// Whether the file begins as TensorRT's engines do.
pub(crate) fn is_engine(file: &[u8]) -> bool {
    ENGINES.iter().any(|start| file.starts_with(start))
}

/// The kinds of ZIP archive that hold a model, told by the names of the files in them.
fn zip(file: &[u8]) -> String {
    let holds = |name: &str| contains(file, name.as_bytes());
    if holds("/data.pkl") || holds("data.pkl") || holds("/constants.pkl") {
        format!("it is a PyTorch file (.pt or .pth): {FROM_TORCH}")
    } else if holds("model.weights.h5") || holds("metadata.json") && holds("config.json") {
        "it is a Keras file (.keras): load it in Python and export it with model.export(…, format=\"onnx\") or tf2onnx"
            .to_owned()
    } else if holds(".npy") {
        "it is a NumPy archive (.npz), not a model: name the model file".to_owned()
    } else {
        "it is a ZIP archive: unpack it with unzip".to_owned()
    }
}

/// The length of the header, as 8 bytes, and then the header, which is JSON.
fn is_safetensors(file: &[u8]) -> bool {
    let header = file.split_at_checked(8);
    header.is_some_and(|(length, rest)| {
        rest.starts_with(b"{\"") && length.iter().skip(4).all(|byte| *byte == 0)
    })
}

/// Characters of a text that a message quotes.
const QUOTED: usize = 60;

/// What a text is. Its first 512 bytes must be printable.
fn text(file: &[u8]) -> Option<String> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let head = file.get(..512).unwrap_or(file);
    let head = match std::str::from_utf8(head) {
        Ok(head) => head,
        // The first 512 bytes may end within a character.
        Err(error) if error.error_len().is_none() && head.len() < file.len() => {
            let valid = head.get(..error.valid_up_to())?;
            std::str::from_utf8(valid).ok()?
        }
        Err(_) => return None,
    };
    let is_blank = |c: char| matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    if head.contains(|c: char| c.is_control() && !is_blank(c)) {
        return None;
    }
    let head = head.trim_start();
    let lower = head.to_ascii_lowercase();
    let starts = |with: &[&str]| with.iter().any(|with| lower.starts_with(with));
    let as_text = if starts(&["<ir_version", "<\n"]) && lower.contains("ir_version") {
        Some("onnxtxt")
    } else if starts(&["ir_version", "producer_name"]) {
        Some("textproto")
    } else if starts(&["{"]) && (head.contains("\"irVersion\"") || head.contains("\"opsetImport\""))
    {
        Some("json")
    } else {
        None
    };
    if let Some(format) = as_text {
        return Some(format!(
            "it is an ONNX model written as text: convert it in Python with onnx.save(onnx.load(path, \
             format=\"{format}\"), \"model.onnx\")"
        ));
    }
    let line = head.lines().next().unwrap_or_default().trim_end();
    let dots = if line.chars().nth(QUOTED).is_some() {
        "…"
    } else {
        ""
    };
    let quoted: String = line.chars().take(QUOTED).collect();
    let quoted = quoted.escape_debug();
    let only_line = head.trim_end() == line;
    let is_path = only_line && line.contains('/') && !line.contains([' ', '<', '{', ':']);
    Some(if is_path {
        format!(
            "it is a symbolic link that was copied as text: it holds the path '{quoted}{dots}'; copy what the link \
             points to (cp -L)"
        )
    } else if starts(&["<?xml"]) {
        "it is an XML document, perhaps a server's error message: download the file again"
            .to_owned()
    } else {
        format!("it is a text, not a model; it begins with '{quoted}{dots}'")
    })
}

/// TensorFlow's files are Protocol Buffers, as ONNX files are. Their content shows which of them a file is.
fn tensorflow(file: &[u8]) -> Option<&'static str> {
    let holds = |words: &[&str]| words.iter().any(|word| contains(file, word.as_bytes()));
    match file {
        // `SavedModel`: the version of its schema (field 1, a number) and the graph's definition (field 2).
        [0x08, _, 0x12, ..]
            if holds(&["serving_default", "saved_model_main_op", "PartitionedCall"]) =>
        {
            Some(
                "it is a TensorFlow SavedModel: convert its folder with python -m tf2onnx.convert --saved-model FOLDER \
             --output model.onnx",
            )
        }
        // `GraphDef`: nodes (field 1, messages).
        [0x0a, ..] if holds(&["Placeholder", "Const", "NoOp"]) => {
            Some("it is a TensorFlow graph: convert it with python -m tf2onnx.convert --graphdef")
        }
        _ => None,
    }
}

/// Bytes of a file that are searched for a word.
const SEARCHED: usize = 1 << 20;

/// Whether the file's first or last MiB contains `word`.
fn contains(file: &[u8], word: &[u8]) -> bool {
    let first = file.get(..SEARCHED).unwrap_or(file);
    let last = file.len().saturating_sub(SEARCHED);
    let last = file.get(last..).unwrap_or_default();
    [first, last]
        .iter()
        .any(|part| part.windows(word.len()).any(|there| there == word))
}

/// What a folder under a model's name is, and the remedy.
pub(crate) fn of_folder(path: &std::path::Path) -> &'static str {
    if path.join("saved_model.pb").exists() {
        "it is a folder, a TensorFlow SavedModel: convert it with python -m tf2onnx.convert --saved-model FOLDER \
         --output model.onnx"
    } else {
        "it is a folder: name the file in it"
    }
}

#[cfg(test)]
mod tests;
