//! Which of ONNX's operators compute in half, and the types of their results.
//!
//! The division follows PyTorch's autocast for CUDA (its lists "can autocast to float16", "autocast to
//! float32" and "promote to the widest input type"), with ONNX's names. Where the two have no common name, single is
//! preferred. In each of the opsets 7 to 28, every operator listed under `Half` or `Following` accepts float16.

/// The precision in which an operator computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Precision {
    /// Always in half. These operators take most of the time, and the device sums them in more than half precision.
    Half,
    /// In half if all its inputs were computed in half, otherwise in single.
    Following,
    /// Always in single.
    Single,
    /// In any: the operator reads shapes only.
    Any,
}

/// Which results have the type of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Results {
    /// All results.
    All,
    /// The first result; the others are indices or masks.
    First,
    /// None: the results are indices, counts or booleans.
    None,
    /// Unknown: the model must declare the types.
    Declared,
}

/// How an operator is rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    /// The precision in which it computes.
    pub precision: Precision,
    /// Which results have the type of the data.
    pub results: Results,
    /// Whether only the first input is data. By the operator's definition, other float32 inputs stay float32.
    pub(crate) first_only: bool,
}

impl Rule {
    /// The rule for a standard operator of ONNX, by its name. An unknown operator computes in single.
    pub(crate) fn of(operator: &str) -> Self {
        let (precision, results) = match operator {
            "Conv" | "ConvTranspose" | "MatMul" | "Gemm" | "Einsum" => {
                (Precision::Half, Results::All)
            }

            // Arithmetic and activations, element by element. A product may leave the range of half, but so may the sum
            // of a convolution; see the module documentation of `fp16`.
            "Add" | "Sub" | "Mul" | "Max" | "Min" | "Abs" | "Neg" | "Sign" | "Floor" | "Ceil"
            | "Round" | "Clip" | "Relu" | "LeakyRelu" | "PRelu" | "ThresholdedRelu" | "Elu"
            | "Selu" | "Gelu" | "Swish" | "HardSigmoid" | "HardSwish" | "Sigmoid" | "Tanh"
            | "Erf" | "AveragePool" | "GlobalMaxPool" | "ReduceMax" | "ReduceMin"
            // Operators that move values. Resize takes its region and its scales in float32, whatever its data type.
            | "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose"
            | "Concat" | "Split" | "Slice" | "Gather" | "GatherElements" | "GatherND"
            | "ScatterElements" | "ScatterND" | "Expand" | "Tile" | "Pad" | "Where"
            | "DepthToSpace" | "SpaceToDepth" | "Compress" | "ReverseSequence" | "Trilu"
            | "Resize" | "Upsample" => (Precision::Following, Results::All),
            "MaxPool" | "Dropout" => (Precision::Following, Results::First),

            // Large sums, and operators that use them. BatchNormalization: the variance of counts may exceed the range
            // of half, and the variance of a dead channel becomes 0.
            "ReduceSum" | "ReduceMean" | "ReduceProd" | "ReduceL1" | "ReduceL2"
            | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" | "Sum" | "Mean"
            | "CumSum" | "CumProd" | "GlobalAveragePool" | "GlobalLpPool" | "LpPool"
            | "Softmax" | "LogSoftmax" | "Hardmax" | "BatchNormalization"
            | "InstanceNormalization" | "LayerNormalization" | "GroupNormalization"
            | "RMSNormalization" | "LpNormalization" | "MeanVarianceNormalization" | "LRN"
            | "LSTM" | "GRU" | "RNN" | "DFT" | "STFT" | "Det"
            // Functions with a steep part.
            | "Exp" | "Log" | "Pow" | "Sqrt" | "Reciprocal" | "Div" | "Mod" | "Softplus"
            | "Softsign" | "Mish" | "Sin" | "Cos" | "Tan" | "Asin" | "Acos" | "Atan" | "Sinh"
            | "Cosh" | "Asinh" | "Acosh" | "Atanh"
            // Coordinates, which half rounds to 1/16 of a pixel at pixel 128. Celu does not accept float16.
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

    /// The rule for an unknown operator.
    pub(crate) const UNKNOWN: Self = Self {
        precision: Precision::Single,
        results: Results::Declared,
        first_only: false,
    };

    /// Whether an input, by its index, is data and may be half.
    pub(crate) fn is_data(self, input: usize) -> bool {
        input == 0 || !self.first_only
    }
}

/// Whether an operator computes with quantised values.
pub(crate) fn is_quantised(operator: &str) -> bool {
    operator.starts_with("QLinear")
        || operator.ends_with("QuantizeLinear")
        || operator.ends_with("DequantizeLinear")
        || matches!(operator, "ConvInteger" | "MatMulInteger")
}
