//! Small messages of onnx.proto that only this module reads, besides those of `crate::fp16::proto`.

/// `OperatorSetIdProto`: a domain, and the version of its operators.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Opset {
    #[prost(string, optional, tag = 1)]
    pub(crate) domain: Option<String>,
    #[prost(int64, optional, tag = 2)]
    pub(crate) version: Option<i64>,
}

/// `FunctionProto`, of which only the name is read.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Function {
    #[prost(string, optional, tag = 1)]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = 10)]
    pub(crate) domain: Option<String>,
}

/// `StringStringEntryProto`: one fact about where a tensor's data lies.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(string, optional, tag = 1)]
    pub(crate) key: Option<String>,
    #[prost(string, optional, tag = 2)]
    pub(crate) value: Option<String>,
}

/// `TensorShapeProto`, of which only the number of dimensions is read.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Shape {
    #[prost(bytes = "vec", repeated, tag = 1)]
    pub(crate) dim: Vec<Vec<u8>>,
}
