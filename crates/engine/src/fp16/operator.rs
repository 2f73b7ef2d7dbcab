//! Which of ONNX's operators compute in half, and what their results are.
//!
//! The division follows PyTorch's autocast for CUDA (its lists "can autocast to float16", "autocast to
//! float32" and "promote to the widest input type"), with ONNX's names, and stays on the side of single where
//! the two have no common name. Opsets 7 to 28 were looked at: each operator named under `Half` or
//! `Following` takes float16 in all of them.

/// In which precision an operator computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Precision {
    /// In half, always: what takes the time, and adds up in more than half on the device.
    Half,
    /// In half if all that it is given was computed in half, else in single.
    Following,
    /// In single, always.
    Single,
    /// Looks at shapes only.
    Any,
}

/// Which results are of the type of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Results {
    /// All.
    All,
    /// The first; the others are indices or masks.
    First,
    /// None: they are indices, counts or truth values.
    None,
    /// Not known here: as the model declares.
    Declared,
}

/// How an operator is rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    /// In which precision it computes.
    pub precision: Precision,
    /// Which results are of the type of the data.
    pub results: Results,
    /// Whether only the first input is data. Others that are float32 stay so, by the operator's definition.
    pub(crate) first_only: bool,
}

impl Rule {
    /// The rule for an operator of ONNX's own, by its name. One that is not known computes in single.
    pub(crate) fn of(operator: &str) -> Self {
        let (precision, results) = match operator {
            "Conv" | "ConvTranspose" | "MatMul" | "Gemm" | "Einsum" => {
                (Precision::Half, Results::All)
            }

            // Arithmetic and activations, element by element: a product may leave the range, but so may a
            // convolution's sum; the essay says what to do.
            "Add" | "Sub" | "Mul" | "Max" | "Min" | "Abs" | "Neg" | "Sign" | "Floor" | "Ceil"
            | "Round" | "Clip" | "Relu" | "LeakyRelu" | "PRelu" | "ThresholdedRelu" | "Elu"
            | "Selu" | "Gelu" | "Swish" | "HardSigmoid" | "HardSwish" | "Sigmoid" | "Tanh"
            | "Erf" | "AveragePool" | "GlobalMaxPool" | "ReduceMax" | "ReduceMin"
            // Moving values about. Resize takes its region and its scales in float32 whatever its data.
            | "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose"
            | "Concat" | "Split" | "Slice" | "Gather" | "GatherElements" | "GatherND"
            | "ScatterElements" | "ScatterND" | "Expand" | "Tile" | "Pad" | "Where"
            | "DepthToSpace" | "SpaceToDepth" | "Compress" | "ReverseSequence" | "Trilu"
            | "Resize" | "Upsample" => (Precision::Following, Results::All),
            "MaxPool" | "Dropout" => (Precision::Following, Results::First),

            // Large sums, and what is made of them. BatchNormalization: the variance of counts may be beyond
            // half, and that of a dead channel becomes 0.
            "ReduceSum" | "ReduceMean" | "ReduceProd" | "ReduceL1" | "ReduceL2"
            | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" | "Sum" | "Mean"
            | "CumSum" | "CumProd" | "GlobalAveragePool" | "GlobalLpPool" | "LpPool"
            | "Softmax" | "LogSoftmax" | "Hardmax" | "BatchNormalization"
            | "InstanceNormalization" | "LayerNormalization" | "GroupNormalization"
            | "RMSNormalization" | "LpNormalization" | "MeanVarianceNormalization" | "LRN"
            | "LSTM" | "GRU" | "RNN" | "DFT" | "STFT" | "Det"
            // Functions that are steep somewhere.
            | "Exp" | "Log" | "Pow" | "Sqrt" | "Reciprocal" | "Div" | "Mod" | "Softplus"
            | "Softsign" | "Mish" | "Sin" | "Cos" | "Tan" | "Asin" | "Acos" | "Atan" | "Sinh"
            | "Cosh" | "Asinh" | "Acosh" | "Atanh"
            // Coordinates, which half rounds to 1/16 of a pixel at pixel 128; and Celu, which has no half.
            | "Range" | "GridSample" | "RoiAlign" | "MaxRoiPool" | "AffineGrid" | "MaxUnpool"
            | "DeformConv" | "Celu" => (Precision::Single, Results::All),
            "TopK" | "Unique" => (Precision::Single, Results::First),

            "ArgMax" | "ArgMin" | "NonZero" | "NonMaxSuppression" | "Equal" | "Less"
            | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "IsNaN" | "IsInf" | "And" | "Or"
            | "Not" | "Xor" | "BitShift" | "BitwiseAnd" | "BitwiseNot" | "BitwiseOr"
            | "BitwiseXor" => (Precision::Single, Results::None),
            "Shape" | "Size" => (Precision::Any, Results::None),
            _ => return Self::UNKNOWN,
        };
        Self {
            precision,
            results,
            first_only: matches!(operator, "Resize" | "Upsample" | "Dropout"),
        }
    }

    /// For an operator of which nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        precision: Precision::Single,
        results: Results::Declared,
        first_only: false,
    };

    /// Whether an input may be half.
    pub(crate) fn is_data(self, input: usize) -> bool {
        input == 0 || !self.first_only
    }
}

/// Whether an operator computes with quantised numbers.
pub(crate) fn is_quantised(operator: &str) -> bool {
    operator.starts_with("QLinear")
        || operator.ends_with("QuantizeLinear")
        || operator.ends_with("DequantizeLinear")
        || matches!(operator, "ConvInteger" | "MatMulInteger")
}
