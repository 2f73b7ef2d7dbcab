//! The libraries that are opened at run time: TensorRT, its ONNX parser, the CUDA driver.
//!
//! A TensorRT library is used only if its version fits the headers that the binding was compiled with: the same major
//! version, and the same minor version or a later one. NVIDIA adds methods in minor versions and removes none.

use super::cards;
use crate::Cause;
use crate::cuda::gpu::{CudaVersion, NoGpu};
use libloading::{Library, Symbol};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};

/// The flavour this program was built for.
#[cfg(feature = "tensorrt-rtx")]
pub(crate) const FLAVOUR: &str = "TensorRT-RTX";
/// The flavour this program was built for.
#[cfg(not(feature = "tensorrt-rtx"))]
pub(crate) const FLAVOUR: &str = "TensorRT";

/// File names of the library, the usual one first.
#[cfg(feature = "tensorrt-rtx")]
const LIBRARY: [&str; 2] = ["libtensorrt_rtx.so.1", "libtensorrt_rtx.so"];
#[cfg(not(feature = "tensorrt-rtx"))]
const LIBRARY: [&str; 2] = ["libnvinfer.so.11", "libnvinfer.so"];

/// File names of its ONNX parser.
#[cfg(feature = "tensorrt-rtx")]
const PARSER: [&str; 2] = [
    "libtensorrt_onnxparser_rtx.so.1",
    "libtensorrt_onnxparser_rtx.so",
];
#[cfg(not(feature = "tensorrt-rtx"))]
const PARSER: [&str; 2] = ["libnvonnxparser.so.11", "libnvonnxparser.so"];

/// The version of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What is missing on this machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    #[error(transparent)]
    Gpu(#[from] NoGpu),
    #[error(
        "{name} cannot be opened ({reason}): install {FLAVOUR} {}.{}, or name its folder with --tensorrt-path",
        needed().major, needed().minor
    )]
    Library {
        name: String,
        #[source]
        reason: Cause,
    },
    #[error(
        "{name} is {FLAVOUR} {found}, but this build needs {}.{} or a later {}.x: install that, or name its folder \
         with --tensorrt-path",
        needed().major, needed().minor, needed().major
    )]
    Version { name: String, found: Version },
    #[error(
        "the NVIDIA driver is for {found}, but this {FLAVOUR} is for CUDA 13: install driver 580 or later, or the {FLAVOUR} \
         libraries for CUDA 12"
    )]
    Driver { found: CudaVersion },
    #[error("{FLAVOUR} does not support {gpu}. {}", cards::remedy())]
    Card { gpu: String },
    #[error("{name} is not a {FLAVOUR} library: {reason}")]
    Foreign {
        name: String,
        #[source]
        reason: Cause,
    },
}

/// The version whose headers the binding was compiled with.
pub(crate) fn needed() -> Version {
    // SAFETY: these functions of the binding return constants of its headers and call no library.
    unsafe {
        Version {
            major: trtx::trtx_sys::get_tensorrt_major_version(),
            minor: trtx::trtx_sys::get_tensorrt_minor_version(),
            patch: trtx::trtx_sys::get_tensorrt_patch_version(),
        }
    }
}

/// The version of the library that this process has opened.
static LOADED: Mutex<Option<Version>> = Mutex::new(None);

/// Opens TensorRT, if it is not open yet, and returns its version.
pub(crate) fn load(folder: Option<&Path>) -> Result<Version, Missing> {
    let mut loaded = LOADED.lock();
    if let Some(version) = *loaded {
        return Ok(version);
    }
    let (library, name) = open(&LIBRARY, folder)?;
    let found = version(&library, &name)?;
    let needed = needed();
    if found.major != needed.major || found.minor < needed.minor {
        return Err(Missing::Version {
            name: name.display().to_string(),
            found,
        });
    }
    trtx::dynamically_load_tensorrt(Some(&name)).map_err(|error| Missing::Library {
        name: name.display().to_string(),
        reason: Cause::of(error),
    })?;
    *loaded = Some(found);
    Ok(found)
}

/// The file of the open library, wherever the loader found it.
pub(crate) fn path() -> Option<PathBuf> {
    let [_, name] = LIBRARY;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mut files = maps.lines().filter_map(|line| line.get(line.find('/')?..));
    files
        .find(|file| {
            file.rsplit('/')
                .next()
                .is_some_and(|file| file.starts_with(name))
        })
        .map(PathBuf::from)
}

/// Opens the ONNX parser.
pub(crate) fn load_parser(folder: Option<&Path>) -> Result<(), Missing> {
    let (_, name) = open(&PARSER, folder)?;
    trtx::dynamically_load_tensorrt_onnxparser(Some(&name)).map_err(|error| Missing::Library {
        name: name.display().to_string(),
        reason: Cause::of(error),
    })
}

/// Opens the first of `names` that can be opened, in `folder` or on the system's library path.
fn open(names: &[&str], folder: Option<&Path>) -> Result<(Library, PathBuf), Missing> {
    let mut first_failure = None;
    for name in names {
        let path = folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        // SAFETY: opening a library runs its initialisers. These are NVIDIA's own libraries, opened by their own names
        // from the folder that the system or the operator names. The operator is responsible for the files there, as
        // for any library.
        match unsafe { Library::new(&path) } {
            Ok(library) => return Ok((library, path)),
            Err(error) => {
                // The loader's message is in the error's source.
                let words = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                first_failure.get_or_insert((path, Cause::of(error).in_words(words)));
            }
        }
    }
    let (path, reason) = first_failure.unwrap_or_else(|| (PathBuf::new(), "it has no name".into()));
    Err(Missing::Library {
        name: path.display().to_string(),
        reason,
    })
}

fn version(library: &Library, name: &Path) -> Result<Version, Missing> {
    let part = |symbol: &[u8]| {
        // SAFETY: NvInferRuntimeBase.h declares these as `int32_t name() noexcept` with C linkage.
        let result = unsafe {
            library
                .get(symbol)
                .map(|part: Symbol<'_, unsafe extern "C" fn() -> i32>| part())
        };
        result
            .map(|part| u32::try_from(part).unwrap_or_default())
            .map_err(|error| Missing::Foreign {
                name: name.display().to_string(),
                reason: Cause::of(error),
            })
    };
    Ok(Version {
        major: part(b"getInferLibMajorVersion")?,
        minor: part(b"getInferLibMinorVersion")?,
        patch: part(b"getInferLibPatchVersion")?,
    })
}
