//! Counts of what a rewriting changed, as text for the log.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};

/// Counts of what a rewriting changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Weight tensors that have a half copy.
    pub weights: usize,
    /// Values in these tensors.
    pub values: usize,
    /// Values that became 0 and were not 0 before.
    pub underflowed: usize,
    /// Values so small (below 6.1e-5) that half keeps fewer than its 11 significant bits.
    pub subnormal: usize,
    /// Inserted Cast nodes.
    pub casts: usize,
    /// Nodes with float32 data that still compute in single: their number by operator.
    pub kept_single: BTreeMap<String, usize>,
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self {
            weights,
            values,
            underflowed,
            subnormal,
            casts,
            kept_single,
        } = self;
        write!(
            f,
            "{weights} weight tensors ({values} values) are now float16: {underflowed} values were too small and \
             became 0, {subnormal} values are so small that they lost digits. "
        )?;
        if kept_single.is_empty() {
            write!(f, "All nodes compute in float16; ")?;
        } else {
            let kept: Vec<_> = kept_single
                .iter()
                .map(|(operator, nodes)| format!("{nodes} {operator}"))
                .collect();
            write!(f, "Still in float32: {}; ", kept.join(", "))?;
        }
        write!(f, "{casts} conversions were inserted.")
    }
}
