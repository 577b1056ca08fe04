//! Models' published shapes, and what they mean in bytes.

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    args::{DemoArgs, Dtype, ModelName},
};

/// The shape of a KV cache: `[layer, k|v, block, token, head, dim]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) layers: u32,
    pub(crate) kv_heads: u32,
    pub(crate) head_dim: u32,
    pub(crate) dtype: String,
    pub(crate) dtype_bytes: u32,
}

impl Model {
    /// The model that the command line names.
    ///
    /// Shapes: `config.json` of meta-llama/Llama-3.1-8B and -70B, Qwen/Qwen3-32B (num_hidden_layers,
    /// num_key_value_heads, head_dim, torch_dtype).
    pub(crate) fn from_arguments(arguments: &DemoArgs) -> Result<Self, Failure> {
        let own = [
            ("--layers", arguments.layers.is_some()),
            ("--kv-heads", arguments.kv_heads.is_some()),
            ("--head-dim", arguments.head_dim.is_some()),
            ("--dtype", arguments.dtype.is_some()),
        ];
        let published = |name: &str, layers| (name.to_owned(), layers, 8, 128, Dtype::Bf16);
        let (name, layers, kv_heads, head_dim, dtype) = match arguments.model {
            ModelName::Llama31_8b => published("llama-3.1-8b", 32),
            ModelName::Llama31_70b => published("llama-3.1-70b", 80),
            ModelName::Qwen3_32b => published("qwen3-32b", 64),
            ModelName::Custom => {
                let (Some(layers), Some(kv_heads), Some(head_dim), Some(dtype)) =
                    (arguments.layers, arguments.kv_heads, arguments.head_dim, arguments.dtype)
                else {
                    let missing: Vec<_> = own.iter().filter(|(_, given)| !given).map(|(option, _)| *option).collect();
                    return Err(format!("--model custom also needs {}", missing.join(", ")).into());
                };
                return Self::new("custom", layers, kv_heads, head_dim, dtype);
            }
        };
        if let Some((option, _)) = own.iter().find(|(_, given)| *given) {
            return Err(format!("{option} goes with --model custom only; the shape of {name} is published").into());
        }
        Self::new(&name, layers, kv_heads, head_dim, dtype)
    }

    fn new(name: &str, layers: u32, kv_heads: u32, head_dim: u32, dtype: Dtype) -> Result<Self, Failure> {
        let (dtype, dtype_bytes) = match dtype {
            Dtype::Fp8 => ("fp8", 1),
            Dtype::Bf16 => ("bf16", 2),
            Dtype::Fp16 => ("fp16", 2),
            Dtype::Fp32 => ("fp32", 4),
        };
        Ok(Self { name: name.to_owned(), layers, kv_heads, head_dim, dtype: dtype.to_owned(), dtype_bytes })
    }

    /// Bytes of one block of K or of V in one layer.
    pub(crate) fn block_bytes(&self, block_tokens: u32) -> u64 {
        u64::from(block_tokens) * u64::from(self.kv_heads) * u64::from(self.head_dim) * u64::from(self.dtype_bytes)
    }
}
