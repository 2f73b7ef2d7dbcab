//! Weights in files beside the model (ONNX external data).
//!
//! rten reads such files itself, but only under some names, and beside the target of a symbolic link only. So the data
//! is read here, and rten gets it in memory, under a name that it accepts.
//!
//! A file lies beside the name that was given, or else beside the file that the name links to: the cache of Hugging
//! Face links `snapshot/m.onnx` to `blobs/HASH`, with the weights beside the link. A location that leaves the model's
//! folder (`/…`, `..`) is refused: its bytes could be returned as results. A link in the folder may lead anywhere:
//! the owner of the folder made it.
//!
//! What always holds: no memory is allocated for bytes that a file does not have, and each byte is read once: the
//! parts of one file that are read do not add up to more than the file.

use super::wire::Entry;
use crate::fp16::proto::{EXTERNAL, Tensor};
use crate::{Cause, content};
use prost::Message;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// How to make one file of a model with external weights.
const ONE_FILE: &str = "make one file of it in Python: onnx.save_model(onnx.load(\"m.onnx\"), \"one.onnx\", \
                        save_as_external_data=False)";

/// Reads the weights that a model keeps in other files.
pub(crate) struct Outside {
    /// Where the files may lie, the most likely folder first.
    folders: Vec<PathBuf>,
    files: HashMap<PathBuf, Opened>,
    /// The parts that were read, each with its place in `data`.
    parts: HashMap<(PathBuf, u64, u64), usize>,
    /// The data that was read, in the order in which it was needed.
    pub(crate) data: Vec<Vec<u8>>,
}

/// A file of weights.
struct Opened {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Bytes of it that were not read yet.
    left: u64,
}

/// Where a tensor's data lies.
struct Part {
    location: PathBuf,
    offset: u64,
    length: Option<u64>,
}

impl Outside {
    /// For the model at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let beside = |path: &Path| path.parent().map(Path::to_path_buf);
        let target = std::fs::canonicalize(path).ok();
        let mut folders: Vec<PathBuf> = beside(path).into_iter().collect();
        folders.extend(target.as_deref().and_then(beside));
        Self {
            folders,
            files: HashMap::new(),
            parts: HashMap::new(),
            data: Vec::new(),
        }
    }

    /// The name under which rten finds `data[index]`.
    pub(crate) fn name(index: usize) -> String {
        format!("{index}.data")
    }

    /// Reads the data of `tensor`, if it is in another file, and names it in the tensor as rten will find it. Returns
    /// whether it was.
    ///
    /// # Errors
    /// The tensor, the file and the remedy, as text to follow the model's name.
    pub(crate) fn take(&mut self, tensor: &mut Tensor) -> Result<bool, Cause> {
        if tensor.data_location() != EXTERNAL {
            return Ok(false);
        }
        let part = part(tensor)?;
        let index = self.read(tensor, part)?;
        let bytes = self.data.get(index).map_or(0, Vec::len);
        let entries = [
            ("location", Self::name(index)),
            ("offset", "0".to_owned()),
            ("length", bytes.to_string()),
        ];
        tensor.external_data = entries
            .map(|(key, value)| {
                let (key, value) = (Some(key.to_owned()), Some(value));
                Entry { key, value }.encode_to_vec()
            })
            .to_vec();
        Ok(true)
    }

    /// Reads a part of a file, and returns its place in `data`.
    fn read(&mut self, tensor: &Tensor, part: Part) -> Result<usize, Cause> {
        let name = &tensor.name().escape_debug().to_string();
        let opened = match self.files.entry(part.location.clone()) {
            std::collections::hash_map::Entry::Occupied(opened) => opened.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(open(&self.folders, &part.location, name)?)
            }
        };
        let after = opened.bytes.saturating_sub(part.offset);
        let length = part.length.or(size(tensor)).unwrap_or(after);
        let end = part.offset.saturating_add(length);
        let path = opened.path.display().to_string();
        let path = path.escape_debug();
        if end > opened.bytes {
            let what = beginning(&mut opened.file).and_then(|bytes| content::of(&bytes));
            let what = what.unwrap_or_else(|| "copy or download it again".to_owned());
            return Err(format!(
                "its weight '{name}' is in the file {path}, from byte {} to {end}, but the file has {} bytes: {what}",
                part.offset, opened.bytes
            )
            .into());
        }
        let key = (part.location, part.offset, length);
        if let Some(index) = self.parts.get(&key) {
            return Ok(*index);
        }
        opened.left = opened.left.checked_sub(length).ok_or_else(|| {
            Cause::from(format!(
                "its weights overlap in the file {path}: {ONE_FILE}"
            ))
        })?;
        let failed = |cause: Cause| {
            let words = format!("cannot read the weight '{name}' from the file {path}: {cause}");
            cause.in_words(words)
        };
        let wanted = usize::try_from(length).map_err(|error| failed(Cause::of(error)))?;
        let mut data = Vec::new();
        data.try_reserve_exact(wanted)
            .map_err(|error| failed(Cause::of(error)))?;
        data.resize(wanted, 0);
        opened
            .file
            .seek(SeekFrom::Start(part.offset))
            .and_then(|_| opened.file.read_exact(&mut data))
            .map_err(|error| failed(Cause::of(error)))?;
        let index = self.data.len();
        self.data.push(data);
        self.parts.insert(key, index);
        Ok(index)
    }
}

