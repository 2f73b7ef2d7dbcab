//! What a rewriting did, for people.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};

/// What a rewriting did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Weight tensors that have a half copy.
    pub weights: usize,
    /// Values in these.
    pub values: usize,
    /// Values among these that became 0 and were not.
    pub underflowed: usize,
    /// Values among these that are so small (below 6.1e-5) that half keeps fewer than its 11 bits of them.
    pub subnormal: usize,
    /// Cast nodes put in.
    pub casts: usize,
    /// How many nodes of each operator compute in single, of those that are given float32 data.
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
            "{weights} weight tensors ({values} values) are float16 now; {underflowed} of the values were too \
             small and became 0, {subnormal} are so small that they lost digits. "
        )?;
        if kept_single.is_empty() {
            write!(f, "All nodes compute in float16; ")?;
        } else {
            let kept: Vec<_> = kept_single
                .iter()
                .map(|(operator, nodes)| format!("{nodes} {operator}"))
                .collect();
            write!(f, "In float32 as before: {}; ", kept.join(", "))?;
        }
        write!(f, "{casts} conversions were put in.")
    }
}
