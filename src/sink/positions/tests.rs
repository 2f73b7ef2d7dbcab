//! Tests of positions. The files in `tests/data/positions` were written by numpy 2 and h5py 3.

use super::*;
use proptest::prelude::*;
use std::io::{Cursor, Write};

/// The positions in all of the files: y, x.
const SCAN: [(f64, f64); 4] = [
    (-1.5e-6, 3e-7),
    (0.0, -4.5e-7),
    (2.25e-6, 1e-6),
    (8e-9, 0.0),
];

fn metres((y, x): (f64, f64)) -> Metres {
    Metres { x, y }
}

fn read(path: &Path) -> Result<Positions, PositionsError> {
    Positions::read(&PositionSource::File(path.into()), PositionOffset::First)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/positions")
        .join(name)
}

/// What reading a file with this name and content gives.
fn content(name: &str, bytes: &[u8]) -> Result<Vec<Metres>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    match read(&path) {
        Ok(Positions::File { rows, .. }) => Ok(rows),
        Ok(Positions::Headers) => panic!("a file was read as headers"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(name), "{text}");
            Err(text)
        }
    }
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn npz(arrays: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn files_of_numpy_are_read() {
    for name in ["scan.csv", "scan.npy", "array.npz", "product.npz"] {
        let positions = read(&fixture(name)).unwrap();
        for (row, expected) in SCAN.into_iter().enumerate() {
            let found = positions.of(None, row as u64 + 7, 7);
            assert_eq!(found, Some(metres(expected)), "{name} {row}");
        }
    }
}

#[cfg(feature = "hdf5")]
#[test]
fn files_of_h5py_are_read() {
    let positions = read(&fixture("product.h5")).unwrap();
    for (row, expected) in SCAN.into_iter().enumerate() {
        assert_eq!(positions.of(None, row as u64, 0), Some(metres(expected)));
    }
    let error = content("no.h5", b"\x89HDF\r\n\x1a\nand no more").unwrap_err();
    assert!(error.contains("no HDF5 file"), "{error}");
    let damaged = std::fs::read(fixture("product.h5")).unwrap();
    for length in (0..damaged.len()).step_by(97) {
        // What is cut off may be the other datasets.
        if let Ok(rows) = content("cut.h5", &damaged[..length]) {
            assert_eq!(rows, SCAN.map(metres));
        }
    }
}

#[cfg(not(feature = "hdf5"))]
#[test]
fn without_hdf5_the_error_says_what_to_do() {
    let error = read(&fixture("product.h5")).unwrap_err().to_string();
    assert!(error.contains("--features hdf5"), "{error}");
}

#[test]
fn a_frame_finds_its_row_by_its_number() {
    let rows: Vec<_> = SCAN.into_iter().map(metres).collect();
    let with = |offset| Positions::File {
        rows: rows.clone(),
        offset,
    };
    let first = with(PositionOffset::First);
    assert_eq!(first.of(None, 100, 100), Some(rows[0]));
    assert_eq!(first.of(None, 103, 100), Some(rows[3]));
    assert_eq!(first.of(None, 104, 100), Some(rows[0]), "the next round");
    assert_eq!(first.of(None, 99, 100), Some(rows[3]));
    let dash = with(PositionOffset::Number(621_356));
    assert_eq!(dash.of(None, 621_358, 100), Some(rows[2]));
    assert_eq!(
        dash.of(None, 0, u64::MAX),
        Some(rows[0]),
        "-621356 is a multiple of 4"
    );
    assert_eq!(dash.of(None, u64::MAX, 0), Some(rows[3]));
}

#[test]
fn headers_give_a_position_if_both_are_finite() {
    let of = |x, y| Positions::Headers.of(Metres::of(x, y), 3, 0);
    assert_eq!(
        of(Some(1e-6), Some(-2e-6)),
        Some(Metres { x: 1e-6, y: -2e-6 })
    );
    for (x, y) in [
        (None, Some(1.0)),
        (Some(1.0), None),
        (Some(f64::NAN), Some(1.0)),
    ] {
        assert_eq!(of(x, y), None);
    }
}

#[test]
fn a_bad_file_is_refused_with_the_row_and_the_value() {
    let csv = |text: &str| content("scan.csv", text.as_bytes());
    assert_eq!(
        csv("\u{feff}# y, x\n1e-6, 2e-6\r\n\n3e-6,4e-6,7\n")
            .unwrap()
            .len(),
        2
    );
    for (text, part) in [
        ("", "no rows"),
        ("1,2\n3\n", "row 2 has 1 columns"),
        ("1,2\n3,nan\n", "row 2 has 'nan' for x"),
        ("y,x\n3,4\n", "row 1 has 'y' for y"),
        ("1,2\n1e999,4\n", "row 2 has '1e999' for y"),
    ] {
        let error = csv(text).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let error = content("scan.csv", b"1,\xff").unwrap_err();
    assert!(error.contains("no text"), "{error}");

    let values = doubles(&[1.0, 2.0, 3.0, f64::NAN]);
    for (descr, shape, data, part) in [
        ("<f8", "(2, 2)", &values[..], "row 2 has NaN for x"),
        ("<f8", "(2, 2)", &values[..24], "with 24 bytes"),
        ("<f8", "(4,)", &values, "use n × 2"),
        ("<i4", "(4, 2)", &values, "int32"),
        ("<f8", "(0, 2)", &[], "no rows"),
        ("<f8", "(9223372036854775807, 2)", &values, "with 32 bytes"),
    ] {
        let error = content("scan.npy", &npy(descr, shape, data)).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    for name in ["scan", "scan.txt", "scan.tiff"] {
        let error = content(name, b"1,2").unwrap_err();
        assert!(error.contains("must end in"), "{error}");
    }
    let missing = read(Path::new("/nowhere/scan.csv")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/scan.csv"));
}

#[test]
fn a_bad_archive_is_refused() {
    let column = |values: &[f64]| npy("<f8", &format!("({},)", values.len()), &doubles(values));
    let (y, x) = ("probe_position_y_m.npy", "probe_position_x_m.npy");
    for (file, part) in [
        (npz(&[]), "it has the arrays"),
        (
            npz(&[(y, &column(&[1.0, 2.0])), (x, &column(&[1.0]))]),
            "y has 2 rows and x has 1",
        ),
        (
            npz(&[
                (y, &column(&[1.0])),
                (x, &npy("<f8", "(1, 1)", &doubles(&[1.0]))),
            ]),
            "use one column",
        ),
        (
            npz(&[(y, &column(&[1.0])), ("z\n.npy", &[])]),
            "probe_position_y_m, z?",
        ),
        (npz(&[(y, b"no npy")]), "is no positions"),
        (b"no zip".to_vec(), "no .npz file"),
    ] {
        let error = content("scan.npz", &file).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let good = npz(&[(
        "arr_0.npy",
        &npy("<f4", "(1, 2)", &1.0_f32.to_le_bytes().repeat(2)),
    )]);
    assert_eq!(
        content("scan.npz", &good).unwrap(),
        [Metres { x: 1.0, y: 1.0 }]
    );
    for length in 0..good.len() {
        content("scan.npz", &good[..length]).unwrap_err();
    }
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    let zeros = vec![0; 1 << 20];
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file("arr_0.npy", zip::write::SimpleFileOptions::default())
        .unwrap();
    for _ in 0..=MAX_BYTES >> 20 {
        writer.write_all(&zeros).unwrap();
    }
    let bomb = writer.finish().unwrap().into_inner();
    assert!(bomb.len() < 1 << 20);
    let error = content("bomb.npz", &bomb).unwrap_err();
    assert!(error.contains("larger than 256 MiB"), "{error}");
}

#[test]
fn flags_are_read_and_written_the_same() {
    for text in [
        "+y+x", "+y-x", "-y+x", "-y-x", "+x+y", "+x-y", "-x+y", "-x-y",
    ] {
        assert_eq!(text.parse::<Orientation>().unwrap().to_string(), text);
    }
    assert_eq!("+y+x".parse(), Ok(Orientation::default()));
    for text in ["", "yx", "+y+y", "+x", "*y+x", "+y+x+", "+z+x"] {
        assert!(text.parse::<Orientation>().is_err(), "{text}");
    }
    for text in ["first", "621356"] {
        assert_eq!(text.parse::<PositionOffset>().unwrap().to_string(), text);
    }
    assert!("last".parse::<PositionOffset>().is_err());
    assert_eq!("Headers".parse(), Ok(PositionSource::Headers));
    for size in [0.0, -1e-9, f64::NAN, f64::INFINITY] {
        assert!(Grid::new(size, Orientation::default()).is_err(), "{size}");
    }
}

proptest! {
    /// A position becomes the nearest pixel, on the axes that the orientation says.
    #[test]
    fn a_position_is_at_its_nearest_pixel(
        x in -1e-3f64..1e-3,
        y in -1e-3f64..1e-3,
        pixel_size in 1e-9f64..1e-6,
    ) {
        for text in ["+y+x", "+y-x", "-y+x", "-y-x", "+x+y", "+x-y", "-x+y", "-x-y"] {
            let grid = Grid::new(pixel_size, text.parse().unwrap()).unwrap();
            let pixel = grid.pixel(Metres { x, y });
            prop_assert!(pixel.rounding <= 0.5);
            let (right, down) = grid.metres(pixel.at);
            let letters: Vec<char> = text.chars().collect();
            let of = |sign: char, axis: char| {
                let value = if axis == 'x' { x } else { y };
                if sign == '-' { -value } else { value }
            };
            prop_assert!((down - of(letters[0], letters[1])).abs() <= 0.5001 * pixel_size);
            prop_assert!((right - of(letters[2], letters[3])).abs() <= 0.5001 * pixel_size);
        }
    }

    /// No content of a file makes the reader panic.
    #[test]
    fn no_file_makes_the_reader_fail_otherwise(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0..3_usize,
        at in any::<prop::sample::Index>(),
    ) {
        let (name, real) = [("a.csv", "scan.csv"), ("a.npy", "scan.npy"), ("a.npz", "product.npz")][kind];
        let _ = content(name, &bytes);
        let mut damaged = std::fs::read(fixture(real)).unwrap();
        let at = at.index(damaged.len());
        damaged.splice(at..(at + bytes.len()).min(damaged.len()), bytes.iter().copied());
        let _ = content(name, &damaged);
    }
}
