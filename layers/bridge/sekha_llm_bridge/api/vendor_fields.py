"""Fields of vendors, and fields of OpenAI that the bridge itself does not read: those with a bounded cost, and those
without. All other fields are unknown to the bridge.
"""

BOUNDED_FIELDS = frozenset(
    {
        *("functions", "function_call", "parallel_tool_calls", "logit_bias", "metadata", "modalities", "service_tier"),
        *("user", "safety_identifier", "prompt_cache_key", "store", "verbosity", "documents", "provider", "transforms"),
        *("reasoning", "reasoning_effort", "include_reasoning", "thinking", "enable_thinking", "think", "keep_alive"),
        *("top_k", "top_a", "min_p", "typical_p", "repetition_penalty", "length_penalty", "stop_token_ids", "usage"),
        *("ignore_eos", "min_tokens", "skip_special_tokens", "chat_template_kwargs", "prompt_truncate_len", "grammar"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "safe_prompt"),
        *("cache_control",),  # see `routing.cost_quotes`
    }
)
"""Fields of chats that change what a provider bills only through the number of tokens."""

ANSWER_COUNT_FIELDS = frozenset(
    {"best_of", "num_generations", "num_return_sequences", "candidate_count", "use_beam_search"}
)
"""Fields of vendors that ask for more answers than `n` says."""

OUTPUT_LIMIT_FIELDS = frozenset({"max_new_tokens", "max_output_tokens", "max_gen_len", "num_predict"})
"""Fields of vendors that limit the length of an answer, in place of `max_tokens`."""

OPENAIS_OUTPUT_FIELDS = frozenset({"n", "max_completion_tokens"})
"""Fields of chat completions for more or longer answers. In a request of another format they are unknown fields, which
a gateway of that format may read.
"""

_HOLDERS = frozenset({"extra_body", "provider_options", "providerOptions", "options", "generation_config"})

UNCOUNTED_OUTPUT_FIELDS = ANSWER_COUNT_FIELDS | OUTPUT_LIMIT_FIELDS | _HOLDERS
"""Fields that ask for more output than the bridge counts, or may hold such fields."""

BILLABLE_FIELDS = UNCOUNTED_OUTPUT_FIELDS | frozenset(
    {
        # OpenAI and Azure: audio, searches, content that is kept or checked.
        *("audio", "prediction", "web_search_options", "prompt_cache_retention", "prompt_cache_options", "moderation"),
        *("data_sources", "file_ids", "vector_store_ids", "tool_resources", "container"),
        # Searches of other vendors: xAI, Qwen, Perplexity, Groq, Mistral, Cohere, Venice, Zhipu.
        *("search_parameters", "enable_search", "search_options", "search_settings", "web_search", "enable_web_search"),
        *("connectors", "compound_custom", "venice_parameters", "web_search_enabled", "search", "return_images"),
        *("search_mode", "search_context_size", "grounding", "google_search", "media_response"),
        # Tools and servers that the vendor runs; Anthropic's compaction runs the model once more, its fallbacks others.
        *("context_management", "compaction", "fallbacks"),
        *("mcp_servers", "server_tools", "agents", "skills"),
        # A higher price for the same tokens: Anthropic's fast mode and regions.
        *("speed", "inference_geo"),
        # Content that is stored elsewhere or made besides the text: Gemini, OpenRouter, Mistral.
        *("cached_content", "image_config", "document_image_limit", "document_page_limit"),
        # More calls than the bridge counts.
        *("num_retries", "max_retries"),
    }
)
"""Fields that are known to be billed in ways that the price list does not have. A cost limit excludes paid models for
them."""
