//! Models' published shapes, and what they mean in bytes.

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    args::{DemoArgs, Dtype, ModelName, misuse},
};

/// The shape of a KV cache: `[layer, plane, block, token, head, dim]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) layers: u32,
    /// Planes of a layer: 2, K and V; or 1, where both are made of one latent vector (MLA).
    pub(crate) planes: u32,
    pub(crate) kv_heads: u32,
    pub(crate) head_dim: u32,
    pub(crate) dtype: String,
    pub(crate) dtype_bytes: u32,
}

impl Model {
    /// The model that the command line names.
    ///
    /// Shapes: `config.json` of meta-llama/Llama-3.1-8B and -70B, Qwen/Qwen3-32B (num_hidden_layers,
    /// num_key_value_heads, head_dim, torch_dtype); of deepseek-ai/DeepSeek-V3 num_hidden_layers, and in place of heads
    /// what a token's latent has: kv_lora_rank and the rope key's qk_rope_head_dim, 512 + 64.
    pub(crate) fn from_arguments(arguments: &DemoArgs) -> Result<Self, Failure> {
        let own = [
            ("--layers", arguments.layers.is_some()),
            ("--kv-heads", arguments.kv_heads.is_some()),
            ("--head-dim", arguments.head_dim.is_some()),
            ("--dtype", arguments.dtype.is_some()),
        ];
        let (name, [layers, planes, kv_heads, head_dim]) = match arguments.model {
            ModelName::Llama31_8b => ("llama-3.1-8b", [32, 2, 8, 128]),
            ModelName::Llama31_70b => ("llama-3.1-70b", [80, 2, 8, 128]),
            ModelName::Qwen3_32b => ("qwen3-32b", [64, 2, 8, 128]),
            ModelName::DeepseekV3 => ("deepseek-v3", [61, 1, 1, 512 + 64]),
            ModelName::Custom => {
                let (Some(layers), Some(kv_heads), Some(head_dim), Some(dtype)) =
                    (arguments.layers, arguments.kv_heads, arguments.head_dim, arguments.dtype)
                else {
                    let missing: Vec<_> = own.iter().filter(|(_, given)| !given).map(|(option, _)| *option).collect();
                    return Err(misuse(&format!("--model custom also needs {}", missing.join(", "))));
                };
                return Ok(Self::new("custom", [layers, arguments.planes.unwrap_or(2), kv_heads, head_dim], dtype));
            }
        };
        let own = own.into_iter().chain([("--planes", arguments.planes.is_some())]);
        if let Some((option, _)) = own.into_iter().find(|(_, given)| *given) {
            let text = format!("{option} goes with --model custom only; the shape of {name} is published");
            return Err(misuse(&text));
        }
        Ok(Self::new(name, [layers, planes, kv_heads, head_dim], Dtype::Bf16))
    }

    fn new(name: &str, [layers, planes, kv_heads, head_dim]: [u32; 4], dtype: Dtype) -> Self {
        let (dtype, dtype_bytes) = match dtype {
            Dtype::Fp8 => ("fp8", 1),
            Dtype::Bf16 => ("bf16", 2),
            Dtype::Fp16 => ("fp16", 2),
            Dtype::Fp32 => ("fp32", 4),
        };
        let (name, dtype) = (name.to_owned(), dtype.to_owned());
        Self { name, layers, planes, kv_heads, head_dim, dtype, dtype_bytes }
    }

    /// The shape in a person's words.
    pub(crate) fn shape(&self) -> String {
        let Self { layers, planes, kv_heads, head_dim, dtype, .. } = self;
        match (planes, kv_heads) {
            (1, 1) => format!("{layers} layers, one latent of {head_dim} {dtype} a token (MLA)"),
            (1, _) => format!("{layers} layers, {kv_heads} latents of {head_dim} {dtype} a token, one plane"),
            _ => format!("{layers} layers, {kv_heads} KV heads of {head_dim} {dtype}"),
        }
    }

    /// What lies in a plane.
    pub(crate) fn plane_name(&self, plane: u32) -> &'static str {
        match (self.planes, plane) {
            (1, _) => "latent",
            (_, 0) => "K",
            _ => "V",
        }
    }

    /// Bytes of one block in one plane of a layer: of K, of V, or of the latent.
    pub(crate) fn block_bytes(&self, block_tokens: u32) -> u64 {
        u64::from(block_tokens) * u64::from(self.kv_heads) * u64::from(self.head_dim) * u64::from(self.dtype_bytes)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    fn model(arguments: &str) -> Model {
        let words = ["pegaflow", "demo"].into_iter().chain(arguments.split_whitespace());
        let Command::Demo(demo) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("demo was asked for")
        };
        Model::from_arguments(&demo).unwrap()
    }

    /// Bytes that a token takes in the whole cache, as others publish them.
    #[test]
    fn published_shapes_take_the_published_bytes_a_token() {
        for (name, bytes) in [
            ("llama-3.1-8b", 128 << 10),
            ("llama-3.1-70b", 320 << 10),
            ("qwen3-32b", 256 << 10),
            // 61 layers of 576 elements of 2 bytes: 70,272.
            ("deepseek-v3", 70_272),
        ] {
            let model = model(&format!("--model {name}"));
            assert_eq!(model.block_bytes(1) * u64::from(model.planes * model.layers), bytes, "{name}");
            assert_eq!(model.name, name);
        }
    }

    #[test]
    fn a_layer_has_k_and_v_or_one_latent() {
        let (llama, deepseek) = (model(""), model("--model deepseek-v3"));
        assert_eq!((llama.planes, llama.plane_name(0), llama.plane_name(1)), (2, "K", "V"));
        assert_eq!((deepseek.planes, deepseek.plane_name(0)), (1, "latent"));
        assert_eq!(llama.shape(), "32 layers, 8 KV heads of 128 bf16");
        assert_eq!(deepseek.shape(), "61 layers, one latent of 576 bf16 a token (MLA)");
        let custom = "--model custom --layers 2 --kv-heads 1 --head-dim 64 --dtype fp8";
        assert_eq!(model(custom).planes, 2);
        assert_eq!(model(&format!("{custom} --planes 1")).shape(), "2 layers, one latent of 64 fp8 a token (MLA)");
    }
}
