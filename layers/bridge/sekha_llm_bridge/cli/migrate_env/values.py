"""Turns v1's values into settings: references replaced, secrets replaced by references."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sekha_llm_bridge.cli.migrate_env.interpolation import interpolate, literal, referenced_name
from sekha_llm_bridge.cli.migrate_env.report import Report
from sekha_llm_bridge.cli.migrate_env.source import Raw, Source, Variable
from sekha_llm_bridge.cli.migrate_env.target import Setting

_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_USER_INFO = re.compile(r"://[^/]*@")


@dataclass(slots=True)
class Values:
    """The values of one file. `used`: the variables whose values are in the YAML, or in a reference of it."""

    source: Source
    report: Report
    used: set[str] = field(default_factory=set)

    def first_of(self, names: Sequence[str]) -> Variable | None:
        """Returns the first of several variables of the same meaning that has a value.

        The others are added to the report, unless they have the same value.
        """
        given = [self.source.variables[name] for name in names if name in self.source.variables]
        given = [variable for variable in given if self.has_value(variable)]
        for other in given[1:]:
            self.used.add(other.name)
            if self._text(other) != self._text(given[0]):
                self.report.leave_out(other.name, f"{given[0].name} is used instead")
        return given[0] if given else None

    def has_value(self, variable: Variable) -> bool:
        """Whether the variable has a value, after its references are replaced."""
        text = variable.raw if variable.is_literal else interpolate(variable.raw, self.source.references.get).text
        return bool(text.strip())

    def is_given(self, name: str) -> bool:
        """Whether the file has a value of this variable."""
        variable = self.source.variables.get(name)
        return variable is not None and self.has_value(variable)

    def of_variable(self, variable: Variable) -> Setting:
        """Returns the setting with the variable's value."""
        self.used.add(variable.name)
        return Setting(self._text(variable), variable.name)

    def setting(self, raw: Raw) -> Setting | None:
        """Returns the setting with a value of the tree; None for null and an empty text."""
        if isinstance(raw.value, bool):
            return Setting("true" if raw.value else "false", raw.place)
        text = self._interpolated(str(raw.value), raw.place).strip() if raw.value is not None else ""
        return Setting(text, raw.place) if text else None

    def boolean(self, raw: Raw) -> Setting | None:
        """Returns the setting with a boolean as YAML writes it. Other words stay, to be refused with a message."""
        setting = self.setting(raw)
        word = setting.text.lower() if setting else ""
        normal = "true" if word in _TRUE else "false" if word in _FALSE else None
        return setting._replace(text=normal) if setting and normal else setting

    def secret(self, raw: Raw, suggested_name: str) -> Setting | None:
        """Returns a reference to the variable that has the secret, which is never in the YAML itself.

        A secret that is written in a list or section gets the name `suggested_name`, unless a variable has the same
        value.
        """
        text = "" if raw.value is None else str(raw.value).strip()
        if not text:
            return None
        name = referenced_name(text) or self._variable_with(text) or suggested_name
        return self.reference(name, raw.place)

    def reference(self, name: str, place: str) -> Setting:
        """Returns a reference to a variable with a secret, and adds it to the report."""
        self.used.add(name)
        self.report.secrets.setdefault(name, name if name in self.source.variables else place)
        return Setting(f"${{{name}}}", place)

    def url(self, setting: Setting, suggested_name: str) -> Setting:
        """Returns the setting, or a reference to it if the URL contains a password."""
        if not _USER_INFO.search(setting.text):
            return setting
        is_variable = setting.place in self.source.variables
        return self.reference(setting.place if is_variable else suggested_name, setting.place)

    def _text(self, variable: Variable) -> str:
        if variable.is_literal:
            return literal(variable.raw).text.strip()
        return self._interpolated(variable.raw, variable.name).strip()

    def _interpolated(self, raw: str, place: str) -> str:
        done = interpolate(raw, self._raw_of)
        for name in done.unset:
            self.report.note(f"{place} refers to {name}, which has no value here: set it in the bridge's environment")
        return done.text

    def _raw_of(self, name: str) -> str | None:
        value = self.source.references.get(name)
        if value is not None:
            self.used.add(name)
        return value

    def _variable_with(self, value: str) -> str | None:
        return next((one.name for one in self.source.variables.values() if one.raw.strip() == value), None)
