"""Where a Bedrock provider is: its region and its URLs."""

import os
import re
from typing import NamedTuple
from urllib.parse import quote

from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.providers.bedrock.models import base_model_id

# For example bedrock-runtime.eu-west-1.amazonaws.com and vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com.
_REGION_IN_HOST = r"\bbedrock(?:-runtime)?(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\."
_RUNTIME_HOST = r"^(https://)bedrock-runtime((?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?)$"


class Endpoint(NamedTuple):
    """The region that requests are signed for, the base URL of models, and the URL of the free probe."""

    region: str
    base_url: str
    probe_url: str

    def model_url(self, model_id: str, operation: str) -> str:
        """Returns the URL of an operation of a model, for example `converse`. The id may be an ARN."""
        return f"{self.base_url}/model/{quote(model_id, safe='')}/{operation}"


def endpoint_of(config: ProviderConfig) -> Endpoint:
    """Returns the endpoint of a provider: by its `base_url`, else that of its region.

    Models are described at another host than they answer at. Raises `ConfigError` where nothing names the region.
    """
    base_url = config.base_url or ""
    found = re.search(_REGION_IN_HOST, base_url)
    region = config.region or (found[1] if found else None) or os.environ.get("AWS_REGION")
    region = region or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise ConfigError([f"{config.id}: give the `region` of Bedrock"])
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    base_url = base_url or f"https://bedrock-runtime.{region}.{domain}"
    return Endpoint(region, base_url, re.sub(_RUNTIME_HOST, r"\1bedrock\2", base_url) + _probe_path(config))


def _probe_path(config: ProviderConfig) -> str:
    """Returns the path of the first model whose id is known: a role may be allowed to read certain models only."""
    known = (base_model_id(model.model_id) for model in config.models)
    model_id = next((one for one in known if one is not None), None)
    return "/foundation-models" if model_id is None else f"/foundation-models/{quote(model_id, safe='')}"
