//! Why a model cannot be rewritten.

/// Why a model cannot be rewritten in half precision. Each message names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HalfError {
    /// The bytes are not an ONNX model.
    #[error("it is not an ONNX model, or it is damaged: {0}")]
    NotAModel(#[from] prost::DecodeError),
    /// The model has no graph.
    #[error("it is not an ONNX model, or it is damaged: it has no graph")]
    NoGraph,
    /// No value of the graph would become half: it has no float32, or was rewritten before.
    #[error(
        "no value of the model would become float16: it has no float32, or was rewritten before; build it with \
         --precision fp32, which keeps its types"
    )]
    NothingToHalve,
    /// A weight is outside the range of half precision.
    #[error(
        "the weight {tensor} has the value {value}, outside ±65504, the range of half precision; build the \
         model with --precision fp32, or rescale it"
    )]
    WeightTooLarge {
        /// The tensor's name.
        tensor: String,
        /// The first value outside the range.
        value: f32,
    },
    /// A tensor holds more or fewer bytes than its shape says.
    #[error(
        "the tensor {tensor} holds {held} bytes, but its shape {shape:?} requires another number of bytes; the \
         file is damaged: export it again"
    )]
    TensorLength {
        /// The tensor's name.
        tensor: String,
        /// The declared shape.
        shape: Vec<i64>,
        /// Bytes of its data, 4 per value.
        held: usize,
    },
    /// A tensor's data is in another file.
    #[error(
        "the data of the tensor {tensor} is in another file; save the model as one file: \
         onnx.save(onnx.load(path), path, save_as_external_data=False)"
    )]
    ExternalData {
        /// The tensor's name.
        tensor: String,
    },
    /// The model stores weights as sparse tensors.
    #[error(
        "{holder} has sparse tensors; export the model with dense tensors, or build it with --precision fp32"
    )]
    Sparse {
        /// The node, or the graph.
        holder: String,
    },
    /// The model is quantised.
    #[error("the model is quantised ({by}); build it with --precision fp32, which keeps its types")]
    Quantised {
        /// The node, or the part of the graph, that shows this.
        by: String,
    },
    /// A node contains subgraphs: a branch or a loop.
    #[error(
        "{node} contains a subgraph, and control flow is not rewritten; simplify the model (onnxsim), or build it \
         with --precision fp32"
    )]
    Subgraph {
        /// The node.
        node: String,
    },
    /// The model defines operators as functions.
    #[error(
        "the model defines {count} operators as functions; inline them (onnx.inliner), or build it with --precision \
         fp32"
    )]
    Functions {
        /// Number of functions.
        count: usize,
    },
    /// The model contains a training graph.
    #[error(
        "the model contains a training graph; export it for inference, or build it with --precision fp32"
    )]
    Training,
    /// The type of a result is unknown: it may be float32 or not.
    #[error(
        "the type of {value}, an output of {node}, is unknown; declare it with onnx.shape_inference, or build the \
         model with --precision fp32"
    )]
    UnknownType {
        /// The node.
        node: String,
        /// The result.
        value: String,
    },
    /// A value is read before it is written, or never written.
    #[error(
        "{reader} needs {value}, but no node before it writes {value}; the file is damaged: export it again"
    )]
    NotWritten {
        /// The node, or the graph.
        reader: String,
        /// The value's name.
        value: String,
    },
    /// Two values have the same name.
    #[error("the value {value} is written twice; the file is damaged: export it again")]
    WrittenTwice {
        /// The value's name.
        value: String,
    },
    /// A node lacks a part that its operator needs.
    #[error("{node} has no {lacks}; the file is damaged: export it again")]
    Incomplete {
        /// The node.
        node: String,
        /// The missing attribute, input or output.
        lacks: &'static str,
    },
    /// A float32 input is also an output.
    #[error(
        "the graph returns its input {value} as an output, which cannot be float16 and float32 at once; remove \
         that output, or build the model with --precision fp32"
    )]
    InputIsOutput {
        /// The name of the input and the output.
        value: String,
    },
}
