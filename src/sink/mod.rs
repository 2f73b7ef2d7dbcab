//! Where results go, without the protocol that carries them.

/// The live mosaic.
#[cfg_attr(not(test), expect(dead_code, reason = "`pva-sink` will use it"))]
#[expect(unused_imports, reason = "`pva-sink` will use it")]
pub(crate) mod mosaic;
/// Where frames were taken.
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "`pva-sink` will use it")
)]
pub(crate) mod positions;
