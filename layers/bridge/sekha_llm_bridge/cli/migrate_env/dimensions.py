"""The lengths of the vectors of well-known embedding models."""

from sekha_llm_bridge.cli.migrate_env.source import Variable
from sekha_llm_bridge.cli.migrate_env.target import Setting, fixed
from sekha_llm_bridge.cli.migrate_env.values import Values

# By name without the tag: Ollama's library, and OpenAI's models.
_DIMENSIONS = {
    "all-minilm": 384,
    "bge-large": 1024,
    "bge-m3": 1024,
    "embeddinggemma": 768,
    "granite-embedding": 384,
    "mxbai-embed-large": 1024,
    "nomic-embed-text": 768,
    "paraphrase-multilingual": 768,
    "snowflake-arctic-embed": 1024,
    "snowflake-arctic-embed2": 1024,
    "text-embedding-3-large": 3072,
    "text-embedding-3-small": 1536,
    "text-embedding-ada-002": 1536,
}
_DEFAULT = 768  # v1 had this number for every model


def dimension_setting(model: Setting, given: Variable | None, values: Values) -> Setting:
    """Returns the dimension that the file gives, else that of a known model, else v1's with a remark."""
    if given:
        return values.of_variable(given)
    known = _DIMENSIONS.get(model.text.partition(":")[0].rpartition("/")[2])
    if known is None:
        values.report.note(
            f"check `dimension`: the length of the vectors of {model.text} is unknown, {_DEFAULT} is only v1's"
        )
    return fixed(str(known or _DEFAULT))
