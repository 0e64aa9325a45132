"""What the fields of requests mean. The models of the requests have no descriptions, because these would cost each
start of a function time.
"""

from collections.abc import Mapping

_MODEL_FIELDS = {
    "model": "A model's id, `provider/model`, an alias, `auto`, or a name such as `chat_fast`.",
    "preferred_model": "The model that is tried first if it fits.",
    "task": "What the model must be for; or the name of a default model, such as `chat_fast`.",
    "max_cost": "The limit of the cost of the whole request in USD, with all of its calls.",
}

FIELDS: Mapping[str, Mapping[str, str]] = {
    "ChatRequest": {
        "messages": "The conversation so far.",
        "model": "A model's id, `provider/model`, an alias, `auto`, or a name such as `chat_fast`. Without it, or with "
        "`auto`, the bridge chooses.",
        "temperature": "How random the answer is.",
        "top_p": "The share of the probability from which tokens are drawn.",
        "n": "The number of answers.",
        "max_tokens": "The maximum number of output tokens; the older name.",
        "max_completion_tokens": "The maximum number of output tokens, with those of the reasoning.",
        "presence_penalty": "Above 0: tokens that occurred become less likely.",
        "frequency_penalty": "Above 0: tokens become less likely with each time they occurred.",
        "stop": "Texts at which the answer ends.",
        "seed": "For answers that can be repeated, where the provider has them.",
        "logprobs": "Whether the answer has the probabilities of its tokens.",
        "top_logprobs": "How many alternatives of each token the answer has.",
        "tools": "The tools that the model may call.",
        "tool_choice": "`none`, `auto`, `required`, or one tool.",
        "response_format": "The format of the answer: text, JSON, or JSON by a schema.",
        "stream": "Whether the answer comes as server-sent events, while it is being made.",
        "stream_options": "What a stream contains besides the answer.",
        "require_vision": "The bridge's own: whether only models that see images are used. Images in the messages "
        "require that by themselves.",
        "max_cost": "The bridge's own: the limit of the cost of the whole request in USD, with failed attempts.",
        "preferred_model": "The bridge's own: the model that is tried first if it fits the request.",
        "task": "The bridge's own: what the model must be for; or the name of a default model, such as `chat_fast`.",
        "allow_fallback": "The bridge's own: false to try the first model only.",
    },
    "ChatMessage": {
        "role": "Who speaks.",
        "content": "A text, or parts: texts and images. Required, except for an assistant that calls a tool.",
        "tool_calls": "The calls of an assistant's message.",
        "tool_call_id": "The call that a tool's message answers.",
        "name": "The name of the speaker.",
    },
    "ContentPart": {
        "type": "`text`, `image_url`, or another type that the provider knows.",
        "text": "Required for type `text`.",
        "image_url": "Required for type `image_url`.",
    },
    "ImageUrl": {"url": "A public http(s) URL, or a `data:` URL with the image itself."},
    "FunctionCall": {"name": "The function's name.", "arguments": "Its arguments, as JSON text."},
    "ToolCall": {"id": "The id that the tool's message refers to.", "function": "What is called."},
    "Function": {"name": "The function's name. `description` and `parameters`, a JSON Schema, are passed on."},
    "Tool": {
        "type": "`function`, or another type that the provider knows.",
        "function": "Required for type `function`.",
    },
    "ResponseFormat": {
        "type": "`text`, `json_object` or `json_schema`.",
        "json_schema": "The schema with its name; required for type `json_schema`.",
    },
    "StreamOptions": {"include_usage": "Whether the tokens are counted in a chunk before the end."},
    "EmbeddingRequest": {
        "input": "A text, several texts, or arrays of tokens of cl100k_base. At most 2048.",
        "model": "The model; without it the default one for embeddings.",
        "dimensions": "The length of the vectors, for models that can shorten them.",
        "encoding_format": "`float`, or `base64` for little-endian float32.",
        "user": "Passed on to the provider.",
        "collection": "The bridge's own: the Chroma collection in which the vectors are stored, without its dimension.",
        "ids": "The bridge's own: one id for each input; without them a hash of the text.",
        "metadatas": "The bridge's own: one object of texts, numbers and booleans for each input, or null.",
        "store": "The bridge's own: false to store nothing.",
        "max_cost": "The bridge's own: the limit of the cost in USD.",
        "preferred_model": "The bridge's own: the model that is tried first if it fits.",
    },
    "LegacyEmbedRequest": {
        "text": "The text.",
        "model": "The model; without it the default one for embeddings.",
        "collection": "The Chroma collection in which the vector is stored; without it nothing is stored.",
        "max_cost": "The limit of the cost in USD.",
    },
    "SummarizeRequest": {
        "messages": "The texts. What they ask for, such as labels, is done instead of a summary.",
        "level": "The period of the summary: how much is left out.",
        "max_words": "About how many words the summary has at most.",
        **_MODEL_FIELDS,
    },
    "ExtractRequest": {"text": "The text.", **_MODEL_FIELDS},
    "ScoreRequest": {
        "conversation": "The text to score. Give exactly one of `conversation`, `message` and `text`.",
        "message": "The text to score.",
        "text": "The text to score.",
        "context": "What the text belongs to.",
        **_MODEL_FIELDS,
    },
    "SearchRequest": {
        "query": "The text to which similar ones are searched.",
        "collection": "The collection, without its dimension; without it the default one.",
        "model": "The model of the collection's vectors; without it the default one for embeddings.",
        "dimensions": "The length of the vectors, for models that can shorten them.",
        "n_results": "The maximum number of matches.",
        "where": 'Chroma\'s filter on metadata, such as {"topic": "bridges"} or {"year": {"$gt": 2020}}.',
        "all_dimensions": "Whether every collection of that name is searched, each with the model of its vectors.",
        "max_cost": "The limit of the cost in USD.",
    },
    "ExplainRequest": {
        "task": "What the model must be for. Required, unless there are `messages`.",
        "model": "The model that the request would name.",
        "preferred_model": "The model that the request would prefer.",
        "require_vision": "Whether only models that see images fit.",
        "max_cost": "The limit of the cost in USD.",
        "context_size": "The tokens that the context window must have at least.",
        "messages": "The chat itself; its other fields may be there, too.",
        "input": "The texts to embed.",
        "max_tokens": "The maximum number of output tokens.",
        "dimensions": "The length of the vectors.",
    },
}