/// Opens the file at `location`, in the first folder that has it.
fn open(folders: &[PathBuf], location: &Path, tensor: &str) -> Result<Opened, Cause> {
    let mut missing = None;
    for folder in folders {
        let path = folder.join(location);
        let shown = path.display().to_string();
        let shown = shown.escape_debug();
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((metadata, file)) if metadata.is_file() => {
                let bytes = metadata.len();
                let left = bytes;
                return Ok(Opened {
                    path,
                    file,
                    bytes,
                    left,
                });
            }
            Ok(_) => {
                return Err(format!(
                    "its weight '{tensor}' is in {shown}, which is no file: copy the file there"
                )
                .into());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                missing.get_or_insert(error);
            }
            Err(error) => {
                let words = format!(
                    "its weight '{tensor}' is in the file {shown}, which cannot be opened: {error}"
                );
                return Err(Cause::of(error).in_words(words));
            }
        }
    }
    let words = format!(
        "its weight '{tensor}' is in the file '{}', which is not in the model's folder: copy that file beside the \
         model; or where it is, {ONE_FILE}",
        location.display().to_string().escape_debug()
    );
    Err(missing.map_or_else(|| words.as_str().into(), |e| Cause::of(e).in_words(&words)))
}

/// The first bytes of a file.
fn beginning(file: &mut File) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(512).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Where the data of `tensor` lies, from its entries. Only the location is required.
fn part(tensor: &Tensor) -> Result<Part, Cause> {
    let name = tensor.name().escape_debug();
    let mut location = None;
    let (mut offset, mut length) = (0, None);
    for entry in &tensor.external_data {
        let entry = Entry::decode(entry.as_slice()).map_err(Cause::of)?;
        let number = || {
            entry.value().parse::<u64>().map_err(|error| {
                let words = format!(
                    "the {} of its weight '{name}' is '{}', which is no number: the file is damaged; export it again",
                    entry.key().escape_debug(),
                    entry.value().escape_debug()
                );
                Cause::of(error).in_words(words)
            })
        };
        match entry.key() {
            "location" => location = Some(PathBuf::from(entry.value())),
            "offset" => offset = number()?,
            "length" => length = Some(number()?),
            // A checksum, or a name that old versions of onnx wrote.
            _ => {}
        }
    }
    let location = location.filter(|location| !location.as_os_str().is_empty());
    let Some(location) = location else {
        return Err(format!(
            "its weight '{name}' is in another file, which it does not name: export the model again"
        )
        .into());
    };
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !location.components().all(is_inside) {
        return Err(format!(
            "its weight '{name}' is in '{}', and files outside the model's folder are not read: {ONE_FILE}",
            location.display().to_string().escape_debug()
        )
        .into());
    }
    Ok(Part {
        location,
        offset,
        length,
    })
}

/// The bytes of a tensor, from its shape and type, if the type's size is known.
fn size(tensor: &Tensor) -> Option<u64> {
    let element = match tensor.data_type() {
        1 | 6 | 12 => 4,
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        7 | 11 | 13 => 8,
        _ => return None,
    };
    let mut dims = tensor.dims.iter();
    dims.try_fold(element, |bytes: u64, n| {
        bytes.checked_mul(u64::try_from(*n).ok()?)
    })
}
