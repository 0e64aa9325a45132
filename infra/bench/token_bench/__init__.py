"""How far token counts made beforehand are from a real tokenizer's."""
