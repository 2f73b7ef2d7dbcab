//! What a model cannot be rewritten for.

/// Why a model cannot be rewritten for half precision. Each message names the thing and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HalfError {
    /// The bytes are no ONNX model.
    #[error("it is no ONNX model, or damaged: {0}")]
    NotAModel(#[from] prost::DecodeError),
    /// The model has no graph.
    #[error("it is no ONNX model, or damaged: it has no graph")]
    NoGraph,
    /// Nothing in the graph would become half: it has no float32, or was rewritten before.
    #[error(
        "nothing in the model would become float16: it has no float32, or was rewritten before; build it with \
         --precision fp32, which keeps its types"
    )]
    NothingToHalve,
    /// A weight is beyond the range of half precision.
    #[error(
        "the weight {tensor} has the value {value}, beyond ±65504, the range of half precision; build the \
         model with --precision fp32, or rescale it"
    )]
    WeightTooLarge {
        /// The tensor's name.
        tensor: String,
        /// The first value beyond the range.
        value: f32,
    },
    /// A tensor holds more or fewer bytes than its shape says.
    #[error(
        "the tensor {tensor} holds {held} bytes, but its shape {shape:?} is not of that many; the file is \
         damaged: export it again"
    )]
    TensorLength {
        /// The tensor's name.
        tensor: String,
        /// The declared shape.
        shape: Vec<i64>,
        /// Bytes of its data, 4 a value.
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
        "{holder} has sparse tensors; export the model with dense ones, or build it with --precision fp32"
    )]
    Sparse {
        /// The node, or the graph.
        holder: String,
    },
    /// The model is quantised already.
    #[error("the model is quantised ({by}); build it with --precision fp32, which keeps its types")]
    Quantised {
        /// The node, or the part of the graph, that says so.
        by: String,
    },
    /// A node holds graphs of its own: a branch or a loop.
    #[error(
        "{node} holds a graph of its own, and control flow is not rewritten; simplify the model (onnxsim), or \
         build it with --precision fp32"
    )]
    Subgraph {
        /// The node.
        node: String,
    },
    /// The model defines operators of its own.
    #[error(
        "the model defines {count} operators of its own (functions); inline them (onnx.inliner), or build it \
         with --precision fp32"
    )]
    Functions {
        /// How many.
        count: usize,
    },
    /// The model holds a training graph.
    #[error(
        "the model holds its training; export it for inference, or build it with --precision fp32"
    )]
    Training,
    /// It is not known whether a result is float32.
    #[error(
        "it is not known here whether {value}, which {node} writes, is float32; declare it with \
         onnx.shape_inference, or build the model with --precision fp32"
    )]
    UnknownType {
        /// The node.
        node: String,
        /// The result.
        value: String,
    },
    /// A value is read before it is written, or never written.
    #[error(
        "{reader} needs {value}, but nothing before it writes that; the file is damaged: export it again"
    )]
    NotWritten {
        /// The node, or the graph.
        reader: String,
        /// The value's name.
        value: String,
    },
    /// Two things have the same name.
    #[error("the value {value} is written twice; the file is damaged: export it again")]
    WrittenTwice {
        /// The value's name.
        value: String,
    },
    /// A node lacks what its operator needs.
    #[error("{node} has no {lacks}; the file is damaged: export it again")]
    Incomplete {
        /// The node.
        node: String,
        /// The attribute, input or output.
        lacks: &'static str,
    },
    /// A float32 input is passed on as an output.
    #[error(
        "the graph passes its input {value} on as an output, which cannot be half and single at once; drop \
         that output, or build the model with --precision fp32"
    )]
    InputIsOutput {
        /// The name of both.
        value: String,
    },
}
